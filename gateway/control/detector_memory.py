"""Keeps what the streaming detector learned, one place per round, and hands it to whoever leads next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.detect.unlike_itself import MOST_PLACES
from gateway.detect.watched_state import VERSION, from_bytes, to_bytes
from gateway.domain.incident import Place
from gateway.store.detector_states import KeptState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.detect.unlike_itself import Watched

# What is older than the days it compares with has nothing to say.
_WORTH_S = 7 * 86_400.0

_log = logs.get("control")


class KeptStates(Protocol):
    """Where states are kept."""

    async def keep(self, kept: KeptState) -> None:
        """In place of what was kept of that place before."""
        ...

    async def read(self, version: int, limit: int) -> Sequence[KeptState]:
        """The latest kept first."""
        ...

    async def purge(self, kept_before: float) -> int:
        """Forget old ones."""
        ...


class DetectorMemory:
    """For the leader alone: nobody else watches.

    Args:
        states: where they are kept.
        watched: the places, shared with the detector.
        configured: whether there still is such a route or upstream; one that is gone has no traffic to miss.
        led_since: since when this control leads; another value means that somebody else may have watched meanwhile.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        states: KeptStates,
        watched: Watched,
        configured: Callable[[Place], bool],
        led_since: Callable[[], float | None],
        clock: Callable[[], float],
    ) -> None:
        self._states = states
        self._watched = watched
        self._configured = configured
        self._led_since = led_since
        self._clock = clock
        self._restored_for: float | None = None
        self._waiting: list[Place] = []

    async def look(self) -> None:
        """Once a round: take up what was kept when the lead was won, else keep the next place's."""
        since = self._led_since()
        if since is None:
            return
        if since != self._restored_for:
            await self._restore()
            self._restored_for = since
            return
        # One at a time: a place takes some milliseconds to write down, and an old one is a few hundred kilobytes.
        if not self._waiting:
            self._waiting = list(self._watched.places)
        if self._waiting:
            await self._keep(self._waiting.pop(0))

    async def purge(self) -> None:
        """Forget places that nobody watches any more."""
        await self._states.purge(self._clock() - _WORTH_S)

    async def _restore(self) -> None:
        now, taken = self._clock(), 0
        for kept in await self._states.read(VERSION, MOST_PLACES):
            place = Place(route=kept.route, upstream=kept.upstream)
            if kept.at < now - _WORTH_S or not self._configured(place):
                continue
            await asyncio.sleep(0)  # each takes milliseconds to read
            try:
                pair = from_bytes(kept.state)
            except ValueError as error:
                _log.warning("detector.state_refused", route=kept.route, upstream=kept.upstream, reason=str(error))
                continue
            taken += self._watched.go_on(place, pair)
        if taken:
            _log.info("detector.restored", places=taken)

    async def _keep(self, place: Place) -> None:
        pair = self._watched.places.get(place)
        if pair is not None:
            kept = KeptState(place.route, place.upstream, VERSION, self._clock(), to_bytes(pair))
            await self._states.keep(kept)
