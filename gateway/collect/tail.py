"""Control's end of the spool: every batch of every worker once, in the order it was written.

A torn end is waited for while its writer lives and passed over afterwards; bytes that fail their checksum end the
reading of that segment, never of the spool. Records are numbered per worker life, so what is missing is known exactly.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gateway import logs
from gateway.collect import frames, segments
from gateway.domain.traffic import SpoolPosition
from gateway.errors import CorruptSpoolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.collect.segments import Segment
    from gateway.domain.traffic import BatchHeader, RequestRecord

_UNKNOWN = -1
CHUNK_BYTES = 2 << 20  # read at a time; about 7,000 records

_log = logs.get("collect")


class Batch(NamedTuple):
    """One batch and where it stands. ``lost`` records are missing between it and the batch before."""

    stream: str
    segment: int
    header: BatchHeader
    records: list[RequestRecord]
    rejected: list[bytes]  # rows that do not decode, as MessagePack
    after: SpoolPosition
    lost: int


class Cursor(NamedTuple):
    """Where a stream is read next. ``sequence`` is the number of the record expected there."""

    segment: int
    offset: int
    sequence: int

    @property
    def place(self) -> tuple[int, int]:
        """What cursors are compared by."""
        return self.segment, self.offset


class Reading(NamedTuple):
    """What one pass found. ``ended`` maps streams that are over to the records their worker took with it."""

    batches: list[Batch]
    ended: dict[str, int]
    spool_bytes: int  # all segments in the folder


class Tail:
    """Reads the streams of a spool folder.

    Args:
        folder: the spool folder; may not exist yet.
        positions: how far each stream has been stored; a stream without one is read from its beginning. None when
            the store cannot say: then the numbering is taken up wherever a stream is found.
    """

    def __init__(self, folder: Path, positions: Iterable[SpoolPosition] | None = ()) -> None:
        self._folder = folder
        self._origin = Cursor(0, 0, 0 if positions is not None else _UNKNOWN)
        self.cursors: dict[str, Cursor] = {}
        self.corrupt: set[str] = set()  # segments to set aside instead of deleting
        self._ended: set[str] = set()
        for position in positions or ():
            parsed = segments.parse_name(position.segment)
            if parsed is not None:
                self.cursors[parsed[0]] = Cursor(parsed[1], position.offset, position.sequence)

    def read(self, max_records: int, *, until: Mapping[str, Cursor] | None = None) -> Reading:
        """The next batches, about ``max_records`` in all, streams taking turns by name.

        Args:
            max_records: where to stop; a whole batch is always taken.
            until: read no further than these cursors, and no stream that is not among them.
        """
        # Asked before the listing: a stream whose worker is gone now gets no further segment.
        gone = {
            stream
            for stream in segments.lives(self._folder)
            if segments.is_finished(self._folder / (stream + segments.LIFE_SUFFIX))
        }
        found = segments.listing(self._folder)
        batches: list[Batch] = []
        records = 0
        for stream, files in found.items():
            if records >= max_records or (until is not None and stream not in until):
                continue
            part = self._read_stream(stream, files, max_records - records, until[stream] if until else None)
            records += sum(batch.header.count for batch in part)
            batches += part
        ended = self._ends(gone, found) if until is None else {}
        return Reading(batches, ended, sum(segment.size for files in found.values() for segment in files))

    def behind(self, other: Tail) -> bool:
        """Whether ``other`` has read anything this one has not."""
        return any(
            self.cursors.get(stream, self._origin).place < cursor.place
            for stream, cursor in other.cursors.items()
            if self._exists_below(stream, cursor)
        )

    def forget(self, stream: str) -> None:
        """Drop what is remembered of a stream whose files are gone."""
        self.cursors.pop(stream, None)
        self._ended.discard(stream)

    def _exists_below(self, stream: str, cursor: Cursor) -> bool:
        # Dropped segments are never read again; waiting to reach them would be waiting for ever.
        mine = self.cursors.get(stream, self._origin)
        return any(
            mine.segment <= segment.number and (segment.number, 0) < cursor.place
            for segment in segments.listing(self._folder).get(stream, [])
        )

    def _read_stream(self, stream: str, files: list[Segment], limit: int, until: Cursor | None) -> list[Batch]:
        cursor = self.cursors.get(stream, self._origin)
        batches: list[Batch] = []
        records = 0
        for segment in files:
            if segment.number < cursor.segment:
                continue
            if segment.number > cursor.segment:
                cursor = Cursor(segment.number, 0, cursor.sequence)
            finished = False
            while records < limit and not finished and (until is None or cursor.place < until.place):
                part, cursor, finished, more = self._read_chunk(segment, cursor, limit - records, until)
                batches += part
                records += sum(batch.header.count for batch in part)
                if not more:
                    break
            if not finished:
                break
            cursor = Cursor(segment.number + 1, 0, cursor.sequence)
        self.cursors[stream] = cursor
        return batches

    def _read_chunk(
        self, segment: Segment, cursor: Cursor, limit: int, until: Cursor | None
    ) -> tuple[list[Batch], Cursor, bool, bool]:
        """Some batches of one segment, the cursor after them, whether it is over, and whether to go on reading it."""
        path = self._folder / segment.name
        finished = segments.is_finished(path)  # before the read: then nothing can follow what was read
        data, at_end = _bytes_at(path, cursor.offset)
        batches: list[Batch] = []
        start = 0
        records = 0
        try:
            while records < limit:
                if until is not None and (cursor.segment, cursor.offset) >= until.place:
                    break
                frame = frames.decode_at(data, start)
                if frame is None:
                    return batches, cursor, self._torn(segment, data, start, finished=finished and at_end), not at_end
                batch, cursor = _placed(segment, frame, cursor, frame.end - start)
                start = frame.end
                records += frame.header.count
                batches.append(batch)
        except CorruptSpoolError as error:
            return batches, cursor, self._give_up(segment, cursor, error, finished=finished), False
        over = finished and at_end and start == len(data)
        return batches, cursor, over, not over and records < limit

    @staticmethod
    def _torn(segment: Segment, data: bytes, start: int, *, finished: bool) -> bool:
        if finished and start < len(data):
            _log.warning("spool.torn_end", segment=segment.name, bytes=len(data) - start)
        return finished

    def _give_up(self, segment: Segment, cursor: Cursor, error: CorruptSpoolError, *, finished: bool) -> bool:
        if segment.name not in self.corrupt:
            self.corrupt.add(segment.name)
            _log.error("spool.corrupt", segment=segment.name, offset=cursor.offset, error=str(error))
        return finished  # a live writer's segment is passed over once it is rotated

    def _ends(self, gone: set[str], found: Mapping[str, list[Segment]]) -> dict[str, int]:
        ended: dict[str, int] = {}
        for stream in gone - self._ended:
            cursor = self.cursors.get(stream, self._origin)
            if any(segment.number >= cursor.segment for segment in found.get(stream, [])):
                continue
            taken = segments.read_life(self._folder, stream)
            ended[stream] = _missing(cursor.sequence, taken or 0)
            self._ended.add(stream)
        return ended


def _placed(segment: Segment, frame: frames.Frame, cursor: Cursor, length: int) -> tuple[Batch, Cursor]:
    header = frame.header
    after = Cursor(segment.number, cursor.offset + length, header.first_sequence + header.count)
    batch = Batch(
        stream=segment.stream,
        segment=segment.number,
        header=header,
        records=frame.records,
        rejected=frame.rejected,
        after=SpoolPosition(segment.name, after.offset, after.sequence),
        lost=_missing(cursor.sequence, header.first_sequence),
    )
    return batch, after


def _missing(expected: int, found: int) -> int:
    return max(0, found - expected) if expected != _UNKNOWN else 0


def _bytes_at(path: Path, offset: int) -> tuple[bytes, bool]:
    """A chunk that holds at least one whole frame if there is one, and whether it reaches the end of the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", True  # dropped for room a moment ago; the gap in the numbers tells
    try:
        data = os.pread(fd, CHUNK_BYTES, offset)
        if len(data) < CHUNK_BYTES:
            return data, True
        needed = _length_or_none(data)
        if needed is not None and needed > len(data):
            data = os.pread(fd, needed, offset)
        return data, False
    finally:
        os.close(fd)


def _length_or_none(data: bytes) -> int | None:
    try:
        return frames.length_at(data, 0)
    except CorruptSpoolError:
        return None
