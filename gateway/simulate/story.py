"""An hour of usual traffic, then connections leak away in one service: what the product makes of it.

The records go through the same aggregation, detectors, grouping, topology, attribution and report that control runs,
under a clock of its own, so an hour takes seconds.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from gateway.collect.aggregate import aggregate
from gateway.config.checking import load
from gateway.control.rounds import SETTLE_S
from gateway.domain.diagnosis import Diagnosis
from gateway.domain.incident import Incident
from gateway.domain.window import FINE_S
from gateway.gameday.kept import Clock
from gateway.gameday.room import Room
from gateway.settings import Settings
from gateway.simulate.shop import BY_NAME, CALLED, Shop, configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.domain.incident import TimelineEntry

HOUR_S = 3600
DETECT_WITHIN_S = 30.0
_DAY_BEGAN = 1_767_571_200  # a Monday, 00:00 UTC
_LEAK_EVERY_S = 2  # one connection of each target: gone within a quarter of a minute
_READ_AFTER_S = 60.0  # the report is judged as somebody reads it who was called
_LASTS_S = 180
_CLOSE_WITHIN_S = 900


class Story(msgspec.Struct, frozen=True):
    """What came of one story."""

    seed: int
    service: str  # whose connections leaked
    began: float  # seconds since the epoch, of the story's own time
    records: int
    false_alarms: tuple[str, ...]  # titles of what was opened in the usual hour
    detected_s: float | None = None  # from the first leaked connection to the incident
    cause: str = ""  # the upstream that the first hypothesis names
    incident: Incident | None = None  # as it was at the end
    report: Diagnosis | None = None  # as it was read
    others: tuple[str, ...] = ()  # titles of further incidents of the same disturbance

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it did not go as it should; empty when it did."""
        found = [f"a false alarm in usual traffic: {title}" for title in self.false_alarms]
        if self.detected_s is None:
            return (*found, "the failure was not detected")
        if self.detected_s > DETECT_WITHIN_S:
            found.append(f"detected after {self.detected_s:.0f} s, later than {DETECT_WITHIN_S:.0f} s")
        if self.cause != self.service:
            found.append(f"the first cause named is {self.cause or 'nothing'}, not {self.service}")
        return tuple(found)


class _Play:
    def __init__(self, folder: Path, shop: Shop, at: int) -> None:
        self._shop = shop
        self._at = at
        self._clock = Clock(float(at))
        self.room = Room(folder, load(configuration(), "story", Settings()), self._clock)
        self.records = 0

    async def until(self, end: int, each_second: Callable[[int], None] = lambda _at: None) -> None:
        """Play on up to that second."""
        while self._at < end:
            each_second(self._at)
            records = self._shop.second(self._at)
            self.records += len(records)
            for at, cell in aggregate(records).items():
                self.room.window.add(at, cell)
            self._at += 1
            if (self._at - SETTLE_S) % FINE_S == 0:
                self._clock.now = float(self._at)
                await self.room.look()


async def tell(seed: int, folder: Path, told: Callable[[int], None] = lambda _minutes: None) -> Story:
    """Play one story.

    Args:
        seed: all chance comes from here: the hour of the day, the service, every request.
        folder: an empty folder for the snapshot.
        told: hears how many minutes of its hour have passed.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret hangs on it
    start = _DAY_BEGAN + draw.randrange(24) * HOUR_S
    service = draw.choice(CALLED)
    began = start + HOUR_S
    shop = Shop(draw)
    play = _Play(folder, shop, start)
    for minute in range(1, 61):
        await play.until(start + 60 * minute)
        told(minute)
    early = frozenset(play.room.kept.incidents)

    def leaks(at: int) -> None:
        if (at - began) % _LEAK_EVERY_S == 0 and at < began + _LASTS_S:
            shop.leak(service)

    read: Diagnosis | None = None
    for at in range(began + FINE_S, began + _LASTS_S + 1, FINE_S):
        await play.until(at, leaks)
        first = _first(play, early)
        if first is not None and first.diagnosis is not None and at <= first.opened_at + _READ_AFTER_S:
            read = first.diagnosis
    shop.restart(service, float(began + _LASTS_S))
    for at in range(began + _LASTS_S, began + _LASTS_S + _CLOSE_WITHIN_S, 30):
        if not play.room.casebook.open_ones:
            break
        await play.until(at)
    return _story(seed, service, began, play, early, read)


def _first(play: _Play, early: frozenset[str]) -> Incident | None:
    new = [one for one in play.room.casebook.all if one.id not in early]
    return min(new, key=lambda one: (one.opened_at, one.id), default=None)


def _story(seed: int, service: str, began: int, play: _Play, early: frozenset[str], read: Diagnosis | None) -> Story:
    kept = play.room.kept.incidents
    new = sorted((one for one in kept.values() if one.id not in early), key=lambda one: (one.opened_at, one.id))
    story = Story(
        seed=seed,
        service=service,
        began=float(began),
        records=play.records,
        false_alarms=tuple(kept[one].title for one in sorted(early)),
    )
    if not new:
        return story
    leading = read.leading if read is not None else None
    return msgspec.structs.replace(
        story,
        detected_s=new[0].opened_at - began,
        cause=leading.upstream if leading is not None else "",
        incident=new[0],
        report=read,
        others=tuple(one.title for one in new[1:]),
    )


def timeline(story: Story) -> tuple[TimelineEntry, ...]:
    """The incident's own lines, in order of time."""
    return tuple(sorted(story.incident.timeline, key=lambda entry: entry.at)) if story.incident is not None else ()


def callers(service: str) -> tuple[str, ...]:
    """Who suffers with it: every service that reaches it over any number of calls."""
    found = {name for name, one in BY_NAME.items() if service in one.calls}
    while more := {name for name, one in BY_NAME.items() if found & set(one.calls)} - found:
        found |= more
    return tuple(sorted(found))
