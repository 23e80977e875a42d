"""The switch that stops all actions, as this node knows it: the store's, and what was turned while that was away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.stop import Stop
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LONGEST_WHY = 300

_log = logs.get("control")
_decode = msgspec.json.Decoder(Stop).decode


class SwitchStore(Protocol):
    """Where it is kept for every node."""

    async def turn(self, stop: Stop) -> None:
        """Keep how it was turned, unless it was turned later than that."""
        ...

    async def read(self) -> Stop:
        """As it was last turned."""
        ...


class Journal(Protocol):
    """Where what the store cannot take waits for it."""

    def register(self, kind: str, carry: Callable[[bytes], Awaitable[None]]) -> None:
        """Say how entries of a kind are carried over."""
        ...

    def add(self, kind: str, key: str, body: bytes) -> None:
        """Keep an entry. Never raises."""
        ...

    def of_kind(self, kind: str) -> list[bytes]:
        """The bodies of a kind, oldest first."""
        ...


class StopSwitch:
    """On: nothing is executed or approved, on any node. What runs already stays, and can be taken back.

    It can be turned while the store is away, because that may be just when somebody has to.
    """

    def __init__(self, store: SwitchStore, journal: Journal, clock: Callable[[], float]) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        journal.register("stop", self._carry)
        waiting = [_decode(body) for body in journal.of_kind("stop")]
        self.known = max(waiting, key=lambda stop: stop.at, default=Stop())

    async def look(self) -> Stop:
        """As it stands; while the store is away as it was last known here."""
        try:
            stored = await self._store.read()
        except StoreUnavailableError:
            return self.known
        if stored.at >= self.known.at:
            self.known = stored
        return self.known

    async def turn(self, *, on: bool, by: str, why: str) -> Stop:
        """Turn it, for every node at once; turning it on twice keeps who was first."""
        before = await self.look()
        if before.on == on:
            return before
        # Two nodes' clocks may differ: what is turned now is later than what is known.
        stop = Stop(on=on, by=by, at=max(self._clock(), before.at + 1e-3), why=why.strip()[:LONGEST_WHY])
        self.known = stop
        _log.warning("actions.stopped" if on else "actions.released", by=by)
        try:
            await self._store.turn(stop)
        except StoreUnavailableError as error:
            _log.warning("actions.switch_not_kept_yet", reason=str(error))
            self._journal.add("stop", "actions", msgspec.json.encode(stop))
        return stop

    async def _carry(self, body: bytes) -> None:
        await self._store.turn(_decode(body))
