"""A crash of control anywhere neither loses a flushed batch nor counts one twice (faults 13 and, for workers, 12)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.collect import segments
from gateway.collect.spool import SpoolWriter
from gateway.domain.paging import RequestFilter
from gateway.metrics import WorkerCounters
from gateway.store.buckets import Buckets
from gateway.store.engine import open_store
from gateway.store.records import Records
from tests.collect_rows import MINUTE, row
from tests.faults.shipping_child import STEPS
from tests.store_fixtures import empty_url, store_url

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["empty_url", "store_url"]

CHILD = Path(__file__).with_name("shipping_child.py")
DIED = 9

pytestmark = pytest.mark.anyio


class Traffic:
    """Two workers that write records with ids in order, in several segments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[str] = []
        self.writers = [
            SpoolWriter(folder, node="n", worker=worker, boot="b", counters=WorkerCounters()) for worker in range(2)
        ]

    def write(self, batches: int, *, end_segment: bool = True) -> None:
        for _ in range(batches):
            for writer in self.writers:
                for _ in range(10):
                    number = len(self.written)
                    self.written.append(str(number))
                    writer.append(row(id=str(number), completed_at=MINUTE + number % 150, duration_us=number))
                writer.flush()
            if end_segment:
                for writer in self.writers:
                    writer._end_segment()

    def end(self) -> None:
        for writer in self.writers:
            writer._let_go()


class Controls:
    """Control processes over one spool and one database, one after the other."""

    def __init__(self, folder: Path, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, CHILD, folder, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, step: str, nth: int = 1) -> int:
        """The new control's pid."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{step} {nth}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def run(self, step: str, nth: int = 1) -> int:
        """The new control's exit code."""
        self.start(step, nth)
        return self.answer()


@pytest.fixture
def controls(tmp_path, store_url) -> Iterator[Controls]:
    started = Controls(tmp_path / "spool", store_url)
    yield started
    started.process.communicate()
    assert started.process.wait(30) == 0


async def stored(url: str) -> tuple[list[str], int, int]:
    """Ids, requests by the buckets, and the sum of durations by the buckets."""
    store = open_store(url)
    ids, cursor = [], ""
    while True:
        page = await Records(store).search(RequestFilter(limit=500, cursor=cursor))
        ids += [item.id for item in page.items]
        if page.next is None:
            break
        cursor = page.next
    rows = await Buckets(store).read(0, 1e12)
    await store.close()
    return sorted(ids, key=int), sum(t.requests for _, t in rows), sum(t.duration_us for _, t in rows)


async def check(url: str, traffic: Traffic) -> None:
    ids, requests, duration_us = await stored(url)
    assert ids == traffic.written
    assert requests == len(traffic.written)
    assert duration_us == sum(int(number) for number in traffic.written)


async def test_control_may_die_at_any_step_of_shipping(tmp_path, store_url, controls):
    traffic = Traffic(tmp_path / "spool")
    for number, step in enumerate(STEPS):
        traffic.write(6)
        # The second time a step is reached: something has been stored by this life already.
        assert controls.run(step, 2) == DIED, f"{step} was never reached"
        ids, requests, _ = await stored(store_url)
        assert len(ids) == len(set(ids)) == requests, f"after dying at {step}, life {number}"
    traffic.end()
    assert controls.run("none") == 0
    await check(store_url, traffic)
    assert [path.name for path in traffic.folder.iterdir() if path.is_file()] == []


async def test_control_may_be_killed_at_any_moment_under_load(tmp_path, store_url, controls):
    traffic = Traffic(tmp_path / "spool")
    for life in range(4):
        pid = controls.start("wait")
        deadline = time.monotonic() + 0.2 + 0.07 * life
        while time.monotonic() < deadline:
            traffic.write(1, end_segment=life % 2 == 0)
            time.sleep(0.005)  # noqa: ASYNC251 - the writer is a process of its own in real life; nothing else runs here
        os.kill(pid, signal.SIGKILL)
        assert controls.answer() == -signal.SIGKILL
    traffic.end()
    assert controls.run("none") == 0
    await check(store_url, traffic)


def test_a_killed_worker_loses_only_what_it_held_and_that_is_counted(tmp_path):
    """Fault 12, with a real process and a real SIGKILL."""
    code = (
        "import sys, time; from pathlib import Path; from gateway.collect.spool import SpoolWriter;"
        "from gateway.metrics import WorkerCounters; from tests.collect_rows import row;"
        "w = SpoolWriter(Path(sys.argv[1]), node='n', worker=0, boot='b', counters=WorkerCounters());"
        "[w.append(row(id=str(n))) for n in range(1234)]; print('ready', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "spool"], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        from gateway.collect.tail import Tail

        tail = Tail(tmp_path / "spool")
        alive = tail.read(10_000)
        assert not segments.is_finished(tmp_path / "spool" / "n-b-0.life")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    read = sum(len(batch.records) for batch in alive.batches)
    assert read == 1000
    assert alive.ended == {}
    assert tail.read(10_000).ended == {"n-b-0": 234}
