"""Control's way of a record: read → aggregate → observers at once → store, exactly once → delete the segment.

Two readers of one spool. The *front* shows every batch to the observers the moment it is in the file, whatever the
store does, so detection never waits for a database. What it read is handed on in memory and shipped in coalesced
transactions, each noting the positions it reached. After any failure nothing in memory is trusted: the positions are
asked of the store (a commit whose answer got lost has happened), and a second reader, the *back*, follows from there
until it has caught up with the front. So memory is bounded however long the store is away: the spool is the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.collect import aggregate, frames, segments
from gateway.collect.tail import Batch, Tail
from gateway.domain.shipment import Shipment
from gateway.errors import ConflictError, SentinelError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.collect.ports import Observer, RecordStore
    from gateway.domain.traffic import RequestRecord, SpoolPosition
    from gateway.domain.window import Cell

POLL_S = 0.1
SHIP_S = 0.5  # small batches wait this long for company: one transaction instead of many
SHIP_RECORDS = 5_000
PENDING_RECORDS = 20_000  # handed on in memory; beyond it the disk is the queue
BACKOFF_S = 0.5
BACKOFF_MAX_S = 15.0
MAX_SERIES = 2_000  # bucket rows per minute and shipment; further tenants fold into "other"

_log = logs.get("collect")
_encode_rows = msgspec.msgpack.Encoder().encode


class Shipper:
    """Carries one node's spool into the store.

    Args:
        folder: the spool folder.
        store: where records go.
        observer: who hears of every batch at once.
        node: this node's name; bucket rows are per node.
        ship_s: how long small batches wait for company.
        jitter: a number in [0, 1) that spreads retries.
        monotonic: seconds that never jump.
    """

    def __init__(
        self,
        folder: Path,
        store: RecordStore,
        observer: Observer,
        *,
        node: str,
        ship_s: float = SHIP_S,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._store = store
        self._observer = observer
        self._node = node
        self._ship_s = ship_s
        self._jitter = jitter
        self._monotonic = monotonic
        self._front = Tail(folder)
        self._back: Tail | None = None
        self._behind = False  # whether the back reader is what ships
        self._pending: list[tuple[Batch, dict[int, Cell]]] = []
        self._pending_records = 0
        self._stored: dict[str, SpoolPosition] = {}
        self._over: set[str] = set()  # streams whose worker is gone and whose every batch has been read
        self._finished: list[str] = []
        self._up: bool | None = None
        self._failures = 0
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Find out how far the store is; without the store, begin with what the folder holds."""
        segments.sweep_unborn(self._folder, time.time())
        try:
            await self._ask_positions()
            self._front = Tail(self._folder, self._stored.values())
            self._store_is(up=True)
        except StoreUnavailableError as error:
            self._front = Tail(self._folder, None)
            self._behind = True
            self._store_is(up=False, error=error)

    async def run(self) -> None:
        """Read and ship until cancelled. Call :meth:`start` first; :meth:`drain` afterwards ships what is left."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name="spool-front")
            tasks.create_task(self._carry(), name="spool-ship")

    async def drain(self, timeout_s: float = 10.0) -> bool:
        """Read and ship everything that is in the folder now; whether it all arrived in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    more = self.observe()
                    if not await self.ship():
                        return False
                    if not more and not self._pending and not self._behind:
                        return True
        return False

    async def _watch(self) -> None:
        more = False
        while True:
            # A full pass is followed by the next at once, but lets others have the loop in between.
            await asyncio.sleep(0 if more else POLL_S)
            try:
                more = self.observe()
            except Exception:  # noqa: BLE001 - the border of a task, logged
                # A folder that cannot be read, or an observer that failed on one batch, must not end all that follow.
                _log.exception("spool.read_failed")
                more = False

    async def _carry(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ship_s):
                    await self._ready.wait()
            try:
                well = await self.ship()
            except Exception:  # noqa: BLE001 - the border of a task, logged
                _log.exception("ship.failed")
                self._failures += 1
                well = False
            if not well:
                pause_s = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(self._failures - 1, 10))
                await asyncio.sleep(pause_s * (0.5 + self._jitter() / 2))

    def observe(self) -> bool:
        """One pass of the front reader; whether there is probably more to read right now."""
        reading = self._front.read(SHIP_RECORDS)
        count = 0
        try:
            for batch in reading.batches:
                cells = aggregate.aggregate(batch.records)
                self._hand_on(batch, cells)
                count += len(batch.records)
                self._observer.on_batch(batch.header, batch.records, cells)
        except BaseException:
            self._fall_behind()  # what was read and not handed on is on the disk still
            raise
        for stream, lost in reading.ended.items():
            self._over.add(stream)
            if lost:
                _log.warning("spool.worker_died", stream=stream, unwritten=lost)
        self._observer.on_spool(reading.spool_bytes)
        return count >= SHIP_RECORDS

    def _hand_on(self, batch: Batch, cells: dict[int, Cell]) -> None:
        if self._behind:
            return
        if self._pending_records + len(batch.records) > PENDING_RECORDS:
            self._fall_behind()
            return
        self._pending.append((batch, cells))
        self._pending_records += len(batch.records)
        if self._pending_records >= SHIP_RECORDS:
            self._ready.set()

    def _fall_behind(self) -> None:
        self._behind = True
        self._back = None
        self._pending.clear()
        self._pending_records = 0
        self._ready.clear()

    async def ship(self) -> bool:
        """One transaction of what waits, if anything does; whether the store is well."""
        try:
            work = await self._next_work()
            if work or self._finished:
                await self._store_all(work)
            self._store_is(up=True)
        except ConflictError as error:
            # Somebody else stored these streams further: another control of this node, or a transaction whose answer
            # got lost. Ask where they stand and go on from there.
            _log.warning("ship.conflict", error=str(error))
            self._fall_behind()
            self._failures += 1
            return False
        except SentinelError as error:
            self._fall_behind()
            self._store_is(up=False, error=error)
            return False
        except BaseException:
            # Cancelled half way, say: what was taken to be stored is not in memory any more, but on the disk it is.
            self._fall_behind()
            raise
        self._delete_stored()
        return True

    async def _next_work(self) -> list[tuple[Batch, dict[int, Cell]]]:
        if not self._behind:
            return self._take_pending()
        if self._back is None:
            await self._ask_positions()
            self._back = Tail(self._folder, self._stored.values())
        batches = self._back.read(SHIP_RECORDS, until=self._front.cursors).batches
        if not batches and not self._back.behind(self._front):
            # No await since the front last read: nothing can slip between the two.
            self._behind = False
            self._back = None
        return [(batch, aggregate.aggregate(batch.records)) for batch in batches]

    def _take_pending(self) -> list[tuple[Batch, dict[int, Cell]]]:
        taken = 0
        records = 0
        for batch, _ in self._pending:
            taken += 1
            records += len(batch.records)
            if records >= SHIP_RECORDS:
                break
        work, self._pending = self._pending[:taken], self._pending[taken:]
        self._pending_records -= records
        if self._pending_records < SHIP_RECORDS:
            self._ready.clear()
        return work

    async def _ask_positions(self) -> None:
        known = await self._store.positions(self._node)
        self._stored = {}
        for position in known:
            parsed = segments.parse_name(position.segment)
            if parsed is not None:
                self._stored[parsed[0]] = position

    async def _store_all(self, work: list[tuple[Batch, dict[int, Cell]]]) -> None:
        started = self._monotonic()
        cells: dict[int, Cell] = {}
        records: list[RequestRecord] = []
        after: dict[str, SpoolPosition] = {}
        for batch, part in work:
            aggregate.add(cells, part)
            records += batch.records
            after[batch.stream] = batch.after
        finished = tuple(self._finished)
        shipment = Shipment(
            node=self._node,
            records=records,
            buckets=aggregate.bounded(aggregate.minutes(cells), MAX_SERIES),
            positions=tuple(after.values()),
            before=tuple(self._stored[stream] for stream in after if stream in self._stored),
            finished=finished,
        )
        refused = await self._store.ship(shipment)
        self._stored.update(after)
        del self._finished[: len(finished)]
        # Counted here, against what is stored: the front may have seen what was dropped for room before it was stored.
        self._lost(sum(batch.lost for batch, _ in work))
        poisoned = self._keep_aside(work, refused)
        self._observer.on_stored(len(records) - len(refused), poisoned, self._monotonic() - started)

    def _keep_aside(self, work: list[tuple[Batch, dict[int, Cell]]], refused: Sequence[RequestRecord]) -> int:
        """Rows that would not decode and records the database would not take go to poison/ for people to look at."""
        undecoded = [row for batch, _ in work for row in batch.rejected]
        rows = undecoded + [frames.row_bytes(record) for record in refused]
        if rows:
            last = work[-1][0].after
            _log.error("ship.poisoned", records=len(rows), segment=last.segment)
            with contextlib.suppress(OSError):  # a full disk: they are counted and logged all the same
                content = _encode_rows([msgspec.Raw(row) for row in rows])
                segments.set_aside(self._folder, f"{last.segment}.{last.offset}.rows", content)
        return len(rows)

    def _delete_stored(self) -> None:
        """Delete the segments whose every batch is stored, and the life files of streams that are over."""
        if self._behind and self._back is None:
            return
        reader = self._back or self._front
        limits = {stream: cursor.segment for stream, cursor in reader.cursors.items()}
        for batch, _ in self._pending:
            limits[batch.stream] = min(limits[batch.stream], batch.segment)
        left: set[str] = set()
        for stream, files in segments.listing(self._folder).items():
            for segment in files:
                if segment.number < limits.get(stream, 0):
                    self._remove(segment.name)
                else:
                    left.add(stream)
        for stream in self._over - left:
            if self._behind or any(batch.stream == stream for batch, _ in self._pending):
                continue
            known = self._stored.get(stream)
            taken = segments.read_life(self._folder, stream) or 0
            self._lost(taken - (known.sequence if known is not None else 0))
            (self._folder / (stream + segments.LIFE_SUFFIX)).unlink(missing_ok=True)
            self._over.discard(stream)
            self._front.forget(stream)
            if self._stored.pop(stream, None) is not None:
                self._finished.append(stream)  # its position may be forgotten, now that no file is left to read twice

    def _lost(self, records: int) -> None:
        if records > 0:
            self._observer.on_lost(records)

    def _remove(self, name: str) -> None:
        if name in self._front.corrupt:
            segments.set_aside(self._folder, name)
            self._front.corrupt.discard(name)
            return
        (self._folder / name).unlink(missing_ok=True)

    def _store_is(self, *, up: bool, error: Exception | None = None) -> None:
        self._failures = 0 if up else self._failures + 1
        if up is self._up:
            return
        self._up = up
        self._observer.on_store(up=up)
        if up:
            _log.info("store.up")
        else:
            _log.error("store.down", error=str(error))
