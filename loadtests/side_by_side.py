"""SentinelStack beside others that do the same work, in one run: processor time per request, or added latency.

    python -m loadtests.side_by_side [--rounds 3] [--seconds 5] [--connections 32] [--workers 1] [--json FILE]
    python -m loadtests.side_by_side --upload 10k          # bodies instead of bare GETs
    python -m loadtests.side_by_side --path /blob/1m       # answers of a megabyte
    python -m loadtests.side_by_side --latency             # added p99 at half of what saturates each

Each contender checks an HS256 token, takes a token of its subject's bucket, writes a record and proxies to the same
nginx: HAProxy (a rate in its own memory), nginx+Lua (buckets in Redis), a plain Starlette gateway (Redis), and
SentinelStack (Redis) with each of its two drivers, also compiled once `make compiled` has built it. Rounds are
interleaved (A B C A B C …), so that what else the machine does falls on all of them; medians and the medians of each
round's ratios are printed. What SentinelStack's control process spends on storing the records is shown apart: the
others do nothing like it. Everything listens on loopback and is ended with the run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from gateway.loadtest import machine
from loadtests import added_latency, contenders, lab, load
from loadtests.contenders import PEERS, Contender

WARM_S = 1
USABLE_REQUESTS = 200  # a starved machine can give a round with next to nothing in it
ATTEMPTS = 3
CONTROL_IDLE_S = 0.05  # of processor time per second: below it the backlog is stored


class Round(NamedTuple):
    """One contender in one round. Processor times are µs per request."""

    cpu_us: float
    control_us: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    rss_mib: float  # of the worker, or of all there is where nothing is called one
    whole_rss_mib: float  # with control and the supervisor; pages they share are counted for each
    failed: int


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of load per contender and round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--path", default="", help="by default /api/items?x=1; /blob/10k and /blob/1m answer with more")
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--hard", action="store_true", help="a URL and a trace of its own for each request, 18 fields")
    parser.add_argument("--upload", metavar="SIZE", default="", help="POST so much with each request: 10k, 1M")
    parser.add_argument("--workers", type=int, default=1, help="of each; several share the processors with the load")
    parser.add_argument("--latency", action="store_true", help="added latency at half of saturation instead")
    parser.add_argument("--without", action="append", default=[], choices=contenders.ALL, help="leave this one out")
    parser.add_argument("--only", action="append", default=[], choices=contenders.ALL, help="measure these")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parsed = parser.parse_args(given)
    try:
        parsed.upload_bytes = load.size_of(parsed.upload) if parsed.upload else 0
    except ValueError:
        parser.error(f"--upload {parsed.upload!r} is no size such as 10k or 1M")
    parsed.path = parsed.path or ("/upload" if parsed.upload else "/api/items?x=1")
    if parsed.hard and parsed.upload:
        parser.error("--hard and --upload are two kinds of requests; choose one")
    if parsed.latency and (parsed.hard or parsed.upload):
        parser.error("--latency drives plain GETs; leave --hard and --upload out")
    if not set(names(parsed)) <= set(contenders.usable()):
        parser.error(f"nothing is built in {contenders.BUILD}: make compiled")
    if not names(parsed):
        parser.error("nobody is left to be measured")
    return parsed


def names(given: argparse.Namespace) -> list[str]:
    """Who takes part."""
    asked = given.only or contenders.usable()
    return [name for name in contenders.ALL if name in asked and name not in given.without]


def measure(contender: Contender, script: Path, given: argparse.Namespace) -> Round:
    """One round of one contender.

    Raises:
        lab.StartError: no attempt gave a usable figure.
    """
    pid, port = contender.process.pid, contender.port
    for _ in range(ATTEMPTS):
        load.run(script, port, given.path, seconds=WARM_S, connections=given.connections)
        _settle(pid)
        before = lab.usage(pid)
        seen = load.run(script, port, given.path, seconds=given.seconds, connections=given.connections)
        after = lab.usage(pid)
        control_s = _settle(pid).control_s - before.control_s
        worker_s = after.worker_s - before.worker_s
        if seen.requests >= USABLE_REQUESTS and worker_s > 0:
            return Round(
                cpu_us=worker_s / seen.requests * 1e6,
                control_us=control_s / seen.requests * 1e6,
                requests_per_s=seen.requests / seen.seconds,
                p50_ms=seen.p50_ms,
                p99_ms=seen.p99_ms,
                rss_mib=after.worker_rss_mib or after.rss_mib,
                whole_rss_mib=after.rss_mib,
                failed=seen.failed,
            )
    raise lab.StartError(f"{contender.name}: no usable round in {ATTEMPTS}:\n{contender.process.output()}")


def _settle(pid: int) -> lab.Usage:
    """Wait until control has stored what the round before left; the others have no control and are settled at once."""
    before = lab.usage(pid)
    while before.control_s:
        time.sleep(1.0)
        after = lab.usage(pid)
        if after.control_s - before.control_s < CONTROL_IDLE_S:
            return after
        before = after
    return before


def summarise(rounds: dict[str, list[Round]]) -> dict[str, dict[str, float]]:
    """Medians of everything, and the median over the rounds of the ratio to each peer of the same round."""
    summary = {}
    for name, mine in rounds.items():
        figures = {field: statistics.median(getattr(one, field) for one in mine) for field in Round._fields}
        for peer in PEERS:
            if peer in rounds:
                ratios = [one.cpu_us / other.cpu_us for one, other in zip(mine, rounds[peer], strict=True)]
                figures[f"times_{peer}"] = statistics.median(ratios)
        summary[name] = figures
    return summary


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary for people."""
    peers = [peer for peer in PEERS if peer in summary]
    head = ["", "µs/request", *(f"× {peer}" for peer in peers), "requests/s", "p50 ms", "p99 ms", "RSS MiB"]
    rows = [[*head, "whole MiB", "control µs", "failed"]]
    for name, figures in summary.items():
        rows.append([
            name,
            f"{figures['cpu_us']:.1f}",
            *(f"{figures[f'times_{peer}']:.2f}" for peer in peers),
            f"{figures['requests_per_s']:.0f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
            f"{figures['rss_mib']:.0f}",
            f"{figures['whole_rss_mib']:.0f}",
            f"{figures['control_us']:.1f}",
            f"{figures['failed']:.0f}",
        ])  # fmt: skip
    return "\n".join(f"{row[0]:<20}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows)


def measured_on() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "python": machine.interpreter(),
        "system": machine.system(),
        "load_average": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def run(given: argparse.Namespace) -> tuple[dict[str, dict[str, float]], str]:
    """Measure; the figures, and a table of them. Raises lab.MissingError and lab.StartError."""
    lab.need(*contenders.programs(names(given)))
    with lab.Lab() as stage:
        stage.start_surroundings()
        script = stage.folder / "requests.lua"
        if given.upload_bytes:
            script.write_text(load.upload_script(given.subjects, given.upload_bytes))
        else:
            script.write_text(load.repeated_script(given.subjects, hard=given.hard))
        measured = contenders.start(stage, names(given), given.path, given.workers)
        if given.latency:
            added = added_latency.summarise(added_latency.measure(stage, measured, script, given))
            return added, added_latency.table(added)
        rounds: dict[str, list[Round]] = {contender.name: [] for contender in measured}
        for number in range(given.rounds):
            for contender in measured:
                rounds[contender.name].append(measure(contender, script, given))
                print(f"round {number + 1}: {contender.name} {rounds[contender.name][-1].cpu_us:.1f}", file=sys.stderr)
        summary = summarise(rounds)
        return summary, table(summary)


def main() -> None:
    """Measure and print."""
    given = arguments()
    try:
        summary, shown = run(given)
    except lab.MissingError as error:
        sys.exit(f"side_by_side: {error}\nor leave a peer out: --without haproxy")
    except lab.StartError as error:
        sys.exit(f"side_by_side: {error}")
    print("\n".join(f"{name}: {value}" for name, value in measured_on().items()), shown, sep="\n")
    if given.json is not None:
        kept = ("rounds", "seconds", "connections", "path", "hard", "upload", "workers", "latency")
        settings = {name: getattr(given, name) for name in kept}
        given.json.write_text(
            json.dumps({"machine": measured_on(), "settings": settings, "contenders": summary}, indent=1)
        )


if __name__ == "__main__":
    main()
