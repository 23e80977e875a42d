"""Score the product's attribution on labelled incidents: which combination of attribute values is the cause?

``python -m tests.evals.attribution --data DIR`` takes ``labels.yaml`` (a list of ``data``, ``timestamp``, ``cause``)
and one CSV per case at any depth below DIR: a row per minute and combination with the attributes, ``value`` (bad
events) and ``cnt`` (all events). "Now" is the minute of the label's timestamp, "before" every earlier one. The last
line printed is one JSON object: how often a labelled cause is among the first 1, 3 and 5 answers, and how often the
first answer names exactly the labelled causes, all of them and nothing else.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import yaml

from gateway.diagnose.attribution import Leaf, Pattern, Values, attribute

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEASURES = {"min", "value", "cnt"}
Cause = frozenset[tuple[str, str]]


class Case(NamedTuple):
    """A labelled incident."""

    name: str
    attributes: tuple[str, ...]
    leaves: list[Leaf]
    causes: frozenset[Cause]


class Verdict(NamedTuple):
    """What was found: the place of the first right answer (1 is best, 0 is none), and whether the first is exact."""

    place: int
    exact: bool


def cases(folder: Path) -> Iterator[Case]:
    """Every case whose label and rows are both below the folder."""
    rows_of = {path.stem: path for path in sorted(folder.rglob("*.csv"))}
    for labels in sorted(folder.rglob("labels.yaml")):
        for label in yaml.safe_load(labels.read_text()):
            path = rows_of.get(str(label["data"]))
            if path is None:
                print(f"{labels}: no rows for {label['data']!r} below {folder}", file=sys.stderr)
                continue
            attributes, leaves = leaves_of(path, int(label["timestamp"]))
            yield Case(path.stem, attributes, leaves, causes_of(label["cause"]))


def causes_of(cause: object) -> frozenset[Cause]:
    several = cause if isinstance(cause, list) else [cause]
    return frozenset(frozenset((str(name), str(value)) for name, value in one.items()) for one in several)


def leaves_of(path: Path, now: int) -> tuple[tuple[str, ...], list[Leaf]]:
    """Rows summed by attribute values, at ``now`` and before it; what came later is not looked at."""
    sums: dict[tuple[str, ...], list[float]] = {}
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        attributes = tuple(name for name in reader.fieldnames or () if name not in _MEASURES)
        for row in reader:
            minute = int(float(row["min"]))
            if minute > now:
                continue
            into = sums.setdefault(tuple(row[name] for name in attributes), [0.0] * 4)
            first = 0 if minute == now else 2
            into[first] += float(row["value"])
            into[first + 1] += float(row["cnt"])
    return attributes, [Leaf(values, *numbers) for values, numbers in sums.items()]


def named(pattern: Pattern) -> list[Values]:
    """What an answer names as causes."""
    return list(pattern.members) or [pattern.values]


def judge(case: Case) -> Verdict:
    """Whether, and where, a labelled cause is among the answers."""
    found = attribute(case.attributes, case.leaves, limit=5)
    place = next((at for at, pattern in enumerate(found, 1) if says(pattern, case.causes)), 0)
    return Verdict(place, bool(found) and exactly(found[0], case.causes))


def says(pattern: Pattern, causes: frozenset[Cause]) -> bool:
    """Whether the answer, an alias of it or one of its members is a labelled cause."""
    return any(frozenset(values) in causes for values in (*named(pattern), *pattern.aliases))


def exactly(pattern: Pattern, causes: frozenset[Cause]) -> bool:
    """Whether the answer names all labelled causes and nothing else."""
    if frozenset(frozenset(values) for values in named(pattern)) == causes:
        return True
    return len(causes) == 1 and any(frozenset(values) in causes for values in pattern.aliases)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.yaml and a CSV per case")
    options = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    took_s = 0.0
    for case in cases(options.data):
        began = perf_counter()
        verdict = judge(case)
        took_s += perf_counter() - began
        verdicts.append(verdict)
        if verdict.place != 1 or not verdict.exact:
            labelled = " | ".join(sorted(str(dict(sorted(cause))) for cause in case.causes))
            print(f"{case.name}: labelled {labelled}, place {verdict.place or 'none'}, exact {verdict.exact}")
    if not verdicts:
        print(f"no labelled cases below {options.data}: labels.yaml and a CSV per case are needed", file=sys.stderr)
        return 2
    print(f"{took_s / len(verdicts) * 1000:.1f} ms a case", file=sys.stderr)
    share = {
        f"top{depth}": round(sum(0 < one.place <= depth for one in verdicts) / len(verdicts), 4) for depth in (1, 3, 5)
    }
    exact = round(sum(one.exact for one in verdicts) / len(verdicts), 4)
    print(json.dumps({"cases": len(verdicts), **share, "exact": exact}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
