"""Revoked ids: kept in the store, and with the workers within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.publisher import Publisher
    from gateway.domain.paging import Page
    from gateway.domain.revocation import Revocation


class RevocationStore(Protocol):
    """Where revocations are kept."""

    async def save(self, revocation: Revocation) -> None:
        """Keep it. Raises InvalidInputError when there are too many."""
        ...

    async def page(self, now: float, *, limit: int = 50, cursor: str = "") -> Page[Revocation]:
        """Those in force, newest first."""
        ...

    async def lift(self, revoked_id: str) -> None:
        """Raises NotFoundError."""
        ...

    async def in_force(self, now: float) -> frozenset[str]:
        """The ids of all in force."""
        ...


class PublishedRevocations:
    """Store first, then the workers: what nobody can list must not refuse anybody."""

    def __init__(self, store: RevocationStore, publisher: Publisher, clock: Callable[[], float]) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Revocation]:
        """Those in force, newest first."""
        return await self._store.page(self._clock(), limit=limit, cursor=cursor)

    async def revoke(self, revocation: Revocation) -> None:
        """Refuse that id from now on. Raises InvalidInputError when there are too many."""
        await self._store.save(revocation)
        await self.publish()

    async def lift(self, revoked_id: str) -> None:
        """Take that id as good again. Raises NotFoundError."""
        await self._store.lift(revoked_id)
        await self.publish()

    async def publish(self) -> None:
        """Give the workers exactly the ids that are in force, if they have others; expired ones go by this."""
        ids = await self._store.in_force(self._clock())
        if ids != self._publisher.snapshot.revoked:
            self._publisher.set_revoked(ids)
