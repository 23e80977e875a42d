"""Silences as the pipeline asks for them: the store's, remembered while it is away, and the configuration's hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.detect.silences import why_quiet
from gateway.domain.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.incident import Incident
    from gateway.domain.paging import Page
    from gateway.domain.silence import Maintenance, Silence
    from gateway.domain.snapshot import Snapshot


class SilenceStore(Protocol):
    """Where silences are kept."""

    async def save(self, silence: Silence) -> None:
        """Keep it. Raises InvalidInputError when there are too many."""
        ...

    async def end(self, silence_id: str, now: float) -> Silence:
        """End one at once. Raises NotFoundError."""
        ...

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Silence]:
        """Newest first."""
        ...

    async def not_over(self, now: float) -> Sequence[Silence]:
        """Those in force and to come."""
        ...


class Silences:
    """What keeps incidents quiet.

    Args:
        store: what people made.
        maintenance: the hours of the configuration in force.
        snapshot: what workers run on, for who calls whom.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: SilenceStore,
        maintenance: Callable[[], tuple[Maintenance, ...]],
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._maintenance = maintenance
        self._snapshot = snapshot
        self._clock = clock
        self._known: tuple[Silence, ...] = ()

    async def add(self, silence: Silence) -> None:
        """Keep quiet what it matches. Raises InvalidInputError when there are too many."""
        await self._store.save(silence)
        await self.refresh()

    async def end(self, silence_id: str) -> Silence:
        """End one at once. Raises NotFoundError."""
        ended = await self._store.end(silence_id, self._clock())
        await self.refresh()
        return ended

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Silence]:
        """All that are kept, newest first."""
        return await self._store.page(limit=limit, cursor=cursor)

    async def refresh(self) -> None:
        """Learn what was made or ended on other nodes; while the store is away what is known stays."""
        self._known = tuple(await self._store.not_over(self._clock()))

    def planned(self) -> tuple[Maintenance, ...]:
        """The maintenance of the configuration in force."""
        return self._maintenance()

    def why_quiet(self, incident: Incident, open_ones: Sequence[Incident], now: float) -> str:
        """Why people are not told of an incident; empty when they are."""
        return why_quiet(incident, open_ones, self._known, self._maintenance(), Topology.of(self._snapshot()), now)
