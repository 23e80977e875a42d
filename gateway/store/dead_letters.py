"""Bodies that could not be read: bounded in number, age and length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from gateway.domain.dead_letter import KEPT_S, MOST_CHARACTERS, MOST_DEAD_LETTERS, DeadLetter
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.engine import storable
from gateway.store.tables import dead_letters

if TYPE_CHECKING:
    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store


class DeadLetters:
    """The newest 500 of the last 30 days."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, letter: DeadLetter) -> None:
        """Keep one, in place of the oldest where there are too many."""
        columns = dead_letters.c
        newest = (
            select(columns.id).order_by(columns.at.desc(), columns.id.desc()).limit(MOST_DEAD_LETTERS).scalar_subquery()
        )
        async with self._store.write() as connection:
            await connection.execute(
                dead_letters.insert().values(
                    id=letter.id,
                    at=letter.at,
                    source=letter.source,
                    field=storable(letter.field),
                    reason=storable(letter.reason),
                    size_bytes=letter.size_bytes,
                    body=storable(letter.body[:MOST_CHARACTERS]),
                )
            )
            await connection.execute(delete(dead_letters).where(columns.at < letter.at - KEPT_S))
            await connection.execute(delete(dead_letters).where(columns.id.not_in(newest)))

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[DeadLetter]:
        """Newest first, each with its body."""
        columns = dead_letters.c
        limit = cursors.clamp(limit)
        query = select(dead_letters)
        if (place := cursors.decode(cursor)) is not None:
            query = query.where(cursors.older(columns.at, columns.id, place))
        query = query.order_by(columns.at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _letter, lambda row: (row.at, row.id))

    async def get(self, letter_id: str) -> DeadLetter:
        """Raises NotFoundError."""
        async with self._store.read() as connection:
            row = (await connection.execute(select(dead_letters).where(dead_letters.c.id == letter_id))).first()
        if row is None:
            raise NotFoundError(f"there is no dead letter {letter_id!r}")
        return _letter(row)

    async def summary(self) -> tuple[int, DeadLetter | None]:
        """How many there are, and the newest."""
        columns = dead_letters.c
        newest = select(dead_letters).order_by(columns.at.desc(), columns.id.desc()).limit(1)
        async with self._store.read() as connection:
            count = (await connection.scalar(select(func.count()).select_from(dead_letters))) or 0
            row = (await connection.execute(newest)).first()
        return count, _letter(row) if row is not None else None

    async def purge(self, letter_id: str = "") -> int:
        """Let go of one, or of all; returns how many. Raises NotFoundError for one that is not there."""
        unwanted = delete(dead_letters)
        if letter_id:
            unwanted = unwanted.where(dead_letters.c.id == letter_id)
        async with self._store.write() as connection:
            gone = (await connection.execute(unwanted)).rowcount
        if letter_id and not gone:
            raise NotFoundError(f"there is no dead letter {letter_id!r}")
        return gone

    async def forget(self, now: float) -> None:
        """Let go of what is too old."""
        async with self._store.write() as connection:
            await connection.execute(delete(dead_letters).where(dead_letters.c.at < now - KEPT_S))


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        at=row.at,
        source=row.source,
        field=row.field,
        reason=row.reason,
        size_bytes=row.size_bytes,
        body=row.body,
    )
