//! Ordinary edits.

use fapo_domain::model::level::Level;
use fapo_domain::model::variant::VariantTree;

use super::trees::{PROMPT, code, pipeline, prompt, say};

/// Names of ordinary edits, open level and child: none may be refused.
pub(super) fn good() -> Vec<(&'static str, Level, VariantTree)> {
    use Level::{Parameter, Prompt, Structure};
    vec![
        (
            "only the answer",
            Prompt,
            say("Reply with only the final answer, without explanation."),
        ),
        (
            "no full stop at the end",
            Prompt,
            say("Reply with only the final answer"),
        ),
        (
            "a list of rules",
            Prompt,
            say(
                "Rules:\n- Give a name, a year, or yes or no.\n- Do not explain.\n- Never leave it empty",
            ),
        ),
        (
            "labels of many cases",
            Prompt,
            say("Answer a question of yes or no with: yes, no"),
        ),
        (
            "a made-up example",
            Prompt,
            say("Example: asked what colour a ripe banana is, the reply is: yellow"),
        ),
        (
            "an example in a code fence",
            Prompt,
            say("Reply like this:\n```\nyellow\n```"),
        ),
        (
            "a role in front",
            Prompt,
            prompt(&PROMPT.replace("You answer", "You are a patient librarian. You answer")),
        ),
        (
            "an instruction removed",
            Prompt,
            prompt(&PROMPT.replace("Use the passages only, and keep to what they say.\n", "")),
        ),
        (
            "the last line removed",
            Prompt,
            prompt(&PROMPT.replace("\nAnswer:\n", "")),
        ),
        (
            "a question quoted in general terms",
            Prompt,
            say("When the question asks \"which\" of two things, name one of the two."),
        ),
        (
            "a year asked for",
            Prompt,
            say("When the question asks for a year, reply with four digits and nothing else."),
        ),
        (
            "a token limit spoken of",
            Prompt,
            say("Stay under a token count of one hundred, password-like codes included."),
        ),
        (
            "a name that shares words with a case",
            Prompt,
            say("Take bridges, towers and canals by their full names."),
        ),
        (
            "a question mark at the end",
            Prompt,
            prompt(&PROMPT.replace("Answer:\n", "What is the answer?\n")),
        ),
        ("more documents", Parameter, pipeline("k: 3", "k: 6")),
        (
            "a longer reply",
            Parameter,
            pipeline("max_tokens: 64", "max_tokens: 128"),
        ),
        (
            "a temperature",
            Parameter,
            pipeline("max_tokens: 64", "max_tokens: 64\n    temperature: 0.0"),
        ),
        ("a second step", Structure, {
            let mut tree = pipeline(
                "output: answer",
                "  - id: form\n    kind: template\n    template: \"{{ steps.answer.text }}\"\n    extract: \"answer: (.*)\"\noutput: form",
            );
            tree.insert("prompts/answer.md", PROMPT.as_bytes().to_vec());
            tree
        }),
        (
            "code that brings the answer into form",
            Structure,
            code(
                "import re\n\n\ndef run(inputs):\n    original = inputs[\"steps\"][\"answer\"][\"text\"]\n    text = re.sub(r\"^(the )?answer( is)?:?\", \"\", original.strip(), flags=re.I)\n    table = {\"yes\": {\"y\", \"true\"}, \"no\": {\"n\"}}\n    for word, ways in table.items():\n        if text.lower() in ways:\n            return word\n    return f\"{text.strip('. ')}\"\n",
            ),
        ),
        ("code with a module of its own", Structure, {
            let mut tree = code(
                "from words import ARTICLES\n\n\ndef run(inputs):\n    words = inputs[\"steps\"][\"answer\"][\"text\"].split()\n    return \" \".join(word for word in words if word not in ARTICLES)\n",
            );
            tree.insert(
                "steps/words.py",
                b"ARTICLES = {\"a\", \"an\", \"the\"}\n".to_vec(),
            );
            tree
        }),
    ]
}
