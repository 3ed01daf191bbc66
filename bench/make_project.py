#!/usr/bin/env python3
"""Writes a project for the bench: DIR with fapo.yaml, pipeline/ and data/, as many cases as asked for.

--kind calls      the three model calls of pipeline.py
--kind template   one step without a model: what is left is fapo's own work per case
"""

import argparse
import json
from pathlib import Path

from pipeline import ANSWER, MODEL, STEPS, question

FAPO_YAML = """\
name: bench-{kind}
description: Made by bench/make_project.py.
models:
  task:
    provider: openai
    model: {model}
    base_url: {base_url}
    temperature: 0.0
    max_tokens: 64
    concurrency: {concurrency}
    price: {{ input: 0.0, output: 0.0 }}
data: {{ train: data/train.jsonl, val: data/val.jsonl }}
scorer: {{ metric: exact_match, expected: answer, also: [f1] }}
execution: {{ concurrency: {concurrency}, block_size: {block_size} }}
"""


def write_cases(path: Path, first: int, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(first, first + count):
            case = {
                "case_id": f"bench-{number:07}",
                "input": {"question": question(number)},
                "expected": {"answer": ANSWER},
            }
            file.write(json.dumps(case) + "\n")


def write_pipeline(folder: Path, kind: str) -> None:
    if kind == "template":
        steps = [
            "  - id: answer",
            "    kind: template",
            '    template: "{% if question %}' + ANSWER + '{% endif %}"',
        ]
    else:
        steps = []
        before = ""
        (folder / "prompts").mkdir(exist_ok=True)
        for step, system, user in STEPS:
            text = user.format(question="{{ question }}", before=f"{{{{ steps.{before}.text }}}}")
            (folder / "prompts" / f"{step}.md").write_text(f"system: {system}\nuser: {text}\n", encoding="utf-8")
            steps += [f"  - id: {step}", "    kind: llm", f"    prompt: prompts/{step}.md"]
            before = step
    text = "\n".join(["steps:", *steps, "output: answer", ""])
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dir", type=Path)
    arguments.add_argument("--kind", choices=["calls", "template"], default="calls")
    arguments.add_argument("--cases", type=int, default=1000)
    arguments.add_argument("--base-url", default="http://127.0.0.1:8089/v1")
    arguments.add_argument("--concurrency", type=int, default=32)
    arguments.add_argument("--block-size", type=int, default=256)
    options = arguments.parse_args()

    for folder in ("data", "pipeline"):
        (options.dir / folder).mkdir(parents=True, exist_ok=True)
    yaml = FAPO_YAML.format(
        kind=options.kind,
        model=MODEL,
        base_url=options.base_url,
        concurrency=options.concurrency,
        block_size=options.block_size,
    )
    (options.dir / "fapo.yaml").write_text(yaml, encoding="utf-8")
    write_pipeline(options.dir / "pipeline", options.kind)
    # train is not evaluated here, but a project has one
    write_cases(options.dir / "data" / "train.jsonl", options.cases, 4)
    write_cases(options.dir / "data" / "val.jsonl", 0, options.cases)


if __name__ == "__main__":
    main()
