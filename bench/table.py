#!/usr/bin/env python3
"""Prints the figures of a bench run side by side.

    bench/table.py calls fapo.json langgraph.json
    bench/table.py memory small.json large.json
"""

import json
import sys
from pathlib import Path


def read(path: str) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def calls(fapo: dict, langgraph: dict) -> None:
    result = fapo["result"]
    if result["counted"] != result["cases"] or result["mean"] != 1.0:
        sys.exit(f"the fapo run is not clean: {result['counted']} of {result['cases']} cases, mean {result['mean']}")
    if langgraph["right"] != langgraph["cases"]:
        sys.exit(f"the langgraph run is not clean: {langgraph['right']} of {langgraph['cases']} cases")
    sides = []
    for side, made, cases in (
        (fapo, result["model_calls"], result["cases"]),
        (langgraph, langgraph["model_calls"], langgraph["cases"]),
    ):
        sides.append(
            {
                "cases": cases,
                "calls": made,
                "cases/s": cases / side["seconds"],
                "calls/s": made / side["seconds"],
                "cpu": 1000 * side["cpu_seconds"] / made,
                "rss": side["peak_rss_mb"],
            }
        )
    ours, theirs = sides
    rows = [
        ("cases", f"{ours['cases']}", f"{theirs['cases']}", ""),
        ("model calls", f"{ours['calls']}", f"{theirs['calls']}", ""),
        (
            "cases/s",
            f"{ours['cases/s']:.0f}",
            f"{theirs['cases/s']:.0f}",
            f"{ours['cases/s'] / theirs['cases/s']:.1f} x",
        ),
        ("calls/s", f"{ours['calls/s']:.0f}", f"{theirs['calls/s']:.0f}", ""),
        ("CPU ms per call", f"{ours['cpu']:.3f}", f"{theirs['cpu']:.3f}", f"{theirs['cpu'] / ours['cpu']:.1f} x less"),
        ("peak memory MB", f"{ours['rss']:.0f}", f"{theirs['rss']:.0f}", ""),
        ("stores every step", "yes", "no", ""),
        ("counted", "whole process", "after start", ""),
    ]
    print(f"{'':20}{'fapo':>16}{'langgraph':>16}   ratio")
    for name, left, right, ratio in rows:
        print(f"{name:20}{left:>16}{right:>16}   {ratio}")
    print(f"({langgraph['what']})")


def memory(small: dict, large: dict) -> None:
    print(f"{'cases':>12}{'peak memory MB':>18}{'seconds':>12}{'CPU s':>12}{'cases/s':>12}")
    for side in (small, large):
        cases = side["result"]["cases"]
        print(
            f"{cases:>12}{side['peak_rss_mb']:>18.0f}{side['seconds']:>12.1f}{side['cpu_seconds']:>12.1f}"
            f"{cases / side['seconds']:>12.0f}"
        )
    print(f"memory grows by {large['peak_rss_mb'] / small['peak_rss_mb']:.2f} x")


def main() -> None:
    if len(sys.argv) != 4 or sys.argv[1] not in ("calls", "memory"):
        sys.exit(__doc__)
    {"calls": calls, "memory": memory}[sys.argv[1]](read(sys.argv[2]), read(sys.argv[3]))


if __name__ == "__main__":
    main()
