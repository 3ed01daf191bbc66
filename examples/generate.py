#!/usr/bin/env python3
"""Writes the data and the simulated worlds of the example projects. Everything in them is made up.

usage: python3 examples/generate.py        (no dependencies; the same output every time)
"""
import itertools
import json
import pathlib
import random

HERE = pathlib.Path(__file__).parent
SIZES = {"train": 40, "val": 60, "test": 60}

FIRST = "Ilse Marek Tova Bram Odile Senna Yorick Petra Casimir Linnea Anselm Greta Ruben Maud Tibor Elske Norbert Saskia Ivo Hanne".split()
LAST = "Corvin Halloway Bexley Drummen Farrow Quist Ostrander Veldkamp Lisle Tarnow Ekberg Moravec Sandoval Pruitt Wexler Ashdown Brandl Kessel Thorne Ulrich".split()
TOWNS = "Harrowgate Velmouth Ostrava Brindlefield Calderwick Nordholm Easterlow Pennick Rosmarin Tidewell Umberley Wexcombe Yarrow Zellerndorf Grenholt Dunmarsh Alderney Kirkbride Lowfold Marwick".split()
ADJECTIVES = "Brightwater Northgate Silverbirch Redfern Bluestone Greenmantle Goldcrest Ironbridge Blackthorn Whitmore Amberley Stonefield Longacre Highmoor Fairweather Oakhurst".split()
TRADES = "Looms Foundry Instruments Breweries Optics Ceramics Shipping Printworks Orchards Clockworks Glassworks Tannery".split()


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def split(cases):
    start = 0
    for name, size in SIZES.items():
        yield name, cases[start:start + size]
        start += size


def missing_hop():
    """Half the questions need two hops: the person's page shares no word with the question."""
    rng = random.Random(1)
    folder = HERE / "missing-hop"
    companies = [f"{a} {t}" for a, t in itertools.product(ADJECTIVES, TRADES)]
    people = [f"{f} {l}" for f, l in itertools.product(FIRST, LAST)]
    rng.shuffle(companies)
    rng.shuffle(people)
    cases, docs, facts = [], [], []
    for number in range(sum(SIZES.values())):
        company, person, town = companies[number], people[number], rng.choice(TOWNS)
        year = str(rng.randrange(1820, 1990))
        works = f"{company} started in {year}. Its founder was {person}."
        life = f"Raised at {town}; chemist, amateur cellist, later mayor."
        docs.append({"doc_id": f"company-{number:03}", "title": company, "text": works})
        docs.append({"doc_id": f"person-{number:03}", "title": person, "text": life})
        if number % 5 < 2:
            question, answer, gold = f"In which year did {company} start?", year, [company]
            needs, bridge = [works], None
        else:
            question, answer, gold = f"Where did the founder of {company} grow up?", town, [company, person]
            needs, bridge = [works, life], person
        cases.append({
            "case_id": f"hop-{number:03}",
            "input": {"question": question},
            "expected": {"answer": answer, "supporting_titles": gold},
        })
        fact = {"question": question, "needs": needs, "answer": answer, "distractor": "unknown"}
        if bridge:
            fact["bridge"] = bridge
        facts.append(fact)
    for name, part in split(cases):
        write_lines(folder / "data" / f"{name}.jsonl", part)
    write_lines(folder / "data" / "corpus.jsonl", docs)
    return folder, facts


def shallow_retrieval():
    """The page that answers is ranked below pages that repeat the question's words."""
    rng = random.Random(2)
    folder = HERE / "shallow-retrieval"
    substances = [a + b for a, b in itertools.product(
        "Vel Mor Tan Bri Cal Sor Pel Dra Lum Fen Gar Hest".split(),
        "orin ethyl adine oxol amide inium ucite arol opane ilane azole edrine utane".split())]
    substances += [s + "-B" for s in substances]
    rng.shuffle(substances)
    cases, docs, facts = [], [], []
    for number in range(sum(SIZES.values())):
        name, degrees = substances[number], f"{rng.randrange(40, 400)} degrees"
        question, sheet = f"What is the boiling point of {name}?", f"Data sheet. {name} turns to vapour at {degrees}, with little residue and a faint smell of almonds."
        rows = [("sheet", f"{name} data sheet", sheet)]
        for extra in range(1 + rng.randrange(4)):
            rows.append((f"note{extra}", f"{name} boiling point note {extra + 1}",
                         f"The boiling point of {name} is often asked for. A boiling point of {name} in old tables is wrong."))
        docs += [{"doc_id": f"{kind}-{number:03}", "title": title, "text": text} for kind, title, text in rows]
        cases.append({
            "case_id": f"boil-{number:03}",
            "input": {"question": question},
            "expected": {"answer": degrees, "supporting_titles": [f"{name} data sheet"]},
        })
        facts.append({"question": question, "needs": [sheet], "answer": degrees, "distractor": "unknown"})
    for split_name, part in split(cases):
        write_lines(folder / "data" / f"{split_name}.jsonl", part)
    write_lines(folder / "data" / "corpus.jsonl", docs)
    return folder, facts


def answer_form():
    """The model knows every answer; it just does not give it in the form that is scored."""
    rng = random.Random(3)
    folder = HERE / "answer-form"
    subjects = {
        "billing": ["I was charged twice for {m}", "the invoice for {m} shows the wrong amount", "please refund what I paid in {m}"],
        "shipping": ["my parcel from {m} never arrived", "the courier lost what I ordered in {m}", "where is the delivery promised for {m}"],
        "account": ["I cannot sign in since {m}", "the password I set in {m} is refused", "please delete the profile I made in {m}"],
        "product": ["the kettle I bought in {m} leaks", "the lid broke after one week in {m}", "the lamp from {m} flickers"],
    }
    months = "January February March April May June July August September October November December".split()
    openers = ["Hello, ", "Good morning: ", "Hi there, ", "To whom it may concern, ", "Dear team, ", ""]
    rows = [(label, opener + text.format(m=month) + ".")
            for label, texts in subjects.items() for text in texts for month in months for opener in openers]
    rng.shuffle(rows)
    cases, facts = [], []
    for number, (label, text) in enumerate(rows[:sum(SIZES.values())]):
        cases.append({"case_id": f"ticket-{number:03}", "input": {"ticket": text}, "expected": {"label": label}})
        facts.append({"question": text, "needs": [], "answer": label, "distractor": "other"})
    for name, part in split(cases):
        write_lines(folder / "data" / f"{name}.jsonl", part)
    return folder, facts


# What a prompt can change in the simulated model's behaviour.
DIRECTIVES = [
    {"when": r"(?i)step by step|step-by-step|think .*before", "then": {"reasoning": 25}},
    {"when": r"(?i)\b(only|exactly|just)\b.{0,40}\b(answer|label|word|one of)\b|nothing else", "then": {"style": "{answer}", "reasoning": 0}},
]


def write_world(folder, description, style, facts):
    world = {
        "description": description,
        "style": style,
        "directives": DIRECTIVES,
        "queries": {"when": r"(?i)search query"},
        "facts": facts,
    }
    (folder / "sim.json").write_text(json.dumps(world, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_world(missing_hop()[0], "Knows an answer only when every page it needs is in the prompt.", "{answer}", missing_hop()[1])
    write_world(shallow_retrieval()[0], "Knows an answer only when the data sheet is in the prompt.", "{answer}", shallow_retrieval()[1])
    write_world(answer_form()[0], "Knows every label, and wraps it in a sentence unless told not to.",
                "This looks like a ticket about {answer}, I would say.", answer_form()[1])
