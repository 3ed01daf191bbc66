"""The pipeline that both sides of the bench run: three model calls, each with the answer of the one before.

The texts stand here once, so that the fapo project and the langgraph baseline send the same prompts.
"""

MODEL = "bench"
ANSWER = "ok"

# (step, what it is told, what it is asked); {question} is the case's, {before} the previous step's answer
STEPS = [
    ("plan", "You plan how a question can be answered.", "Question: {question}\nWrite a plan in one paragraph."),
    ("draft", "You answer questions by a plan.", "Question: {question}\nPlan: {before}\nWrite a draft answer."),
    ("answer", "You shorten answers.", "Question: {question}\nDraft: {before}\nGive the bare answer and nothing else."),
]


def question(number: int) -> str:
    """A made-up question; every one is different, so that no answer comes from a cache."""
    return (
        f"A warehouse in district {number % 97} holds {number} crates, and every crate holds {number % 13 + 2} jars. "
        f"How many jars are there after {number % 7} crates have been moved away?"
    )
