"""Revoked tokens and certificates, by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from gateway.domain.revocation import MOST_REVOCATIONS, Revocation
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store import cursors
from gateway.store.tables import revocations

if TYPE_CHECKING:
    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store


class Revocations:
    """All of them; what has expired is as good as gone, and goes with the next one that is added."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, revocation: Revocation) -> None:
        """Add one; of the same id the new one stands. Raises InvalidInputError when there are too many."""
        columns = revocations.c
        async with self._store.write() as connection:
            await connection.execute(
                delete(revocations).where((columns.expires_at <= revocation.created_at) | (columns.id == revocation.id))
            )
            found = await connection.scalar(select(func.count()).select_from(revocations))
            if found is not None and found >= MOST_REVOCATIONS:
                raise InvalidInputError(
                    f"{MOST_REVOCATIONS} ids are revoked already",
                    field="id",
                    remedy="change the signing secret instead, which revokes every token",
                )
            await connection.execute(
                revocations.insert().values(
                    id=revocation.id,
                    created_at=revocation.created_at,
                    expires_at=revocation.expires_at,
                    reason=revocation.reason,
                )
            )

    async def page(self, now: float, *, limit: int = 50, cursor: str = "") -> Page[Revocation]:
        """Those in force at ``now``, newest first."""
        columns = revocations.c
        limit = cursors.clamp(limit)
        query = select(revocations).where(columns.expires_at > now)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(columns.created_at, columns.id, place))
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _revocation, lambda row: (row.created_at, row.id))

    async def lift(self, revoked_id: str) -> None:
        """Take one back. Raises NotFoundError."""
        async with self._store.write() as connection:
            done = await connection.execute(delete(revocations).where(revocations.c.id == revoked_id))
        if done.rowcount == 0:
            raise NotFoundError(f"{revoked_id!r} is not revoked")

    async def in_force(self, now: float) -> frozenset[str]:
        """Every id workers must refuse at ``now``."""
        wanted = select(revocations.c.id).where(revocations.c.expires_at > now)
        async with self._store.read() as connection:
            return frozenset((await connection.scalars(wanted)).all())


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(id=row.id, created_at=row.created_at, expires_at=row.expires_at, reason=row.reason)
