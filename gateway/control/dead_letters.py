"""Bodies that could not be read, and how many there are, known without asking the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.domain.dead_letter import DeadLetter
    from gateway.domain.paging import Page


class DeadLetterStore(Protocol):
    """Where they are kept."""

    async def add(self, letter: DeadLetter) -> None:
        """Keep one, in place of the oldest where there are too many."""
        ...

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[DeadLetter]:
        """Newest first."""
        ...

    async def get(self, letter_id: str) -> DeadLetter:
        """Raises NotFoundError."""
        ...

    async def summary(self) -> tuple[int, DeadLetter | None]:
        """How many there are, and the newest."""
        ...

    async def purge(self, letter_id: str = "") -> int:
        """Let go of one, or of all. Raises NotFoundError."""
        ...

    async def forget(self, now: float) -> None:
        """Let go of what is too old."""
        ...


class DeadLetters:
    """What could not be read, whoever sent it.

    Attributes:
        count: how many are kept, as of the last round or change.
        newest: the latest of them.
    """

    def __init__(self, store: DeadLetterStore) -> None:
        self._store = store
        self.count = 0
        self.newest: DeadLetter | None = None

    async def refresh(self) -> None:
        """Count again: other nodes add to them. Raises StoreUnavailableError."""
        self.count, self.newest = await self._store.summary()

    async def add(self, letter: DeadLetter) -> None:
        """Keep one. Raises StoreUnavailableError."""
        await self._store.add(letter)
        await self.refresh()

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[DeadLetter]:
        """Newest first."""
        return await self._store.page(limit=limit, cursor=cursor)

    async def get(self, letter_id: str) -> DeadLetter:
        """Raises NotFoundError."""
        return await self._store.get(letter_id)

    async def purge(self, letter_id: str = "") -> int:
        """Let go of one, or of all; returns how many. Raises NotFoundError for one that is not there."""
        gone = await self._store.purge(letter_id)
        await self.refresh()
        return gone

    async def forget(self, now: float) -> None:
        """Let go of what is too old."""
        await self._store.forget(now)
        await self.refresh()
