"""Whether the gateway stays as it was through hours of mixed traffic, faults of the origin and reloads.

    python -m loadtests.soak --minutes 10 [--clients 24] [--driver lane] [--seed 1] [--json FILE]

Every ten seconds the origin takes another fault (errors, slowness, torn answers, silence, nobody listening); every
twenty-five the configuration is changed and read again. Resident memory, open files and the spool are sampled. Fails
when memory grows between the second quarter and the last, when files stay open, when the spool is over its bound or
does not drain, when a record is missing or one too many (sent = stored + dropped, and drops are counted), when a status
comes that has no reason to, when a worker was replaced, or when a reload did not come into force.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import psutil

from loadtests import drain, lab
from loadtests.soak_origin import FAULTS, Origin
from loadtests.soak_traffic import Traffic

SAMPLE_S = 2.0
FAULT_S = 10.0
RELOAD_S = 25.0
DRAIN_S = 60.0
SETTLE_S = 3.0
START_S = 45.0
SPOOL_MIB = 64
OPEN_SEGMENT_MIB = SPOOL_MIB / 32 + 0.5  # what is shipped of the segment being written goes with it
MAX_GROWTH = 0.10  # of memory …
SLACK_MIB = 8.0  # … or so much, whichever is more: a run of minutes is still filling tables
SLACK_FILES = 16  # more open files at the end than at the start, with no client left
FEWEST_SAMPLES = 8

CONFIG = """\
[server]
port = {port}
driver = "{driver}"
run_dir = "{folder}/run"

[admin]
bind = "127.0.0.1:{admin_port}"

[store]
url = "sqlite:///{folder}/run/sentinel.db"

[log]
spool_max = "{spool_mib}MiB"

[auth.jwt]
algorithms = ["HS256"]
secret_env = "SOAK_SECRET"

[[upstreams]]
name = "api"
targets = ["http://127.0.0.1:{origin_port}"]
timeout = {{ connect = "1s", header = "2s", idle = "2s" }}

[[routes]]
name = "api"
match = {{ path = "/api/*" }}
upstream = "api"
auth = "jwt"
limit = "{limit}/s burst {limit} per subject"
"""


class Sample(NamedTuple):
    """The gateway at one moment."""

    at_s: float
    worker_mib: float
    control_mib: float
    worker_files: int
    spool_mib: float


class Soaked(NamedTuple):
    """What came of it."""

    samples: list[Sample]
    owed: int
    perhaps: int
    outcomes: dict[str, int]
    spool_left_mib: float
    files_before: int
    files_after: int
    statuses: dict[str, int]
    unexpected: dict[str, int]
    workers: int
    reloads: int
    reloads_in_force: int

    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = [*growth(self.samples), *records(self.owed, self.perhaps, self.outcomes)]
        highest = max((sample.spool_mib for sample in self.samples), default=0.0)
        if highest > SPOOL_MIB:
            found.append(f"the spool held {highest:.0f} MiB; {SPOOL_MIB} MiB may be")
        if self.spool_left_mib > OPEN_SEGMENT_MIB:
            found.append(f"{self.spool_left_mib:.1f} MiB were still in the spool {DRAIN_S:.0f} s after the load")
        if self.files_after > self.files_before + SLACK_FILES:
            found.append(f"{self.files_after} files are open without a client; {self.files_before} were at the start")
        if self.unexpected:
            found.append(f"unexpected answers: {self.unexpected}")
        if self.workers != 1:
            found.append(f"{self.workers} workers have served; the first one should have lived")
        if self.reloads_in_force < self.reloads:
            found.append(f"{self.reloads_in_force} of {self.reloads} reloads came into force")
        return found


def growth(samples: list[Sample]) -> list[str]:
    """What grew from the second quarter to the last. The first one is a warm-up."""
    if len(samples) < FEWEST_SAMPLES:
        return [f"{len(samples)} samples are too few to see growth; run for longer"]
    quarter = len(samples) // 4
    found = []
    for field in ("worker_mib", "control_mib"):
        early, late = (
            statistics.median(getattr(sample, field) for sample in part)
            for part in (samples[quarter : 2 * quarter], samples[-quarter:])
        )
        if late - early > max(early * MAX_GROWTH, SLACK_MIB):
            found.append(f"{field} grew from {early:.1f} to {late:.1f}")
    return found


def records(owed: int, perhaps: int, outcomes: dict[str, int]) -> list[str]:
    """Whether every request has its record, stored or counted as dropped, and none has two."""
    there = sum(outcomes.values())
    if owed <= there <= owed + perhaps:
        return []
    return [f"{there} records for {owed} requests (and {perhaps} that broke before an answer): {outcomes}"]


def sample(pid: int, began: float, spool: Path) -> tuple[Sample, set[int]]:
    """Look once; also the workers' process ids."""
    worker_mib = control_mib = 0.0
    files = 0
    workers = set()
    for process in psutil.Process(pid).children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            resident = process.memory_info().rss / 2**20
            if ": control" in command:
                control_mib += resident
            elif ": worker" in command:
                workers.add(process.pid)
                worker_mib += resident
                files += process.num_fds()
        except psutil.Error:
            continue  # ended meanwhile
    held = sum(file.stat().st_size for file in _files(spool)) / 2**20
    return Sample(time.monotonic() - began, worker_mib, control_mib, files, held), workers


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*") if file.is_file()] if folder.is_dir() else []


class Soak:
    """The run: a gateway, an origin, traffic, and what disturbs them."""

    def __init__(self, stage: lab.Lab, origin: Origin, given: argparse.Namespace) -> None:
        self.origin = origin
        self.given = given
        self.draw = random.Random(given.seed)
        self.port, self.admin_port = lab.free_port(), lab.free_port()
        self.config = stage.folder / "sentinel.toml"
        self.spool = stage.folder / "run" / "spool"
        self.folder = stage.folder
        self.limits = itertools.cycle((400, 500))
        self.write()
        command = [sys.executable, "-m", "gateway", "serve", "--config", self.config]
        self.gateway = stage.start("gateway", command, env={"SOAK_SECRET": lab.SECRET})
        self.traffic = Traffic(self.port, self.draw)
        self.reloads = self.in_force = 0

    def write(self) -> None:
        """The configuration, each time with another limit."""
        text = CONFIG.format(
            port=self.port,
            admin_port=self.admin_port,
            folder=self.folder,
            driver=self.given.driver,
            origin_port=self.origin.port,
            limit=next(self.limits),
            spool_mib=SPOOL_MIB,
        )
        self.config.write_text(text)

    async def ready(self) -> None:
        """Wait until it serves."""
        deadline = time.monotonic() + START_S
        url = f"http://127.0.0.1:{self.admin_port}/health/ready"
        while True:
            self.gateway.check()
            try:
                await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=2).close())
            except OSError:
                if time.monotonic() > deadline:
                    raise lab.StartError(f"the gateway is not ready:\n{self.gateway.output()}") from None
                await asyncio.sleep(0.2)
            else:
                return

    async def run(self) -> Soaked:
        """All of it."""
        await self.ready()
        began = time.monotonic()
        before, workers = sample(self.gateway.pid, began, self.spool)
        disturbers = [asyncio.create_task(self._faults()), asyncio.create_task(self._reload_now_and_then())]
        clients = asyncio.create_task(self.traffic.run(self.given.clients))
        samples = []
        while time.monotonic() - began < self.given.minutes * 60:
            await asyncio.sleep(SAMPLE_S)
            self.gateway.check()
            for task in (*disturbers, clients):
                if task.done():
                    task.result()
            seen, pids = sample(self.gateway.pid, began, self.spool)
            workers |= pids
            samples.append(seen)
            self._tell(seen)
        for task in disturbers:
            task.cancel()
        await asyncio.gather(*disturbers, return_exceptions=True)
        await asyncio.to_thread(self.origin.become, "none")
        self.traffic.stop()
        await clients
        outcomes = await self._drained()
        await asyncio.sleep(SETTLE_S)
        after, _ = sample(self.gateway.pid, began, self.spool)
        return Soaked(
            samples=samples,
            owed=self.traffic.owed,
            perhaps=self.traffic.perhaps,
            outcomes=outcomes,
            spool_left_mib=after.spool_mib,
            files_before=before.worker_files,
            files_after=after.worker_files,
            statuses=dict(self.traffic.statuses),
            unexpected=self.traffic.unexpected,
            workers=len(workers),
            reloads=self.reloads,
            reloads_in_force=self.in_force,
        )

    def _tell(self, seen: Sample) -> None:
        words = f"{seen.at_s:7.0f} s  worker {seen.worker_mib:6.1f} MiB  control {seen.control_mib:6.1f} MiB"
        print(
            f"{words}  files {seen.worker_files:4}  spool {seen.spool_mib:5.2f} MiB  {self.traffic.owed}",
            file=sys.stderr,
        )

    async def _faults(self) -> None:
        for fault in itertools.cycle(FAULTS):
            await asyncio.to_thread(self.origin.become, fault)
            await asyncio.sleep(FAULT_S)

    async def _reload_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_S)
            before = await asyncio.to_thread(lab.metric, self.admin_port, "sentinel_snapshot_revision")
            self.reloads += 1
            self.write()
            os.kill(self.gateway.pid, signal.SIGHUP)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                await asyncio.sleep(0.5)
                if await asyncio.to_thread(lab.metric, self.admin_port, "sentinel_snapshot_revision") != before:
                    self.in_force += 1
                    break

    async def _drained(self) -> dict[str, int]:
        """Wait until there are as many records as are owed; what there is of each outcome."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            outcomes = await asyncio.to_thread(drain.ask, self.admin_port)
            if sum(outcomes.values()) >= self.traffic.owed or time.monotonic() > deadline:
                await asyncio.sleep(SETTLE_S)  # one too many would come now
                return await asyncio.to_thread(drain.ask, self.admin_port)
            await asyncio.sleep(0.5)


def main() -> None:
    """Soak, print, and end with 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--driver", choices=("lane", "asgi"), default="lane")
    parser.add_argument("--seed", type=int, default=1, help="draws the same requests again")
    parser.add_argument("--json", type=Path, help="write the figures and all samples to this file, too")
    given = parser.parse_args()
    try:
        with lab.Lab() as stage, Origin() as origin:
            soaked = asyncio.run(Soak(stage, origin, given).run())
    except lab.StartError as error:
        sys.exit(f"soak: {error}")
    shown = {name: value for name, value in soaked._asdict().items() if name != "samples"}
    print("\n".join(f"{name:<18}{value}" for name, value in shown.items()))
    if given.json is not None:
        samples = [one._asdict() for one in soaked.samples]
        given.json.write_text(json.dumps({**shown, "samples": samples}, indent=1))
    if problems := soaked.problems():
        sys.exit(f"soak: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
