"""The train runs of the variant you start from, one dict a case.

Columns (flat keys; a value may be None):
  case_id, score (None: missing, which is no zero), status, failed, feedback, output, ms, usd, calls
  cluster, rule, blamed_step, level, seen       what was found of a failure; None where it passes
  input.<key>, expected.<key>, metric.<name>
  <step>.text, <step>.chars, <step>.tokens, <step>.ms, <step>.error
  <step>.docs (titles), <step>.query             of a step that retrieves

`rows` holds them all; `columns()` names what is really there. Functions take rows first and return plain values;
those that print say so.
"""

import collections
import json
import os
import re

_HERE = os.path.dirname(os.path.abspath(__file__))


def load(path=None):
    """The rows of the table, in the order of the cases."""
    with open(path or os.path.join(_HERE, "runs.jsonl"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _about():
    try:
        with open(os.path.join(_HERE, "about.json"), encoding="utf-8") as file:
            return json.load(file)
    except OSError:
        return {}


rows = load()
if _about().get("rows", 0) < _about().get("of", 0):
    print("note: the table has the first {rows} of {of} cases".format(**_about()))


def columns(table=None):
    """The names of all columns, in order of appearance."""
    seen = {}
    for row in rows if table is None else table:
        for key in row:
            seen.setdefault(key)
    return list(seen)


def value(row, key):
    """What `key` gives for a row: a column's name, or a function of the row."""
    return key(row) if callable(key) else row.get(key)


def _hashable(item):
    return item if isinstance(item, (str, int, float, bool, type(None))) else json.dumps(item, sort_keys=True)


def where(table, *tests, **equal):
    """The rows for which every test holds: a function, or a dict of column to wanted value.

    where(rows, {"blamed_step": "answer"}, lambda r: r["score"] == 0); where(rows, failed=True)
    """
    wanted = [test for test in tests if isinstance(test, dict)] + [equal]
    functions = [test for test in tests if callable(test)]
    return [
        row
        for row in table
        if all(row.get(key) == want for pairs in wanted for key, want in pairs.items())
        and all(function(row) for function in functions)
    ]


def group(table, key):
    """Rows by the value of `key` (a column or a function), the largest group first."""
    groups = {}
    for row in table:
        groups.setdefault(_hashable(value(row, key)), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def mean(table, key="score"):
    """The mean of `key` over the rows that have a number there; None without any."""
    numbers = [number for number in (value(row, key) for row in table) if isinstance(number, (int, float))]
    return sum(numbers) / len(numbers) if numbers else None


def count_by(table, key, top=30):
    """(value, rows, mean score) by the value of `key`, the most frequent first. Prints them, too."""
    counted = [(name, len(part), mean(part)) for name, part in group(table, key).items()]
    for name, count, score in counted[:top]:
        print("{:>6}  {}  {}".format(count, "  -  " if score is None else "{:.3f}".format(score), _short(name, 100)))
    if len(counted) > top:
        print("       … {} more values".format(len(counted) - top))
    return counted


def crosstab(table, down, across, top=12):
    """Counts of rows by the values of two keys: {down: {across: count}}. Prints the most frequent."""
    cells = collections.defaultdict(collections.Counter)
    total = collections.Counter()
    for row in table:
        a, b = _hashable(value(row, down)), _hashable(value(row, across))
        cells[a][b] += 1
        total[b] += 1
    heads = [name for name, _ in total.most_common(top)]
    print(" | ".join(["{:<24}".format("")] + ["{:>12}".format(_short(head, 12)) for head in heads]))
    ordered = sorted(cells, key=lambda name: -sum(cells[name].values()))
    for name in ordered[: top * 2]:
        print(
            " | ".join(
                ["{:<24}".format(_short(name, 24))] + ["{:>12}".format(cells[name][head] or "") for head in heads]
            )
        )
    return {name: dict(counts) for name, counts in cells.items()}


def plain(text):
    """A text's normal form: lower case, words only, single spaces."""
    return " ".join(re.findall(r"\w+", str(text).lower()))


def confusion(table, expected, output="output", top=12):
    """What was expected (down) against what came out (across), in normal form. Prints it."""
    return crosstab(table, lambda r: plain(value(r, expected)), lambda r: plain(value(r, output)), top)


def ngrams(table, key, n=2, top=20):
    """The word sequences of length `n` in a column that most rows have: (words, rows, mean score). Prints them."""
    seen = collections.defaultdict(list)
    for row in table:
        words = plain(value(row, key) or "").split()
        for gram in {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}:
            seen[gram].append(row)
    found = sorted(seen.items(), key=lambda item: (-len(item[1]), item[0]))[:top]
    result = [(" ".join(gram), len(part), mean(part)) for gram, part in found]
    for gram, count, score in result:
        print("{:>6}  {}  {}".format(count, "  -  " if score is None else "{:.3f}".format(score), gram))
    return result


def _short(item, width):
    text = " ".join(str(item).split())
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def show(table, *keys, limit=10, width=80):
    """Prints the given columns of the first rows, one row a block."""
    keys = keys or ("case_id", "score", "cluster", "output")
    for row in table[:limit]:
        for key in keys:
            name = getattr(key, "__name__", key)
            print("{}: {}".format(name, _short(value(row, key), width)))
        print()
    if len(table) > limit:
        print("… {} more rows".format(len(table) - limit))
