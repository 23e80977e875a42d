"""Silences that people made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, func, select, update

from gateway.domain.silence import MOST_SILENCES, Matcher, Silence
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store import cursors
from gateway.store.engine import storable
from gateway.store.tables import silences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

KEPT_S = 30 * 86_400.0  # after their end: who kept quiet what is asked later
_decode = msgspec.json.Decoder(Matcher).decode


class Silences:
    """In force, to come, and for a month those that ended."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, silence: Silence) -> None:
        """Add one. Raises InvalidInputError when there are too many."""
        columns = silences.c
        async with self._store.write() as connection:
            await connection.execute(delete(silences).where(columns.ends_at < silence.created_at - KEPT_S))
            count = select(func.count()).select_from(silences).where(columns.ends_at > silence.created_at)
            if ((await connection.scalar(count)) or 0) >= MOST_SILENCES:
                raise InvalidInputError(f"there are {MOST_SILENCES} silences already", remedy="end some of them first")
            await connection.execute(
                silences.insert().values(
                    id=silence.id,
                    created_at=silence.created_at,
                    starts_at=silence.starts_at,
                    ends_at=silence.ends_at,
                    who=storable(silence.who),
                    why=storable(silence.why),
                    matcher=msgspec.json.encode(silence.matcher).decode(),
                )
            )

    async def end(self, silence_id: str, now: float) -> Silence:
        """End one at once. Raises NotFoundError for one that has ended or never was."""
        columns = silences.c
        mine = (columns.id == silence_id) & (columns.ends_at > now)
        async with self._store.write() as connection:
            row = (await connection.execute(select(silences).where(mine))).first()
            if row is None:
                raise NotFoundError(f"there is no silence {silence_id!r} in force or to come")
            await connection.execute(update(silences).where(mine).values(ends_at=now))
        return msgspec.structs.replace(_silence(row), ends_at=now)

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Silence]:
        """All that are kept, newest first."""
        columns = silences.c
        limit = cursors.clamp(limit)
        query = select(silences)
        if (place := cursors.decode(cursor)) is not None:
            query = query.where(cursors.older(columns.created_at, columns.id, place))
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _silence, lambda row: (row.created_at, row.id))

    async def not_over(self, now: float) -> Sequence[Silence]:
        """Those in force and to come."""
        query = select(silences).where(silences.c.ends_at > now).order_by(silences.c.starts_at).limit(MOST_SILENCES)
        async with self._store.read() as connection:
            return [_silence(row) for row in await connection.execute(query)]


def _silence(row: Row[Any]) -> Silence:
    return Silence(
        id=row.id,
        matcher=_decode(row.matcher),
        created_at=row.created_at,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        who=row.who,
        why=row.why,
    )
