from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.collect import segments
from gateway.collect.ship import Shipper
from gateway.collect.spool import SpoolWriter
from gateway.errors import ConflictError, StoreUnavailableError
from gateway.metrics import WorkerCounters
from tests.collect_rows import row

if TYPE_CHECKING:
    from gateway.domain.traffic import SpoolPosition

pytestmark = pytest.mark.anyio


class MemoryStore:
    """A store that can be away, can lose its answer after a commit, and refuses records named poison."""

    def __init__(self) -> None:
        self.up = True
        self.answer_lost = False
        self.records: list = []
        self.requests = 0
        self.stored: dict[str, SpoolPosition] = {}
        self.shipments = 0

    async def positions(self, node):
        if not self.up:
            raise StoreUnavailableError("away")
        return list(self.stored.values())

    async def ship(self, shipment):
        await asyncio.sleep(0)
        if not self.up:
            raise StoreUnavailableError("away")
        before = {segments.parse_name(position.segment)[0]: position for position in shipment.before}
        for position in shipment.positions:
            stream = segments.parse_name(position.segment)[0]
            if self.stored.get(stream) != before.get(stream):
                raise ConflictError("stored further")
            self.stored[stream] = position
        for stream in shipment.finished:
            self.stored.pop(stream, None)
        self.shipments += 1
        refused = [record for record in shipment.records if record.id == "poison"]
        self.records += [record.id for record in shipment.records if record.id != "poison"]
        self.requests += sum(tally.requests for tally in shipment.buckets.values())
        if self.answer_lost:
            self.answer_lost = False
            raise StoreUnavailableError("the connection broke after the commit")
        return refused


class Watcher:
    def __init__(self) -> None:
        self.seen: list = []
        self.sums = 0
        self.lost = 0
        self.ups: list = []
        self.stored = 0
        self.poisoned = 0
        self.spool_bytes = 0

    def on_batch(self, header, records, cells):
        self.seen += [record.id for record in records]
        self.sums += sum(tally.requests for cell in cells.values() for tally in cell.values())

    def on_lost(self, records):
        self.lost += records

    def on_stored(self, records, poisoned, seconds):
        self.stored += records
        self.poisoned += poisoned

    def on_store(self, *, up):
        self.ups.append(up)

    def on_spool(self, waiting_bytes):
        self.spool_bytes = waiting_bytes


class Bench:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.restart()
        self.writer = SpoolWriter(folder, node="n", worker=0, boot="b", counters=WorkerCounters())

    def restart(self) -> None:
        self.watcher = Watcher()
        self.shipper = Shipper(self.folder, self.store, self.watcher, node="n")

    def write(self, *ids: str) -> None:
        for name in ids:
            self.writer.append(row(id=name))
        self.writer.flush()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "spool")


async def test_a_batch_is_observed_stored_and_counted_once(bench):
    await bench.shipper.start()
    bench.write("a", "b")
    assert await bench.shipper.drain()
    assert await bench.shipper.drain()
    assert bench.watcher.seen == bench.store.records == ["a", "b"]
    assert bench.watcher.sums == bench.store.requests == bench.watcher.stored == 2


async def test_many_small_batches_go_in_one_transaction(bench):
    await bench.shipper.start()
    for number in range(50):
        bench.write(str(number))
    await bench.shipper.drain()
    assert bench.store.shipments == 1
    assert len(bench.store.records) == 50


async def test_a_stored_segment_is_deleted_once_its_worker_ended_it(bench):
    await bench.shipper.start()
    bench.write("a")
    await bench.shipper.drain()
    assert len(bench.files()) == 2
    await bench.writer.close()
    await bench.shipper.drain()
    await bench.shipper.drain()
    assert bench.files() == []
    assert bench.store.stored == {}


async def test_observers_hear_of_traffic_while_the_store_is_away(bench):
    bench.store.up = False
    await bench.shipper.start()
    bench.write("a")
    assert not await bench.shipper.drain()
    bench.write("b")
    bench.shipper.observe()
    assert bench.watcher.seen == ["a", "b"]
    assert bench.store.records == []
    assert bench.watcher.ups == [False]


async def test_what_waited_for_the_store_arrives_once_and_is_not_observed_again(bench):
    await bench.shipper.start()
    bench.write("a")
    await bench.shipper.drain()
    bench.store.up = False
    bench.write("b")
    await bench.shipper.drain()
    bench.write("c")
    await bench.shipper.drain()
    bench.store.up = True
    assert await bench.shipper.drain()
    bench.write("d")
    assert await bench.shipper.drain()
    assert bench.store.records == bench.watcher.seen == ["a", "b", "c", "d"]
    assert bench.store.requests == 4
    assert bench.watcher.ups == [True, False, True]


async def test_a_commit_whose_answer_got_lost_is_not_repeated(bench):
    await bench.shipper.start()
    bench.store.answer_lost = True
    bench.write("a", "b")
    assert not await bench.shipper.drain()
    bench.write("c")
    assert await bench.shipper.drain()
    assert bench.store.records == ["a", "b", "c"]
    assert bench.store.requests == 3


async def test_a_restart_goes_on_behind_what_is_stored(bench):
    await bench.shipper.start()
    bench.write("a")
    await bench.shipper.drain()
    bench.write("b")
    bench.restart()
    await bench.shipper.start()
    await bench.shipper.drain()
    assert bench.store.records == ["a", "b"]
    assert bench.watcher.seen == ["b"]


async def test_a_restart_without_the_store_observes_the_spool_and_stores_only_the_rest(bench):
    await bench.shipper.start()
    bench.write("a")
    await bench.shipper.drain()
    bench.store.up = False
    bench.write("b")
    bench.restart()
    await bench.shipper.start()
    bench.shipper.observe()
    assert bench.watcher.seen == ["a", "b"]
    bench.store.up = True
    assert await bench.shipper.drain()
    assert bench.store.records == ["a", "b"]
    assert bench.watcher.lost == 0


async def test_two_controls_by_mistake_store_nothing_twice(bench):
    other = Shipper(bench.folder, bench.store, Watcher(), node="n")
    await bench.shipper.start()
    await other.start()
    bench.write("a", "b")
    await bench.shipper.drain()
    await other.drain()
    bench.write("c")
    await other.drain()
    await bench.shipper.drain()
    await bench.shipper.drain()
    assert bench.store.records == ["a", "b", "c"]


async def test_beyond_the_memory_kept_the_disk_is_the_queue(bench, monkeypatch):
    monkeypatch.setattr("gateway.collect.ship.PENDING_RECORDS", 10)
    monkeypatch.setattr("gateway.collect.ship.SHIP_RECORDS", 4)
    await bench.shipper.start()
    for number in range(40):
        bench.write(str(number))
        bench.shipper.observe()
    assert bench.shipper._pending_records <= 10
    assert await bench.shipper.drain()
    assert bench.store.records == [str(number) for number in range(40)]
    assert bench.watcher.seen == bench.store.records


async def test_a_record_the_database_refuses_is_kept_aside_and_the_others_arrive(bench):
    await bench.shipper.start()
    bench.write("a", "poison", "b")
    assert await bench.shipper.drain()
    assert bench.store.records == ["a", "b"]
    assert (bench.watcher.stored, bench.watcher.poisoned) == (2, 1)
    (kept,) = (bench.folder / segments.POISON_FOLDER).iterdir()
    assert b"poison" in kept.read_bytes()


async def test_a_row_that_does_not_decode_is_kept_aside(bench):
    await bench.shipper.start()
    bench.writer.append(row(id="a"))
    bench.writer.append(row(id="bad", status="four"))
    bench.writer.flush()
    await bench.shipper.drain()
    assert bench.store.records == ["a"]
    assert bench.watcher.poisoned == 1


async def test_a_corrupt_segment_is_moved_aside_not_deleted(bench):
    await bench.shipper.start()
    bench.write("a")
    await bench.shipper.drain()
    bench.writer._end_segment()
    path = bench.folder / segments.segment_name(bench.writer.stream, 1)
    path.write_bytes(path.read_bytes() + b"x" * 100)
    bench.write("b")
    await bench.shipper.drain()
    assert bench.store.records == ["a", "b"]
    assert [kept.name for kept in (bench.folder / segments.POISON_FOLDER).iterdir()] == [path.name]
    assert path.name not in bench.files()


async def test_the_loss_of_a_killed_worker_is_told_once(bench):
    await bench.shipper.start()
    bench.write("a")
    for _ in range(3):
        bench.writer.append(row())
    bench.writer._let_go()
    for _ in range(3):
        await bench.shipper.drain()
    assert bench.watcher.lost == 3
    assert bench.files() == []


async def test_shipping_cancelled_half_way_loses_nothing(bench, monkeypatch):
    await bench.shipper.start()
    bench.write("a", "b")
    bench.shipper.observe()
    monkeypatch.setattr(bench.store, "ship", lambda shipment: asyncio.sleep(60))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.shipper.ship(), 0.01)
    monkeypatch.undo()
    bench.write("c")
    assert await bench.shipper.drain()
    assert bench.store.records == bench.watcher.seen == ["a", "b", "c"]


async def test_a_segment_whose_batch_still_waits_in_memory_is_not_deleted(bench, monkeypatch):
    monkeypatch.setattr("gateway.collect.ship.SHIP_RECORDS", 2)
    await bench.shipper.start()
    for name in ("a", "b", "c"):
        bench.write(name)
        bench.writer._end_segment()
    while bench.shipper.observe():
        pass
    bench.shipper.observe()
    await bench.shipper.ship()
    assert bench.store.records == ["a", "b"]
    bench.restart()
    await bench.shipper.start()
    await bench.shipper.drain()
    assert bench.store.records == ["a", "b", "c"]
    assert bench.watcher.lost == 0


async def test_an_observer_that_fails_does_not_keep_records_from_the_store(bench, monkeypatch):
    bench.shipper._ship_s = 0.01
    await bench.shipper.start()
    monkeypatch.setattr(bench.watcher, "on_batch", lambda header, records, cells: 1 / 0)
    bench.write("a")
    bench.write("b")
    task = asyncio.create_task(bench.shipper.run())
    async with asyncio.timeout(5):
        while len(bench.store.records) < 2:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.store.records == ["a", "b"]


async def test_run_carries_records_by_itself(bench):
    bench.shipper._ship_s = 0.01
    await bench.shipper.start()
    bench.write("a")
    task = asyncio.create_task(bench.shipper.run())
    async with asyncio.timeout(5):
        while not bench.store.records:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.watcher.spool_bytes > 0


async def test_what_is_set_aside_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "POISON_MAX_BYTES", 1000)
    for number in range(10):
        segments.set_aside(tmp_path, f"{number}.rows", b"x" * 300)
    kept = list((tmp_path / segments.POISON_FOLDER).iterdir())
    assert sum(path.stat().st_size for path in kept) <= 1000
