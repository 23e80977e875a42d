from __future__ import annotations

import errno
import os
import resource
import stat

import pytest

from gateway.collect import segments, spool
from gateway.collect.spool import SpoolWriter
from gateway.collect.tail import Tail
from gateway.metrics import WorkerCounters
from tests.collect_rows import row


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(tmp_path, clock):
    def writer(worker: int = 0, **options) -> SpoolWriter:
        counters = options.pop("counters", WorkerCounters())
        return SpoolWriter(
            tmp_path / "spool", node="n", worker=worker, counters=counters, clock=clock, monotonic=clock, **options
        )

    return writer


def ids(folder) -> list[str]:
    return [record.id for batch in Tail(folder).read(10**6).batches for record in batch.records]


def test_nothing_is_written_before_the_flush(make, tmp_path):
    writer = make()
    writer.append(row())
    assert not (tmp_path / "spool").exists()
    writer.flush()
    assert ids(tmp_path / "spool") == ["r-0"]


def test_the_five_hundredth_record_flushes_by_itself(make, tmp_path):
    writer = make()
    for number in range(500):
        writer.append(row(id=str(number)))
    assert writer.waiting == 0
    assert ids(tmp_path / "spool") == [str(number) for number in range(500)]


@pytest.mark.anyio
async def test_a_graceful_stop_loses_nothing_and_carries_the_last_counters(make, tmp_path):
    counters = WorkerCounters()
    writer = make(counters=counters)
    await writer.start()
    writer.append(row())
    counters.count("sentinel_limiter_fallback_total", amount=2)
    await writer.close()
    (batch,) = Tail(tmp_path / "spool").read(10).batches
    assert batch.header.counters == {"sentinel_limiter_fallback_total": 2}
    assert batch.header.count == 1


def test_counters_alone_travel_at_most_once_a_second(make, tmp_path, clock):
    counters = WorkerCounters()
    writer = make(counters=counters)
    for _ in range(12):
        counters.count("c")
        clock.now += 0.25
        writer.flush()
    batches = Tail(tmp_path / "spool").read(10).batches
    assert [batch.header.counters for batch in batches] == [{"c": 4}, {"c": 4}, {"c": 4}]
    assert all(batch.records == [] for batch in batches)


@pytest.mark.anyio
async def test_a_gauge_is_said_again_each_second_and_once_more_when_it_is_back_at_nought(make, tmp_path, clock):
    counters = WorkerCounters()
    writer = make(counters=counters)

    def told(seconds: int) -> list[dict[str, float]]:
        already = len(Tail(tmp_path / "spool").read(100).batches) if (tmp_path / "spool").exists() else 0
        for _ in range(seconds * 4):
            clock.now += 0.25
            writer.flush()
        return [batch.header.counters for batch in Tail(tmp_path / "spool").read(100).batches[already:]]

    counters.hold("g", {("orders",): 1})
    assert told(2) == [{"g|orders": 1}, {"g|orders": 1}]
    writer.append(row())
    writer.flush()
    assert Tail(tmp_path / "spool").read(100).batches[-1].header.counters == {"g|orders": 1}
    counters.hold("g", {})
    assert told(3) == [{}]
    counters.hold("g", {("orders",): 1})
    assert told(1) == [{"g|orders": 1}]
    await writer.close()
    assert Tail(tmp_path / "spool").read(100).batches[-1].header.counters == {}


def test_files_and_folder_are_for_the_owner_alone(make, tmp_path):
    writer = make()
    writer.append(row())
    writer.flush()
    folder = tmp_path / "spool"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_segment_is_ended_by_size_and_by_age(make, tmp_path, clock):
    writer = make(max_bytes=1 << 20)  # segments of 64 KiB
    for number in range(1000):
        writer.append(row(id=str(number)))
    clock.now += 61
    writer.append(row(id="late"))
    writer.flush()
    names = [segment.number for segment in segments.listing(tmp_path / "spool")[writer.stream]]
    assert len(names) >= 3
    assert len(ids(tmp_path / "spool")) == 1001


def test_an_open_segment_may_grow_and_a_closed_or_dead_ones_may_not(make, tmp_path):
    writer = make()
    writer.append(row())
    writer.flush()
    path = tmp_path / "spool" / segments.segment_name(writer.stream, 1)
    assert not segments.is_finished(path)
    writer._end_segment()
    assert segments.is_finished(path)


def test_a_full_disk_never_raises_keeps_rows_and_recovers(make, tmp_path, monkeypatch):
    writer = make()
    real = os.write

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.os, "write", full)
    for number in range(700):
        writer.append(row(id=str(number)))
    writer.flush()
    assert writer.refused
    assert writer.waiting == 700
    monkeypatch.setattr(spool.os, "write", real)
    writer.flush()
    assert not writer.refused
    assert ids(tmp_path / "spool") == [str(number) for number in range(700)]


def test_beyond_the_memory_cap_the_oldest_go_and_the_numbering_tells_how_many(make, tmp_path, monkeypatch):
    writer = make(memory_records=100)
    writer.append(row(id="first"))
    writer.flush()
    real = os.write
    monkeypatch.setattr(spool.os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    for number in range(650):
        writer.append(row(id=str(number)))
    writer.flush()
    assert writer.waiting == 100
    monkeypatch.setattr(spool.os, "write", real)
    writer.flush()
    first, second = Tail(tmp_path / "spool").read(10**6).batches
    assert first.lost == 0
    assert second.lost == second.header.dropped == 550
    assert second.records[0].id == "550"


def test_half_a_write_is_cut_off_again(make, tmp_path, monkeypatch):
    writer = make()
    writer.append(row(id="a"))
    writer.flush()
    real = os.write
    monkeypatch.setattr(spool.os, "write", lambda fd, data: real(fd, bytes(data)[: len(data) // 2]))
    writer.append(row(id="b"))
    writer.flush()
    assert ids(tmp_path / "spool") == ["a"]
    monkeypatch.setattr(spool.os, "write", real)
    writer.flush()
    assert ids(tmp_path / "spool") == ["a", "b"]


def test_a_limit_of_the_system_itself_tears_a_batch_and_loses_nothing(make, tmp_path):
    """The kernel takes only part of the write, as a disk that fills up does."""
    writer = make()
    writer.append(row(id="a"))
    writer.flush()
    size = next((tmp_path / "spool").glob("*.seg")).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        writer.append(row(id="b"))
        writer.flush()
        assert writer.refused
        assert next((tmp_path / "spool").glob("*.seg")).stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(row(id="c"))
    writer.flush()
    assert ids(tmp_path / "spool") == ["a", "b", "c"]


def test_a_row_that_cannot_be_encoded_is_counted_and_costs_no_other(make, tmp_path):
    writer = make()
    writer.append(row(id="a"))
    writer.append(row(id="b", path="/\udcff"))
    writer.append(row(id="c"))
    writer.flush()
    (batch,) = Tail(tmp_path / "spool").read(10).batches
    assert [record.id for record in batch.records] == ["a", "c"]
    assert batch.lost == 1


def test_the_folder_stays_within_its_bound_and_every_record_is_read_or_counted(make, tmp_path):
    writers = [make(worker, max_bytes=1 << 20) for worker in range(2)]
    written = 0
    for _ in range(30):
        for writer in writers:
            for number in range(500):
                writer.append(row(id=f"{number}", path="/" + "x" * 100))
                written += 1
    total = sum(path.stat().st_size for path in (tmp_path / "spool").iterdir())
    assert total <= (1 << 20) + 2 * (1 << 18)
    batches = Tail(tmp_path / "spool").read(10**6).batches
    lost = sum(batch.lost for batch in batches)
    assert lost > 0
    assert sum(len(batch.records) for batch in batches) + lost == written


def test_two_workers_that_make_room_at_once_remove_each_segment_once(make, tmp_path):
    writer = make(max_bytes=1 << 20)
    for _ in range(4000):
        writer.append(row())
    folder = tmp_path / "spool"
    before = sum(segment.size for segment in segments.listing(folder)[writer.stream])
    removed = [spool.make_room(folder, before // 2) for _ in range(2)]
    after = sum(segment.size for segment in segments.listing(folder)[writer.stream])
    assert sum(removed) == before - after
    assert removed[1] == 0


def test_a_node_name_that_could_leave_the_folder_is_refused(make, tmp_path):
    with pytest.raises(ValueError, match="node name"):
        SpoolWriter(tmp_path, node="../etc", worker=0, counters=WorkerCounters())
