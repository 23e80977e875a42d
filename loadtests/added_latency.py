"""What each contender adds to the latency of the upstream, at half of what saturates it."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from loadtests import constant_rate, lab, load

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from loadtests.contenders import Contender

SHARE = 0.5  # of saturation
MAX_RATE = 6000.0  # what one processor can pace in Python while it also serves as the upstream
LATE_SHARE = 0.5  # of the p99 it saw: a generator that was later than that saw itself
PAUSE_S = 1.0


class Added(NamedTuple):
    """One contender in one round. Latencies in ms; ``added`` are over the upstream's own at the same rate."""

    saturation: float
    rate: float
    p50: float
    p99: float
    p999: float
    added_p50: float
    added_p99: float
    late_p99: float
    failed: int


def rate_for(saturation: float) -> float:
    """Half of it, as far as the generator goes."""
    return min(saturation * SHARE, MAX_RATE)


def measure(
    stage: lab.Lab, contenders: list[Contender], script: Path, given: argparse.Namespace
) -> dict[str, list[Added]]:
    """Find out what saturates each, then drive each at half of it, in interleaved rounds."""
    full = {one.name: _saturation(one, script, given) for one in contenders}
    rounds: dict[str, list[Added]] = {one.name: [] for one in contenders}
    for number in range(given.rounds):
        for one in contenders:
            rate = rate_for(full[one.name])
            direct = _drive(stage.upstream_port, rate, given)
            seen = _drive(one.port, rate, given)
            rounds[one.name].append(
                Added(
                    saturation=full[one.name],
                    rate=rate,
                    p50=seen.p50_ms,
                    p99=seen.p99_ms,
                    p999=seen.p999_ms,
                    added_p50=seen.p50_ms - direct.p50_ms,
                    added_p99=seen.p99_ms - direct.p99_ms,
                    late_p99=seen.late_p99_ms,
                    failed=seen.failed,
                )
            )
            print(f"round {number + 1}: {one.name} p99 {seen.p99_ms:.2f} ms at {rate:.0f}/s", file=sys.stderr)
    return rounds


def _saturation(one: Contender, script: Path, given: argparse.Namespace) -> float:
    load.run(script, one.port, given.path, seconds=1, connections=given.connections)
    seen = load.run(script, one.port, given.path, seconds=given.seconds, connections=given.connections)
    time.sleep(PAUSE_S)
    return seen.requests / seen.seconds


def _drive(port: int, rate: float, given: argparse.Namespace) -> constant_rate.Paced:
    seen = constant_rate.drive(port, given.path, rate=rate, seconds=given.seconds, subjects=given.subjects)
    time.sleep(PAUSE_S)
    if not seen.answered:
        raise lab.StartError(f"nothing was answered on port {port} at {rate:.0f} requests a second")
    return seen


def summarise(rounds: dict[str, list[Added]]) -> dict[str, dict[str, float]]:
    """Medians; the ratio of added p99 to HAProxy's is the median of each round's own."""
    summary = {}
    for name, mine in rounds.items():
        figures = {field: statistics.median(getattr(one, field) for one in mine) for field in Added._fields}
        others = rounds.get("haproxy")
        if others:
            pairs = zip(mine, others, strict=True)
            ratios = [one.added_p99 / other.added_p99 for one, other in pairs if other.added_p99 > 0]
            if ratios:
                figures["added_p99_times_haproxy"] = statistics.median(ratios)
        summary[name] = figures
    return summary


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary for people, with what makes a row doubtful below."""
    head = [
        "",
        "saturation/s",
        "driven at/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "added p50",
        "added p99",
        "× haproxy",
        "failed",
    ]
    rows, notes = [head], []
    for name, row in summary.items():
        ratio = row.get("added_p99_times_haproxy")
        cells = [f"{row['saturation']:.0f}", f"{row['rate']:.0f}"]
        cells += [f"{row[field]:.2f}" for field in ("p50", "p99", "p999", "added_p50", "added_p99")]
        rows.append([name, *cells, "–" if ratio is None else f"{ratio:.2f}", f"{row['failed']:.0f}"])
        if row["rate"] < row["saturation"] * SHARE * 0.99:
            notes.append(f"{name}: driven at less than half; the generator paces no more than {MAX_RATE:.0f} a second.")
        if row["late_p99"] > row["p99"] * LATE_SHARE:
            notes.append(f"{name}: the generator itself was {row['late_p99']:.2f} ms late (p99); it saw itself.")
    lines = [f"{row[0]:<20}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows]
    return "\n".join([*lines, *notes])
