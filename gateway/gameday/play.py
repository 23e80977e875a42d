"""One run in compressed time: recorded traffic, a fault, and control's rounds, a virtual second after the other."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gateway.collect import aggregate
from gateway.control.rounds import RENEW_EVERY, SETTLE_S
from gateway.domain.diagnosis import Diagnosis
from gateway.domain.incident import Change, Incident, Place
from gateway.domain.window import FINE_S
from gateway.gameday import services
from gateway.gameday.kept import Clock
from gateway.gameday.room import Room
from gateway.gameday.world import Felt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config.checking import Configuration
    from gateway.gameday.faults import Fault
    from gateway.gameday.recording import Recording
    from gateway.gameday.world import World

# A person reads the page a minute after it came: what the diagnosis says by then is what counts.
READ_AFTER_S = 60.0
_AWAY = "connection refused"
_CLOSE_WITHIN_S = 900.0  # after the fault is gone


class Played(msgspec.Struct, frozen=True):
    """What was seen of a run: the incidents as they ended, each diagnosis as it was read, and what callers felt."""

    incidents: tuple[Incident, ...]
    read: dict[str, Diagnosis]
    felt: Mapping[int, Felt]
    began: float
    ended: float  # of the run
    taken_out: dict[str, float] = {}  # by a health check: target → when first


class Player:
    """Moves a world and a room forward together.

    Args:
        room: control.
        world: traffic.
        at: the second to begin with.
    """

    def __init__(self, room: Room, world: World, at: int) -> None:
        self._room = room
        self._world = world
        self._at = at
        self._rounds = 0
        self._marked = len(world.restarts)
        self.read: dict[str, Diagnosis] = {}

    async def until(self, end: float) -> None:
        """Play on up to that time."""
        while self._at < end:
            await self._second()

    async def _second(self) -> None:
        room, world = self._room, self._world
        records = world.second(self._at)
        for at, cell in aggregate.aggregate(records).items():
            room.window.add(at, cell)
        room.callers.note(records)
        self._at += 1
        now = float(self._at)
        if (self._at - SETTLE_S) % FINE_S == 0:
            room.clock.now = now
            self._mark()
            await self._probe()
            room.own(_AWAY if world.redis_away(now) else "", world.without_redis)
            await room.look()
            self._rounds += 1
            if self._rounds % RENEW_EVERY == 0:
                room.renew()
            self._remember(now)
        world.obey(room.snapshot(), room.directives(), now)

    def _mark(self) -> None:
        for at, service in self._world.restarts[self._marked :]:
            self._room.changes.load([deployed(at, service)])
        self._marked = len(self._world.restarts)

    async def _probe(self) -> None:
        for service in services.WORK:
            for target in services.target_names(service):
                healthy = self._world.healthy(target, service, self._at)
                await self._room.probed(service, target, healthy=healthy)

    def _remember(self, now: float) -> None:
        for incident in self._room.casebook.all:
            if incident.diagnosis is not None and (
                incident.id not in self.read or now <= incident.opened_at + READ_AFTER_S
            ):
                self.read[incident.id] = incident.diagnosis


def deployed(at: float, service: str) -> Change:
    """The mark a deploy tool leaves."""
    return Change(at, "deploy", f"{service} deployed", "", "pipeline", Place(upstream=service))


async def _room(folder: Path, configuration: Configuration, recording: Recording, clock: Clock) -> Room:
    room = Room(folder, configuration, clock)
    await room.begin()
    recording.replay(room.window)
    room.callers.note(recording.lately)
    return room


async def play(configuration: Configuration, recording: Recording, fault: Fault, seed: str, folder: Path) -> Played:
    """One fault from the quiet before it to the end of its incidents."""
    clock = Clock(float(recording.end))
    room = await _room(folder, configuration, recording, clock)
    room.changes.load([*(deployed(at, service) for at, service in recording.restarts), *fault.changes])
    world = recording.go_on(random.Random(seed))  # noqa: S311 - repeatable is the point
    world.effects, world.flows = fault.effects, fault.flows
    player = Player(room, world, recording.end)
    if fault.revision:
        await player.until(fault.began)
        clock.now = fault.began
        await room.configure(fault.revision)
        await player.until(fault.ended)
        if room.snapshot().upstreams != configuration.compiled.upstreams:
            clock.now = fault.ended
            await room.configure(configuration.text)  # somebody mends what nobody took back
    await player.until(fault.ended)
    last = fault.ended + 60
    await player.until(last)
    while last < fault.ended + _CLOSE_WITHIN_S and room.casebook.open_ones:
        last += 30
        await player.until(last)
    incidents = tuple(room.kept.incidents.values())
    return Played(incidents, player.read, world.felt, fault.began, last, room.taken_out)


async def play_quiet(
    configuration: Configuration,
    recording: Recording,
    seconds: int,
    seed: str,
    folder: Path,
    told: Callable[[int], None],
) -> Played:
    """Nothing but quiet traffic; ``told`` hears the seconds that are over, an hour at a time."""
    clock = Clock(float(recording.end))
    room = await _room(folder, configuration, recording, clock)
    world = recording.go_on(random.Random(seed))  # noqa: S311 - repeatable is the point
    player = Player(room, world, recording.end)
    for hour in range(recording.end, recording.end + seconds, 3600):
        end = min(hour + 3600, recording.end + seconds)
        await player.until(end)
        world.felt.clear()
        told(end - hour)
    return Played(
        tuple(room.kept.incidents.values()), player.read, {}, float(recording.end), float(recording.end + seconds)
    )
