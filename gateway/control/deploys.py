"""The desk for deploys: they are kept, and at once among the changes that diagnosis looks at."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.control.changes import StoredChanges
    from gateway.domain.deploy import Deploy
    from gateway.domain.paging import Page


class DeployStore(Protocol):
    """Where deploys are kept."""

    async def save(self, deploy: Deploy) -> bool:
        """False where it was told before."""
        ...

    async def delete(self, deploy_id: str) -> Deploy:
        """Raises NotFoundError."""
        ...

    async def page(self, *, service: str = "", limit: int = 50, cursor: str = "") -> Page[Deploy]:
        """Newest first."""
        ...

    async def between(self, start: float, end: float, *, limit: int = 100) -> Sequence[Deploy]:
        """The latest of a stretch of time, newest first."""
        ...

    async def purge(self, before: float) -> None:
        """Forget what is older."""
        ...


class Deploys:
    """Deploys.

    Args:
        store: where they are kept.
        changes: brings them before diagnosis.
    """

    def __init__(self, store: DeployStore, changes: StoredChanges) -> None:
        self._store = store
        self._changes = changes

    async def add(self, deploy: Deploy) -> bool:
        """Keep one; False where it was told before."""
        added = await self._store.save(deploy)
        await self._learn()
        return added

    async def delete(self, deploy_id: str) -> Deploy:
        """Forget one that was told by mistake. Raises NotFoundError."""
        gone = await self._store.delete(deploy_id)
        await self._learn()
        return gone

    async def _learn(self) -> None:
        with contextlib.suppress(StoreUnavailableError):  # the next round tries again
            await self._changes.refresh()

    async def page(self, *, service: str = "", limit: int = 50, cursor: str = "") -> Page[Deploy]:
        """Newest first; of one service, or of all."""
        return await self._store.page(service=service, limit=limit, cursor=cursor)

    async def purge(self, before: float) -> None:
        """Forget what is older."""
        await self._store.purge(before)

    async def between(self, start: float, end: float) -> Sequence[Deploy]:
        """The latest of a stretch of time, newest first."""
        return await self._store.between(start, end)
