"""SentinelStack beside HAProxy and nginx+Lua that do the same work, in one run: processor time per request.

    python -m loadtests.side_by_side [--rounds 3] [--seconds 5] [--connections 32] [--json FILE]

Each contender checks an HS256 token, takes a token of its subject's bucket, writes a record and proxies to the same
nginx. nginx+Lua keeps its buckets in Redis as SentinelStack does; HAProxy keeps a rate in its own memory. Rounds are
interleaved (A B C A B C …), so that what else the machine does falls on all of them; medians and the medians of each
round's ratios are printed. What SentinelStack's control process spends on storing the records is shown apart: the peers
do nothing like it. Everything listens on loopback and is ended with the run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from loadtests import lab, load

PEERS = ("haproxy", "nginx+lua")
OURS = "sentinelstack"
WARM_S = 1
USABLE_REQUESTS = 200  # a starved machine can give a round with next to nothing in it
ATTEMPTS = 3
CONTROL_IDLE_S = 0.05  # of processor time per second: below it the backlog is stored


class Contender(NamedTuple):
    """Who is measured."""

    name: str
    port: int
    process: lab.Process


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
    parser.add_argument("--path", default="/api/items?x=1", help="/blob/10k and /blob/1m answer with more")
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--hard", action="store_true", help="a URL and a trace of its own for each request, 18 fields")
    parser.add_argument("--without", action="append", default=[], choices=PEERS, help="leave this peer out")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser.parse_args(given)


def start_contenders(stage: lab.Lab, without: list[str], path: str) -> list[Contender]:
    """Start everybody on processor 0, and wait until each does its work."""
    contenders = []
    if "haproxy" not in without:
        port = lab.free_port()
        command = ["haproxy", "-db", "-f", stage.render("haproxy.cfg", port)]
        contenders.append(Contender("haproxy", port, stage.start("haproxy", command, cpu=lab.CONTENDER_CPU)))
    if "nginx+lua" not in without:
        port = lab.free_port()
        command = ["nginx", "-p", stage.folder, "-c", stage.render("lua.nginx.conf", port)]
        env = {"BENCH_SECRET": lab.SECRET, "BENCH_REDIS_PORT": str(stage.redis_port)}
        contenders.append(Contender("nginx+lua", port, stage.start("lua", command, cpu=lab.CONTENDER_CPU, env=env)))
    port = lab.free_port()
    contenders.append(Contender(OURS, port, stage.start_gateway(port)))
    for contender in contenders:
        lab.wait_until_serving(contender.process, contender.port, path)
    return contenders


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
    return "\n".join(f"{row[0]:<14}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    built = platform.python_compiler()
    return {
        "python": f"{platform.python_version()} ({built})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        "load_average": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def run(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure; raises lab.MissingError and lab.StartError."""
    needed = ["nginx", "redis-server", "wrk"] + ["haproxy"] * ("haproxy" not in given.without)
    lab.need(*needed)
    with lab.Lab() as stage:
        stage.start_surroundings()
        script = stage.folder / "requests.lua"
        script.write_text(load.repeated_script(given.subjects, hard=given.hard))
        contenders = start_contenders(stage, given.without, given.path)
        rounds: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
        for number in range(given.rounds):
            for contender in contenders:
                rounds[contender.name].append(measure(contender, script, given))
                print(f"round {number + 1}: {contender.name} {rounds[contender.name][-1].cpu_us:.1f}", file=sys.stderr)
        return summarise(rounds)


def main() -> None:
    """Measure and print."""
    given = arguments()
    try:
        summary = run(given)
    except lab.MissingError as error:
        sys.exit(f"side_by_side: {error}\nor leave a peer out: --without haproxy")
    except lab.StartError as error:
        sys.exit(f"side_by_side: {error}")
    print(table(summary))
    if given.json is not None:
        settings = {name: getattr(given, name) for name in ("rounds", "seconds", "connections", "path", "hard")}
        given.json.write_text(json.dumps({"machine": machine(), "settings": settings, "contenders": summary}, indent=1))


if __name__ == "__main__":
    main()
