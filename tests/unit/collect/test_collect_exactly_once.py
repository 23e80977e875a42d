"""Whatever happens in whatever order, a record is stored once or counted as lost, and observed once per life."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.collect import segments, ship
from gateway.collect.ship import Shipper
from gateway.collect.spool import SpoolWriter
from gateway.errors import ConflictError, StoreUnavailableError
from gateway.metrics import WorkerCounters
from tests.collect_rows import row

if TYPE_CHECKING:
    from gateway.domain.traffic import SpoolPosition

STEPS = st.sampled_from([
    "write", "write", "write", "hold", "rotate", "observe", "ship", "ship", "down", "up", "lose answer", "restart",
    "drop", "kill",
])  # fmt: skip


class World:
    """One worker at a time, one control at a time, one store: driven step by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.up = True
        self.answer_lost = False
        self.positions_stored: dict[str, SpoolPosition] = {}
        self.stored: list[str] = []
        self.observed: list[str] = []
        self.lost = 0
        self.written = 0
        self.lives = 0
        self.unwritten = 0  # held by workers when they were killed
        self.uncounted = False  # an answer was lost: what that transaction skipped was not counted by anybody

    # the store
    async def positions(self, node):
        if not self.up:
            raise StoreUnavailableError("away")
        return list(self.positions_stored.values())

    async def ship(self, shipment):
        if not self.up:
            raise StoreUnavailableError("away")
        before = {segments.parse_name(position.segment)[0]: position for position in shipment.before}
        after = {segments.parse_name(position.segment)[0]: position for position in shipment.positions}
        for stream in after:
            if self.positions_stored.get(stream) != before.get(stream):
                raise ConflictError("stored further")
        self.positions_stored |= after
        for stream in shipment.finished:
            self.positions_stored.pop(stream, None)
        self.stored += [record.id for record in shipment.records]
        if self.answer_lost:
            self.answer_lost, self.uncounted = False, True
            raise StoreUnavailableError("the answer got lost")
        return []

    # the observer
    def on_batch(self, header, records, cells):
        self.observed += [record.id for record in records]

    def on_lost(self, records):
        self.lost += records

    def on_stored(self, records, poisoned, seconds):
        assert poisoned == 0

    def on_store(self, *, up):
        assert up == self.up or self.uncounted

    def on_spool(self, waiting_bytes):
        pass

    # what may happen
    def new_worker(self) -> None:
        self.lives += 1
        self.writer = SpoolWriter(self.folder, node="n", worker=0, boot=f"b{self.lives}", counters=WorkerCounters())
        self.writer._ensure_life()

    async def new_control(self) -> None:
        self.observed.clear()
        self.shipper = Shipper(self.folder, self, self, node="n")
        await self.shipper.start()

    def append(self, count: int) -> None:
        for _ in range(count):
            self.writer.append(row(id=str(self.written)))
            self.written += 1

    async def do(self, step: str) -> None:  # noqa: C901 - one case per step, nothing else
        match step:
            case "write":
                self.append(3)
                self.writer.flush()
            case "hold":
                self.append(2)
            case "rotate":
                self.writer._end_segment()
            case "observe":
                self.shipper.observe()
            case "ship":
                await self.shipper.ship()
            case "down" | "up":
                self.up = step == "up"
            case "lose answer":
                self.answer_lost = True
            case "restart":
                await self.new_control()
            case "drop":
                self.drop()
            case "kill":
                self.unwritten += self.writer.waiting
                self.writer._let_go()
                self.new_worker()
        assert len(self.observed) == len(set(self.observed))

    def drop(self) -> None:
        for files in segments.listing(self.folder).values():
            for segment in files:
                if segments.is_finished(self.folder / segment.name):
                    (self.folder / segment.name).unlink()
                    return

    async def finish(self) -> None:
        self.up, self.answer_lost = True, False
        self.unwritten += self.writer.waiting
        self.writer._let_go()
        for _ in range(6):
            await self.shipper.drain()


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_a_record_is_stored_once_or_counted_as_lost(steps):
    async def run(folder: Path) -> None:
        world = World(folder)
        world.new_worker()
        await world.new_control()
        for step in steps:
            await world.do(step)
        await world.finish()
        assert len(world.stored) == len(set(world.stored))
        missing = world.written - len(world.stored)
        assert world.lost == missing or (world.uncounted and world.lost <= missing)
        if "drop" not in steps:
            assert missing == world.unwritten
        assert segments.listing(folder) == {}
        assert segments.lives(folder) == []

    before = ship.SHIP_RECORDS, ship.PENDING_RECORDS
    ship.SHIP_RECORDS, ship.PENDING_RECORDS = 4, 9
    try:
        with tempfile.TemporaryDirectory() as scratch:
            asyncio.run(run(Path(scratch) / "spool"))
    finally:
        ship.SHIP_RECORDS, ship.PENDING_RECORDS = before
