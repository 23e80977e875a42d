"""Whether a worker's memory stays flat under requests that never repeat: every token, subject and path comes once.

    python -m loadtests.memory_flat [--requests 1000000] [--distinct tokens] [--redis frozen] [--driver lane]

``--distinct keys`` sends API keys nobody issued (every answer is 401), ``--distinct addresses`` clients that a trusted
proxy names in X-Forwarded-For, each with a bucket of its own.

``--redis frozen`` stops Redis in every other round after the tables have filled, so that it answers late or not at all
and limits are decided in the worker; ``--redis gone`` ends it then. ``--limit "6/h burst 3"`` gives every caller a
bucket that takes ten minutes to be full again, so that none of those can be forgotten early.

Every table a worker keeps (verified tokens, encoded limit keys, identities, remembered heads) is filled to its bound
and kept there. Prints the worker's resident memory at the start, after the tables have filled, at its peak and at the
end. Fails when the peak is over 95 MiB, or when more than a tenth was added after the tables had filled. wrk signs the
tokens itself; what it can sign per second is measured first, so that a slow client is not taken for a slow gateway.
``fallbacks`` says how many limits were decided without Redis.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from loadtests import lab, load

MAX_MIB = 95.0
MAX_GROWTH = 0.10
WARM_REQUESTS = 50_000  # five times the largest table's entries: after them nothing has a reason to grow
ROUND_S = 10
SAMPLE_S = 0.5
LIFETIME_S = 6 * 3600
PATHS = {"tokens": "/api/items", "keys": "/keys/items", "addresses": "/addresses/items"}


def script_of(distinct: str, first: int) -> str:
    """The load in which this never repeats; numbers begin after ``first``."""
    if distinct == "keys":
        return load.keys_script(first)
    if distinct == "addresses":
        return load.addresses_script(first)
    return load.distinct_script(first, int(time.time()) + LIFETIME_S)


def wrong(seen: load.Load, distinct: str) -> int:
    """Answers that were not what they should be: 401 to unknown keys, 200 otherwise."""
    return abs(seen.requests - seen.failed) if distinct == "keys" else seen.failed


class Flatness(NamedTuple):
    """The worker's resident memory in MiB, and whether it may be called flat."""

    start: float
    warm: float
    peak: float
    end: float

    @property
    def growth(self) -> float:
        """Share added after the tables had filled."""
        return self.end / self.warm - 1

    def problems(self) -> list[str]:
        """Why it is not flat; empty when it is."""
        found = []
        if self.peak > MAX_MIB:
            found.append(f"the peak of {self.peak:.1f} MiB is over {MAX_MIB:.0f} MiB")
        if self.growth > MAX_GROWTH:
            found.append(f"it grew by {self.growth:.1%} after {WARM_REQUESTS} requests; {MAX_GROWTH:.0%} may be")
        return found


class Sampler(threading.Thread):
    """Looks at the worker's memory again and again, for the peak."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._pid = pid
        self._stopping = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._stopping.wait(SAMPLE_S):
            self.peak = max(self.peak, lab.usage(self._pid).worker_rss_mib)

    def stop(self) -> float:
        """The highest sample."""
        self._stopping.set()
        self.join()
        return self.peak


def client_rate(stage: lab.Lab, script: Path, connections: int) -> float:
    """Requests per second this client can make of the upstream itself, which looks at no token."""
    seen = load.run(script, stage.upstream_port, PATHS["tokens"], seconds=3, connections=connections)
    return seen.requests / seen.seconds


def drive(
    stage: lab.Lab, port: int, pid: int, *, distinct: str, requests: int, connections: int, redis: str
) -> tuple[Flatness, float]:
    """Send so many requests and watch; the memory, and requests per second.

    Raises:
        lab.StartError: some request failed, so this was not the load it should have been.
    """
    start, warm, sent, seconds = lab.usage(pid).worker_rss_mib, 0.0, 0, 0.0
    sampler = Sampler(pid)
    sampler.start()
    script = stage.folder / "distinct.lua"
    frozen = False
    while sent < requests:
        if warm and redis != "answering":
            frozen = not frozen
            stage.signal("redis", signal.SIGKILL if redis == "gone" else signal.SIGSTOP if frozen else signal.SIGCONT)
        script.write_text(script_of(distinct, sent * 2))  # wrk begins more than it ends
        seen = load.run(script, port, PATHS[distinct], seconds=ROUND_S, connections=connections)
        if failed := wrong(seen, distinct):
            raise lab.StartError(f"{failed} of {seen.requests} requests failed")
        sent, seconds = sent + seen.requests, seconds + seen.seconds
        resident = lab.usage(pid).worker_rss_mib
        if not warm and sent >= min(WARM_REQUESTS, requests // 2):
            warm = resident
        print(f"{sent:>9} requests  {resident:6.1f} MiB", file=sys.stderr)
    stage.signal("redis", signal.SIGCONT)
    peak = sampler.stop()
    end = lab.usage(pid).worker_rss_mib
    return Flatness(start, warm, max(peak, end), end), sent / seconds


def main() -> None:
    """Measure, print, and end with 1 if it is not flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--distinct", choices=tuple(PATHS), default="tokens", help="what never repeats, beside the path"
    )
    parser.add_argument("--redis", choices=("answering", "frozen", "gone"), default="answering")
    parser.add_argument("--limit", default="1000000/s burst 1000000", help="rate and burst of every limit")
    parser.add_argument("--driver", choices=("lane", "asgi"), default="lane")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    try:
        lab.need("nginx", "redis-server", "wrk")
        with lab.Lab() as stage:
            stage.start_surroundings()
            port, admin_port = lab.free_port(), lab.free_port()
            gateway = stage.start_gateway(
                port, DRIVER=given.driver, MORE="1", LIMIT=given.limit, ADMIN_PORT=str(admin_port)
            )
            lab.wait_until_serving(gateway, port, PATHS["tokens"])
            script = stage.folder / "client.lua"
            script.write_text(script_of(given.distinct, 0))
            alone = client_rate(stage, script, given.connections)
            flatness, rate = drive(
                stage,
                port,
                gateway.pid,
                distinct=given.distinct,
                requests=given.requests,
                connections=given.connections,
                redis=given.redis,
            )
            fallbacks = lab.metric(admin_port, "sentinel_limiter_fallback_total")
    except (lab.MissingError, lab.StartError) as error:
        sys.exit(f"memory_flat: {error}")
    figures = {**flatness._asdict(), "growth": flatness.growth, "requests_per_s": rate, "client_alone_per_s": alone}
    figures["fallbacks"] = fallbacks
    print("\n".join(f"{name:<20}{figure:>12.3f}" for name, figure in figures.items()))
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1))
    if problems := flatness.problems():
        sys.exit(f"memory_flat: not flat: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
