"""How soon after a burst of load control has stored every record of it, and what a record costs control.

    python -m loadtests.drain [--seconds 20] [--connections 32] [--within 10] [--json FILE]

The load is that of loadtests.side_by_side, as fast as one worker goes, with control on the worker's own processor.
After it, /metrics is asked until as many records are stored as requests were answered. Fails when that takes longer
than ``--within`` seconds, or when a record was lost. Processor time is all of control's, with detection and pages.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from loadtests import lab, load

PATH = "/api/items?x=1"
SUBJECTS = 1000
PATIENCE = 6  # times the goal: how long to go on waiting, to say how late it was
_RECORDS = re.compile(r'^sentinel_records_total\{outcome="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


class Drained(NamedTuple):
    """What became of the records of one burst."""

    requests: int
    stored: int
    lost: int
    requests_per_s: float
    drain_s: float
    control_us: float

    def problems(self, within_s: float) -> list[str]:
        """What is not as it should be."""
        found = []
        if self.stored < self.requests:
            found.append(f"{self.requests - self.stored} of {self.requests} records are not stored")
        if self.lost:
            found.append(f"{self.lost} records were lost")
        if self.drain_s > within_s:
            found.append(f"the backlog took {self.drain_s:.1f} s; {within_s:g} s may be")
        return found


def outcomes(exposition: str) -> dict[str, int]:
    """Records by what became of them, from the text of /metrics."""
    return {outcome: int(float(count)) for outcome, count in _RECORDS.findall(exposition)}


def ask(admin_port: int) -> dict[str, int]:
    """The same from a running control."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=30) as answer:
        return outcomes(answer.read().decode())


def measure(stage: lab.Lab, seconds: int, connections: int, within_s: float) -> Drained:
    """Load, wait, count. Raises lab.StartError when some requests failed."""
    port, admin_port = lab.free_port(), lab.free_port()
    gateway = stage.start_gateway(port, ADMIN_PORT=str(admin_port))
    lab.wait_until_serving(gateway, port, PATH)
    script = stage.folder / "requests.lua"
    script.write_text(load.repeated_script(SUBJECTS, hard=False))
    load.run(script, port, PATH, seconds=2, connections=connections)
    time.sleep(within_s)  # start-up and the warm-up's records are not part of it
    before, used = ask(admin_port), lab.usage(gateway.pid)
    seen = load.run(script, port, PATH, seconds=seconds, connections=connections)
    if seen.failed:
        raise lab.StartError(f"{seen.failed} of {seen.requests} requests failed")
    ended_at = time.monotonic()
    while True:
        after = ask(admin_port)
        drain_s = time.monotonic() - ended_at
        stored = after.get("stored", 0) - before.get("stored", 0)
        if stored >= seen.requests or drain_s > PATIENCE * within_s:
            break
        time.sleep(0.1)
    control_s = lab.usage(gateway.pid).control_s - used.control_s
    return Drained(
        requests=seen.requests,
        stored=stored,
        lost=after.get("dropped", 0) + after.get("poisoned", 0),
        requests_per_s=seen.requests / seen.seconds,
        drain_s=drain_s,
        control_us=control_s / max(stored, 1) * 1e6,
    )


def main() -> None:
    """Measure, print, and end with 1 if a record is late or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--within", type=float, default=10.0, help="seconds the backlog may take")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    try:
        lab.need("nginx", "redis-server", "wrk")
        with lab.Lab() as stage:
            stage.start_surroundings()
            drained = measure(stage, given.seconds, given.connections, given.within)
    except (lab.MissingError, lab.StartError) as error:
        sys.exit(f"drain: {error}")
    print("\n".join(f"{name:<16}{figure:>12.1f}" for name, figure in drained._asdict().items()))
    if given.json is not None:
        given.json.write_text(json.dumps(drained._asdict(), indent=1))
    if problems := drained.problems(given.within):
        sys.exit(f"drain: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
