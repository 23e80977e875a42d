"""The worker's end of the spool: finished requests go into a list, the list goes to a file in one write.

Nothing here raises into a request. A full or broken disk leaves rows in memory up to a cap; beyond it the oldest go,
and because every record of a worker's life is numbered, control sees exactly how many.

The folder is bounded in bytes over all workers: whoever finds it too large removes the oldest finished segment. Two
workers may look at once; unlinking is atomic, so a segment goes only once, and neither has to tell the other: the gap
in the numbers tells control.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

from gateway import logs
from gateway.collect import frames, segments
from gateway.domain.traffic import BatchHeader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.metrics import WorkerCounters

FLUSH_S = 0.2  # what a killed worker may take with it
FLUSH_RECORDS = 500  # keeps one encode-and-write under a millisecond
COUNTERS_S = 1.0  # an idle worker's counters still arrive
SEGMENT_BYTES = 8 << 20
SEGMENT_AGE_S = 60.0
MEMORY_RECORDS = 20_000  # about 20 MiB while the disk refuses
LIFE_BYTES = 8

_log = logs.get("collect")


class SpoolWriter:
    """Appends records to this worker's stream.

    Args:
        folder: the spool folder, shared by all workers of the node; made 0700.
        node: the node's name.
        worker: this worker's number on the node.
        counters: the worker's own counters, carried in batch headers.
        max_bytes: bound of the whole folder.
        boot: unique per worker life; made up when empty.
        memory_records: how many rows wait in memory while the disk refuses.
        clock: seconds since the epoch.
        monotonic: seconds that never jump.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node: str,
        worker: int,
        counters: WorkerCounters,
        max_bytes: int = 1 << 30,
        boot: str = "",
        memory_records: int = MEMORY_RECORDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        # The time first, so that streams sort by age; the chance after it, because pids and clocks repeat.
        self.stream = segments.stream_name(node, boot or f"{int(clock()):08x}{secrets.token_hex(3)}", worker)
        self._counters = counters
        self._max_bytes = max_bytes
        self._segment_bytes = max(1 << 16, min(SEGMENT_BYTES, max_bytes // 32))
        self._memory_records = memory_records
        self._monotonic = monotonic
        self._rows: list[frames.Row] = []
        self._taken = 0  # records of this life so far: the number the next one gets
        self._life: memoryview = memoryview(bytearray(LIFE_BYTES)).cast("Q")
        self._life_map: mmap.mmap | None = None
        self._fd: int | None = None
        self._number = 0
        self._size = 0
        self._opened_at = 0.0
        self._looked_at = monotonic()
        self._unlooked_bytes = 0
        self._counters_at = monotonic()
        self._unsent: dict[str, float] = {}
        self._levels: dict[str, float] = {}  # of gauges; they go with every batch
        self._levels_due = False
        self._closing = False
        self._refused = False
        self._dropped = 0
        self._ticker: asyncio.Task[None] | None = None

    def append(self, row: frames.Row) -> None:
        """Take in one finished request: a tuple in the order of RECORD_FIELDS."""
        self._rows.append(row)
        self._taken += 1
        # One store into shared memory: survives a SIGKILL, so control can say how many records went with the worker.
        self._life[0] = self._taken
        if len(self._rows) >= FLUSH_RECORDS and not self._refused:
            self.flush()

    @property
    def waiting(self) -> int:
        """Records in memory, not yet in a file."""
        return len(self._rows)

    @property
    def refused(self) -> bool:
        """Whether the disk refused the latest write: readiness is degraded."""
        return self._refused

    async def start(self) -> None:
        """Flush every 200 ms from now on; from here on, a killed worker's records are counted to the last."""
        with contextlib.suppress(OSError):  # a full disk: tried again with the first flush
            self._ensure_life()
        self._ticker = asyncio.create_task(self._tick(), name="spool")

    async def close(self) -> None:
        """Flush everything and let go of the files; a graceful stop loses nothing the disk accepts."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None
        self._counters_at = float("-inf")  # whatever was counted last goes along
        self._closing = True
        self.flush()
        if self._rows:
            _log.error("spool.lost", records=len(self._rows), folder=str(self._folder))
        self._let_go()

    def _let_go(self) -> None:
        """Close every file, which unlocks it: control now knows that nothing follows."""
        self._end_segment()
        if self._life_map is not None:
            self._life.release()
            self._life = memoryview(bytearray(LIFE_BYTES)).cast("Q")
            self._life_map.close()
            self._life_map = None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    def flush(self) -> None:
        """Write what waits as one batch. A refused write leaves it waiting, within the cap."""
        now = self._monotonic()
        if now - self._counters_at >= COUNTERS_S:
            self._counters_at = now
            for key, amount in self._counters.take().items():
                self._unsent[key] = self._unsent.get(key, 0) + amount
            # Said again and again while they are not 0: the control that reads this may be a new one.
            levels = {} if self._closing else self._counters.levels()
            self._levels_due = bool(levels or self._levels)
            self._levels = levels
        if not self._rows and not self._unsent and not self._levels_due:
            if self._fd is not None and now - self._opened_at > SEGMENT_AGE_S:
                self._end_segment()  # so that control can finish and delete it
            return
        rows, self._rows = self._rows, []
        batch = self._encode(rows)
        try:
            self._write(batch, now)
        except OSError as error:
            self._keep(rows, error)
            return
        if self._refused:
            self._refused = False
            _log.info("spool.recovered", dropped=self._dropped)
        self._dropped = 0
        self._unsent = {}
        self._levels_due = False
        self._look_at_folder(now)

    def _encode(self, rows: list[frames.Row]) -> bytearray:
        # Unencodable rows go from the front's numbering: the gap they leave is what counts them.
        for _ in range(2):
            header = BatchHeader(
                worker=self.stream,
                first_sequence=self._taken - len(rows),
                count=len(rows),
                dropped=self._dropped,
                counters=self._unsent | self._levels,
            )
            try:
                return frames.encode(header, rows)
            except (UnicodeError, TypeError, OverflowError):
                kept = frames.encodable(rows)
                _log.warning("spool.row_refused", rows=len(rows) - len(kept))
                self._dropped += len(rows) - len(kept)
                rows[:] = kept
        raise AssertionError("rows that encode one by one encode together")

    def _write(self, batch: bytearray, now: float) -> None:
        fd = self._segment(now)
        written = os.write(fd, batch)
        if written != len(batch):
            # A disk that filled up mid-write. Cut the torn batch off again, or leave it to the reader at the very end.
            try:
                os.ftruncate(fd, self._size)
            except OSError:
                self._end_segment()
            raise OSError(28, "the disk took only part of a batch")
        self._size += written
        self._unlooked_bytes += written

    def _segment(self, now: float) -> int:
        if self._fd is not None and (self._size >= self._segment_bytes or now - self._opened_at > SEGMENT_AGE_S):
            self._end_segment()
        if self._fd is None:
            self._ensure_life()
            self._number += 1
            self._fd = segments.create_locked(self._folder / segments.segment_name(self.stream, self._number))
            self._size = 0
            self._opened_at = now
        return self._fd

    def _ensure_life(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._life_map is not None:
            return
        fd = segments.create_locked(self._folder / (self.stream + segments.LIFE_SUFFIX))
        try:
            # Written, not merely extended: a store into a sparse page of a full disk would be a SIGBUS.
            os.write(fd, self._taken.to_bytes(LIFE_BYTES, sys.byteorder))
            self._life_map = mmap.mmap(fd, LIFE_BYTES)
        except ValueError as error:
            raise OSError(f"the worker's life file cannot be made: {error}") from error
        finally:
            os.close(fd)  # the map keeps a descriptor of its own, and with it the lock
        self._life = memoryview(self._life_map).cast("Q")

    def _end_segment(self) -> None:
        if self._fd is not None:
            os.close(self._fd)  # lets go of the lock: now it counts as finished
            self._fd = None

    def _keep(self, rows: list[frames.Row], error: OSError) -> None:
        if not self._refused:
            self._refused = True
            _log.error("spool.refused", error=str(error), folder=str(self._folder))
        self._rows = rows + self._rows
        excess = len(self._rows) - self._memory_records
        if excess > 0:
            del self._rows[:excess]
            self._dropped += excess

    def _look_at_folder(self, now: float) -> None:
        """Keep the folder within its bound, looking at most once a second or once per quarter segment."""
        if now - self._looked_at < 1 and self._unlooked_bytes < self._segment_bytes // 4:
            return
        self._looked_at = now
        self._unlooked_bytes = 0
        with contextlib.suppress(OSError):  # the folder is looked at again in a moment
            make_room(self._folder, self._max_bytes)


def make_room(folder: Path, max_bytes: int) -> int:
    """Remove the oldest finished segments until the folder fits; how many bytes went."""
    files = [segment for stream in segments.listing(folder).values() for segment in stream]
    excess = sum(segment.size for segment in files) - max_bytes
    removed = 0
    for segment in sorted(files, key=lambda segment: (segment.modified_at, segment.name)):
        if removed >= excess:
            break
        path = folder / segment.name
        if not segments.is_finished(path):
            continue
        try:
            path.unlink()
        except FileNotFoundError:
            continue  # shipped, or another worker was quicker
        removed += segment.size
        _log.warning("spool.segment_dropped", segment=segment.name, bytes=segment.size)
    return removed
