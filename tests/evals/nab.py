"""Score the product's streaming detector on the Numenta Anomaly Benchmark.

``python -m tests.evals.nab --data DIR --results OUT`` finds series (CSV files with ``timestamp,value``) at any depth
below DIR and ``windows.json`` (file → list of [first, last] timestamps), feeds each value to the very detector the
product runs, in order, and writes ``timestamp,value,anomaly_score`` per file below OUT for the benchmark's own scorer.
The last line printed is one JSON object with the scores under the detector's fixed threshold.

The refractory period belongs to this benchmark, which punishes every further word about the same trouble; in the
product the cooldown of incidents stands in its place.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from datetime import UTC, datetime
from math import exp
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from gateway.detect.streaming import THRESHOLD, Streaming

_REFRACTORY_S = 18 * 3600
_REFRACTORY_POINTS = 50
_AGAIN = 0.05  # by so much per repetition a score must exceed the last alarm's to speak within the refractory period

_PROBATION = 0.15  # of a file, and of no more than its first 5,000 points: not scored
_PROBATION_MOST = 5000
_PAST_WINDOW = 3.0  # widths after a window from which on a false alarm costs the whole weight


class Profile(NamedTuple):
    """What an application pays: for a true alarm, a false one, and for missing a window."""

    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_fp": Profile(1.0, 0.22, 1.0),
    "reward_low_fn": Profile(1.0, 0.11, 2.0),
}


class Point(NamedTuple):
    """One line of a series: its timestamp as it stood, in seconds, and its value."""

    text: str
    at: float
    value: float


def points_of(path: Path) -> list[Point]:
    with path.open(newline="") as lines:
        return [
            Point(row["timestamp"], seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(lines)
        ]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def scores_of(points: list[Point]) -> list[float]:
    """The detector's scores; those the refractory period silences are pushed below the threshold."""
    detector = Streaming()
    shown = []
    spoke_at, spoke_point, bar, repeats = float("-inf"), -_REFRACTORY_POINTS, 0.0, 0
    for index, point in enumerate(points):
        score = detector.score(point.at, point.value)
        if score >= THRESHOLD:
            silent = point.at - spoke_at < _REFRACTORY_S or index - spoke_point < _REFRACTORY_POINTS
            repeats = repeats + 1 if silent else 0
            if silent and score <= bar + _AGAIN * repeats:
                repeats -= 1
                score = THRESHOLD - 1
            else:
                spoke_at, spoke_point, bar = point.at, index, score
        shown.append(score)
    return shown


def anomaly_score(score: float) -> float:
    """In 0..1 with the threshold at 0.5, as the benchmark's scorer wants it."""
    return 1 / (1 + exp(THRESHOLD - score))


def sigmoid(position: float) -> float:
    """1 well before the end of a window (−1), 0 at its end, −1 far behind it."""
    return 2 / (1 + exp(5 * position)) - 1 if position <= _PAST_WINDOW else -1.0


def file_score(points: list[Point], alarms: set[int], windows: list[list[str]], profile: Profile) -> float:
    """The score of one file: the best alarm of each window, minus misses and weighed false alarms."""
    at = [point.at for point in points]
    bounds = [(at.index(seconds(first)), at.index(seconds(last))) for first, last in windows]
    probation = int(_PROBATION * min(len(points), _PROBATION_MOST))
    best = [-profile.false_negative] * len(bounds)
    total = 0.0
    for index in sorted(alarms):
        if index < probation:
            continue
        inside = next((n for n, (first, last) in enumerate(bounds) if first <= index <= last), None)
        if inside is not None:
            first, last = bounds[inside]
            reward = sigmoid(-(last - index + 1) / (last - first + 1)) / sigmoid(-1.0) * profile.true_positive
            best[inside] = max(best[inside], reward)
            continue
        behind = [bound for bound in bounds if bound[1] < index]
        cost = -1.0
        if behind:
            first, last = behind[-1]
            cost = sigmoid((index - last) / max(1, last - first))
        total += cost * profile.false_positive
    return total + sum(best)


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """100 for a detector that is right at the start of every window and says nothing else, 0 for a silent one."""
    silent, perfect = -profile.false_negative * windows, profile.true_positive * windows
    return 100 * (raw - silent) / (perfect - silent) if windows else 0.0


def write(path: Path, points: list[Point], scores: list[float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(("timestamp", "value", "anomaly_score"))
        lines.writerows(
            (point.text, point.value, f"{anomaly_score(score):.6f}")
            for point, score in zip(points, scores, strict=True)
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with windows.json and the series")
    parser.add_argument("--results", type=Path, help="folder to write the scored series to")
    options = parser.parse_args(arguments)
    labels = next(iter(sorted(options.data.rglob("windows.json"))), None)
    if labels is None:
        print(f"no windows.json below {options.data}: it holds the labelled windows per file", file=sys.stderr)
        return 2
    windows_of: dict[str, list[list[str]]] = json.loads(labels.read_text())
    raw = dict.fromkeys(PROFILES, 0.0)
    series = windows = points_scored = 0
    began = perf_counter()
    for path in sorted(options.data.rglob("*.csv")):
        name = next((name for name in windows_of if path.as_posix().endswith(f"/{name}")), None)
        if name is None:
            print(f"{path}: not in {labels}, left out", file=sys.stderr)
            continue
        points = points_of(path)
        scores = scores_of(points)
        alarms = {index for index, score in enumerate(scores) if score >= THRESHOLD}
        parts = {key: file_score(points, alarms, windows_of[name], profile) for key, profile in PROFILES.items()}
        print(f"{name}: {len(windows_of[name])} windows, {len(alarms)} alarms, {parts['standard']:+.2f}")
        if options.results:
            write(options.results / name, points, scores)
        for key, part in parts.items():
            raw[key] += part
        series, windows, points_scored = series + 1, windows + len(windows_of[name]), points_scored + len(points)
    if not series:
        print(f"no series of {labels} found below {options.data}", file=sys.stderr)
        return 2
    took_us = (perf_counter() - began) / points_scored * 1e6
    print(f"{points_scored} points, {took_us:.1f} µs each with reading and writing", file=sys.stderr)
    scored = {key: round(normalised(raw[key], windows, profile), 2) for key, profile in PROFILES.items()}
    print(json.dumps({"series": series, "windows": windows, "threshold": THRESHOLD, **scored}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
