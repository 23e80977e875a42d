"""Configurations that were in force, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from gateway.domain.audit import ConfigRevision
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.tables import config_revisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from gateway.store.engine import Store


class Revisions:
    """The configuration's history."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, text: str, actor: str, note: str, at: float) -> ConfigRevision:
        """Record a configuration under the next number. Raises ConflictError when another was recorded meanwhile."""
        async with self._store.write() as connection:
            latest = await connection.scalar(select(func.max(config_revisions.c.revision)))
            revision = ConfigRevision(revision=(latest or 0) + 1, at=at, actor=actor, text=text, note=note)
            await connection.execute(
                config_revisions.insert().values(revision=revision.revision, at=at, actor=actor, text=text, note=note)
            )
        return revision

    async def latest(self) -> ConfigRevision | None:
        """The newest configuration, or None at the very beginning."""
        found = await self.history(limit=1)
        return found[0] if found else None

    async def get(self, revision: int) -> ConfigRevision:
        """Raises NotFoundError."""
        async with self._store.read() as connection:
            query = select(config_revisions).where(config_revisions.c.revision == revision)
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFoundError(f"there is no configuration revision {revision}")
        return _revision(row)

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        """Newest first."""
        query = select(config_revisions).order_by(config_revisions.c.revision.desc()).limit(cursors.clamp(limit))
        async with self._store.read() as connection:
            return [_revision(row) for row in await connection.execute(query)]


def _revision(row: Row[Any]) -> ConfigRevision:
    return ConfigRevision(revision=row.revision, at=row.at, actor=row.actor, text=row.text, note=row.note)
