from __future__ import annotations

import os

import pytest

from gateway.collect import segments
from gateway.collect.spool import SpoolWriter
from gateway.collect.tail import Tail
from gateway.domain.traffic import SpoolPosition
from gateway.metrics import WorkerCounters
from tests.collect_rows import row


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def writer_in(folder, worker: int = 0, boot: str = "b1") -> SpoolWriter:
    return SpoolWriter(folder, node="n", worker=worker, boot=boot, counters=WorkerCounters())


def write(writer: SpoolWriter, *ids: str) -> None:
    for name in ids:
        writer.append(row(id=name))
    writer.flush()


def ids(reading) -> list[str]:
    return [record.id for batch in reading.batches for record in batch.records]


def test_an_absent_folder_is_an_empty_spool(folder):
    assert Tail(folder).read(10).batches == []


def test_each_batch_is_read_once_as_it_comes(folder):
    writer, tail = writer_in(folder), Tail(folder)
    write(writer, "a", "b")
    assert ids(tail.read(10)) == ["a", "b"]
    assert ids(tail.read(10)) == []
    write(writer, "c")
    assert ids(tail.read(10)) == ["c"]


def test_reading_resumes_behind_a_stored_position(folder):
    writer = writer_in(folder)
    write(writer, "a")
    position = Tail(folder).read(10).batches[0].after
    write(writer, "b")
    assert ids(Tail(folder, [position]).read(10)) == ["b"]


def test_a_pass_stops_at_its_limit_and_goes_on_from_there(folder):
    writer = writer_in(folder)
    for name in "abcdef":
        write(writer, name)
    tail = Tail(folder)
    assert ids(tail.read(2)) == ["a", "b"]
    assert ids(tail.read(100)) == ["c", "d", "e", "f"]


def test_several_workers_are_each_read_in_their_own_order(folder):
    one, two = writer_in(folder, 1), writer_in(folder, 2)
    write(one, "a1")
    write(two, "b1")
    write(one, "a2")
    assert ids(Tail(folder).read(10)) == ["a1", "a2", "b1"]


def test_a_torn_end_is_waited_for_while_its_writer_lives(folder):
    writer, tail = writer_in(folder), Tail(folder)
    write(writer, "a", "b")
    path = folder / segments.segment_name(writer.stream, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert ids(tail.read(10)) == []
    path.write_bytes(whole)
    assert ids(tail.read(10)) == ["a", "b"]


def test_a_torn_end_of_a_dead_worker_is_passed_over_and_its_records_counted(folder):
    writer, tail = writer_in(folder), Tail(folder)
    write(writer, "a")
    path = folder / segments.segment_name(writer.stream, 1)
    good = path.stat().st_size
    write(writer, "b", "c")
    os.truncate(path, good + 30)
    die(writer)
    reading = tail.read(10)
    assert ids(reading) == ["a"]
    assert reading.ended == {writer.stream: 2}


def test_records_in_the_memory_of_a_killed_worker_are_counted_exactly(folder):
    writer, tail = writer_in(folder), Tail(folder)
    write(writer, "a")
    for _ in range(7):
        writer.append(row())
    die(writer)
    assert tail.read(10).ended == {writer.stream: 7}
    assert tail.read(10).ended == {}


def test_a_stream_ends_only_when_all_of_it_is_read(folder):
    writer, tail = writer_in(folder), Tail(folder)
    write(writer, "a")
    write(writer, "b")
    die(writer)
    assert tail.read(1).ended == {}
    assert tail.read(10).ended == {writer.stream: 0}


def test_a_batch_that_fails_its_checksum_ends_its_segment_not_the_spool(folder):
    first, other = writer_in(folder, 1), writer_in(folder, 2)
    write(first, "a")
    path = folder / segments.segment_name(first.stream, 1)
    good = path.stat().st_size
    write(first, "bad", "bad")
    first._end_segment()
    damaged = bytearray(path.read_bytes())
    damaged[good + 40] ^= 0xFF
    path.write_bytes(damaged)
    write(first, "c")
    write(other, "d")
    tail = Tail(folder)
    reading = tail.read(10)
    assert ids(reading) == ["a", "c", "d"]
    assert [batch.lost for batch in reading.batches] == [0, 2, 0]
    assert tail.corrupt == {path.name}


def test_a_file_of_noise_is_set_aside_too(folder):
    folder.mkdir()
    (folder / segments.segment_name("n-b0-0", 1)).write_bytes(os.urandom(5000))
    tail = Tail(folder)
    assert tail.read(10).batches == []
    assert tail.corrupt == {"n-b0-0-0000000001.seg"}


def test_a_segment_dropped_for_room_shows_as_a_gap(folder):
    writer, tail = writer_in(folder), Tail(folder)
    write(writer, "a")
    tail.read(10)
    writer._end_segment()
    write(writer, "b", "c", "d")
    writer._end_segment()
    write(writer, "e")
    (folder / segments.segment_name(writer.stream, 2)).unlink()
    (batch,) = tail.read(10).batches
    assert batch.lost == 3


def test_a_gap_is_still_known_after_a_restart(folder):
    writer = writer_in(folder)
    write(writer, "a")
    position = Tail(folder).read(10).batches[0].after
    writer._end_segment()
    write(writer, "b", "c")
    writer._end_segment()
    (folder / segments.segment_name(writer.stream, 2)).unlink()
    write(writer, "d")
    (batch,) = Tail(folder, [position]).read(10).batches
    assert batch.lost == 2


def test_without_positions_the_numbering_is_taken_up_where_it_is_found(folder):
    writer = writer_in(folder)
    write(writer, "a")
    writer._end_segment()
    write(writer, "b")
    (folder / segments.segment_name(writer.stream, 1)).unlink()
    (batch,) = Tail(folder, None).read(10).batches
    assert batch.lost == 0


def test_a_second_reader_follows_the_first_and_never_passes_it(folder):
    writer, front = writer_in(folder), Tail(folder)
    write(writer, "a")
    front.read(10)
    write(writer, "b")
    back = Tail(folder, [])
    assert back.behind(front)
    assert ids(back.read(10, until=front.cursors)) == ["a"]
    assert not back.behind(front)
    assert ids(back.read(10, until=front.cursors)) == []
    front.read(10)
    assert back.behind(front)
    assert ids(back.read(10, until=front.cursors)) == ["b"]


def test_batches_longer_than_a_chunk_are_read_whole(folder, monkeypatch):
    monkeypatch.setattr("gateway.collect.tail.CHUNK_BYTES", 1000)
    writer = writer_in(folder)
    names = [str(number) for number in range(50)]
    write(writer, *names)
    write(writer, *names)
    write(writer, "last")
    assert ids(Tail(folder).read(1000)) == [*names, *names, "last"]


def test_foreign_positions_are_ignored(folder):
    writer = writer_in(folder)
    write(writer, "a")
    assert ids(Tail(folder, [SpoolPosition("nonsense", 3)]).read(10)) == ["a"]


def die(writer: SpoolWriter) -> None:
    """Let go of the files as the kernel does for a killed process: nothing is flushed."""
    writer._let_go()
