"""Recorded traffic: quiet stretches of a week that every run begins with, summed as control sums what workers write."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING

import msgspec

from gateway.collect import aggregate
from gateway.domain.traffic import RequestRecord
from gateway.domain.window import COARSE_S, FINE_S, Cell
from gateway.gameday.world import World

if TYPE_CHECKING:
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window

SPAN_S = 3900  # more than the hour that detection looks back
_FINE_SPAN_S = 900
_LATELY_S = 600
# A Monday; what happens depends on the hour and the day of the week only.
WEEK_BEGAN = 1_767_571_200
_WEEK_S = 604_800


class Recording(msgspec.Struct, frozen=True):
    """A stretch of quiet traffic up to ``end``: whole minutes, then five-second cells, and the world at the end."""

    end: int  # seconds since the epoch
    minutes: dict[int, Cell]
    fine: dict[int, Cell]
    world: World
    restarts: tuple[tuple[float, str], ...]
    lately: tuple[RequestRecord, ...]  # the last minutes one by one

    def replay(self, window: Window) -> None:
        """Put it into a window, as control does that has just begun: stored minutes, then what is in the spool."""
        for at, cell in self.minutes.items():
            window.add_minute(at, cell)
        for at, cell in self.fine.items():
            window.add(at, cell)

    def go_on(self, draw: random.Random) -> World:
        """The world as it was at the end, with another fate from there."""
        world = copy.deepcopy(self.world)
        world.draw = draw
        return world


def record(snapshot: Snapshot, seed: str) -> Recording:
    """A stretch of an hour that ends at a time of the week drawn from the seed."""
    draw = random.Random(seed)  # noqa: S311 - repeatable is the point
    end = WEEK_BEGAN + int(draw.random() * _WEEK_S) // COARSE_S * COARSE_S
    world = World(snapshot, draw)
    cells: dict[int, Cell] = {}
    lately: list[RequestRecord] = []
    for second in range(end - SPAN_S, end):
        records = world.second(second)
        aggregate.add(cells, aggregate.aggregate(records))
        if second >= end - _LATELY_S:
            lately += records
    cut = end - _FINE_SPAN_S
    minutes: dict[int, Cell] = {}
    for at, cell in cells.items():
        if at < cut:
            aggregate.add(minutes, {at - at % COARSE_S: cell})
    fine = {at: cell for at, cell in cells.items() if at >= cut and at % FINE_S == 0}
    world.felt.clear()
    restarts, world.restarts = tuple(world.restarts), []
    return Recording(end, minutes, fine, world, restarts, tuple(lately))
