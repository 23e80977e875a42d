"""Takes batches of events in, a bounded number at once, and says of each what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.domain.event import Receipt
from gateway.errors import TooManyAttemptsError
from gateway.ingest.event_reading import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.event import Agent, Event, EventFilter
    from gateway.domain.paging import Page

# Each may hold a MiB, and the database takes one at a time: more would only wait here instead of at the sender.
MOST_AT_ONCE = 8
RETRY_AFTER_S = 1.0
LATELY_S = 86_400.0


class EventStore(Protocol):
    """Where events are kept."""

    async def add(self, new: Sequence[Event]) -> int:
        """How many were new. Raises StoreUnavailableError."""
        ...

    async def page(self, wanted: EventFilter) -> Page[Event]:
        """Newest first."""
        ...

    async def agents(self, since: float, *, tenant: str | None = None) -> Sequence[Agent]:
        """Who reported something that arrived since then, the latest first."""
        ...


class EventIntake:
    """The event log as the API needs it.

    Args:
        store: where events are kept.
        count: told (outcome, how many) for sentinel_events_total: stored, duplicate, refused, turned_away.
        clock: seconds since the epoch.
    """

    def __init__(self, store: EventStore, *, count: Callable[[str, int], None], clock: Callable[[], float]) -> None:
        self._store = store
        self._count = count
        self._clock = clock
        self._busy = 0

    async def take(self, body: bytes, *, tenant: str) -> Receipt:
        """Keep the good events of a body and say which were not taken.

        Raises:
            InvalidInputError: the body as a whole is wrong; nothing was taken.
            TooManyAttemptsError: too many batches are under way.
            StoreUnavailableError: whether it was kept is unknown; sending it again is harmless.
        """
        if self._busy >= MOST_AT_ONCE:
            self._count("turned_away", 1)
            raise TooManyAttemptsError(
                f"{MOST_AT_ONCE} batches are being stored already",
                retry_after_s=RETRY_AFTER_S,
                remedy="send fewer and larger batches",
            )
        self._busy += 1
        try:
            events, refused = read(body, tenant=tenant, now=self._clock())
            stored = await self._store.add(events)
        finally:
            self._busy -= 1
        receipt = Receipt(stored, len(events) - stored, refused)
        for outcome, amount in (("stored", stored), ("duplicate", receipt.duplicates), ("refused", len(refused))):
            if amount:
                self._count(outcome, amount)
        return receipt

    async def page(self, wanted: EventFilter) -> Page[Event]:
        """Newest first."""
        return await self._store.page(wanted)

    async def agents(self, tenant: str | None = None) -> Sequence[Agent]:
        """Who reported something within a day, the latest first."""
        return await self._store.agents(self._clock() - LATELY_S, tenant=tenant)
