from __future__ import annotations

import pytest

from gateway.collect import frames
from gateway.domain.traffic import BatchHeader
from gateway.errors import CorruptSpoolError
from tests.collect_rows import record, row

HEADER = BatchHeader("n-1-0", 5, 2, 0, {"a|b": 1.0})


def test_a_batch_reads_back_as_written():
    data = bytes(frames.encode(HEADER, [row(id="a"), row(id="b")]))
    frame = frames.decode_at(data, 0)
    assert frame is not None
    assert frame.header == HEADER
    assert frame.records == [record(id="a"), record(id="b")]
    assert frame.end == len(data)


def test_every_cut_of_a_batch_is_incomplete_not_corrupt():
    data = bytes(frames.encode(HEADER, [row(), row()]))
    assert all(frames.decode_at(data[:end], 0) is None for end in range(len(data)))


@pytest.mark.parametrize("place", [0, 5, 17, 25, 60])
def test_a_flipped_bit_is_noticed(place):
    data = bytearray(frames.encode(HEADER, [row(), row()]))
    data[place] ^= 1
    try:
        frame = frames.decode_at(bytes(data), 0)
    except CorruptSpoolError:
        return
    assert frame is None  # a longer length than there are bytes


def test_a_row_that_does_not_decode_is_set_aside_and_its_neighbours_kept():
    data = bytes(frames.encode(BatchHeader("n-1-0", 0, 3, 0, {}), [row(id="a"), row(status="four"), row(id="c")]))
    frame = frames.decode_at(data, 0)
    assert frame is not None
    assert [kept.id for kept in frame.records] == ["a", "c"]
    assert len(frame.rejected) == 1


def test_a_row_in_bytes_that_are_not_unicode_is_set_aside():
    good = bytes(frames.encode(HEADER, [row(id="a"), row(path="/xyz")]))
    rows = good[frames.HEAD_BYTES :].replace(b"/xyz", b"\xff\xfe\xff\xfe")
    raw = rows[len(bytes(frames.encode(HEADER, []))) - frames.HEAD_BYTES - 1 :]
    records, rejected = frames._rows(memoryview(raw))
    assert [kept.id for kept in records] == ["a"]
    assert len(rejected) == 1


def test_rows_with_lone_surrogates_do_not_cost_their_neighbours():
    with pytest.raises(UnicodeEncodeError):
        frames.encode(HEADER, [row(), row(path="/\ud800")])
    assert frames.encodable([row(id="a"), row(path="/\ud800"), row(id="c")]) == [row(id="a"), row(id="c")]
