"""Runbooks, and the full-text search over them: FTS5 on SQLite, tsvector on PostgreSQL, one face for both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, select, text

from gateway.domain.runbook import Match, Runbook
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store import cursors
from gateway.store.engine import storable
from gateway.store.tables import runbooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

MOST = 1000
MOST_WORDS = 30
_decode = msgspec.json.Decoder(Runbook).decode

# The title counts three times the body, and what it is for twice.
_SEARCH = {
    True: (
        "SELECT s.id, -bm25(runbooks_search, 0.0, 3.0, 2.0, 1.0) AS score FROM runbooks_search AS s "
        "WHERE runbooks_search MATCH :query ORDER BY score DESC LIMIT :most"
    ),
    False: (
        "SELECT id, ts_rank('{0.1, 0.33, 0.66, 1.0}', words, to_tsquery('english', :query)) AS score "
        "FROM runbooks_search WHERE words @@ to_tsquery('english', :query) ORDER BY score DESC LIMIT :most"
    ),
}
_ADD = {
    True: "INSERT INTO runbooks_search (id, title, about, body) VALUES (:id, :title, :about, :body)",
    False: (
        "INSERT INTO runbooks_search (id, words) VALUES (:id, setweight(to_tsvector('english', :title), 'A') || "
        "setweight(to_tsvector('english', :about), 'B') || setweight(to_tsvector('english', :body), 'C'))"
    ),
}


class Runbooks:
    """Runbooks of the operator."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, runbook: Runbook) -> None:
        """Keep it in place of one of the same id. Raises InvalidInputError when there are too many."""
        columns = runbooks.c
        async with self._store.write() as connection:
            known = (await connection.scalars(select(columns.id).limit(MOST + 1))).all()
            if runbook.id not in known and len(known) >= MOST:
                raise InvalidInputError(f"there are {MOST} runbooks, the most that are kept", remedy="delete one")
            await self._remove(connection, runbook.id)
            await connection.execute(
                runbooks.insert().values(
                    id=runbook.id,
                    source=runbook.source,
                    updated_at=runbook.updated_at,
                    document=msgspec.json.encode(runbook).decode(),
                )
            )
            if not runbook.error:
                about = " ".join((*runbook.services, *runbook.signals, *runbook.actions)).replace("_", " ")
                values = {"id": runbook.id, "title": runbook.title, "about": about, "body": runbook.body}
                values = {name: storable(value) for name, value in values.items()}
                await connection.execute(text(_ADD[self._store.is_sqlite]), values)

    async def delete(self, runbook_id: str) -> None:
        """Raises NotFoundError."""
        async with self._store.write() as connection:
            if not await self._remove(connection, runbook_id):
                raise NotFoundError(f"there is no runbook {runbook_id!r}")

    async def _remove(self, connection: AsyncConnection, runbook_id: str) -> bool:
        await connection.execute(text("DELETE FROM runbooks_search WHERE id = :id"), {"id": runbook_id})
        return (await connection.execute(delete(runbooks).where(runbooks.c.id == runbook_id))).rowcount > 0

    async def get(self, runbook_id: str) -> Runbook:
        """Raises NotFoundError."""
        async with self._store.read() as connection:
            document = await connection.scalar(select(runbooks.c.document).where(runbooks.c.id == runbook_id))
        if document is None:
            raise NotFoundError(f"there is no runbook {runbook_id!r}")
        return _decode(document)

    async def of_files(self) -> Sequence[Runbook]:
        """All that came out of a folder."""
        return await self.of_source("file")

    async def of_source(self, source: str) -> Sequence[Runbook]:
        """All that came from there: "file", "api", "elasticsearch"."""
        async with self._store.read() as connection:
            documents = await connection.scalars(select(runbooks.c.document).where(runbooks.c.source == source))
            return [_decode(document) for document in documents]

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Runbook]:
        """The one changed last comes first."""
        columns = runbooks.c
        limit = cursors.clamp(limit)
        query = select(columns.id, columns.updated_at, columns.document)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(columns.updated_at, columns.id, place))
        query = query.order_by(columns.updated_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, lambda row: _decode(row.document), lambda row: (row.updated_at, row.id))

    async def search(self, wanted: Iterable[str], *, most: int = 10) -> Sequence[Match]:
        """Runbooks that hold any of these words, the best first; what stands in a word beside letters is left out."""
        words = tuple(dict.fromkeys(word for one in wanted for word in re.findall(r"[^\W_]+", one.lower())))
        words = words[:MOST_WORDS]
        if not words:
            return ()
        query = " OR ".join(f'"{word}"' for word in words) if self._store.is_sqlite else " | ".join(words)
        async with self._store.read() as connection:
            found = await connection.execute(text(_SEARCH[self._store.is_sqlite]), {"query": query, "most": most})
            scores = {str(row.id): float(row.score) for row in found}
            documents = (
                await connection.scalars(select(runbooks.c.document).where(runbooks.c.id.in_(list(scores))))
            ).all()
        matches = [_match(_decode(document), scores, words) for document in documents]
        return sorted(matches, key=lambda one: (-one.score, one.runbook.id))


def _match(runbook: Runbook, scores: dict[str, float], words: tuple[str, ...]) -> Match:
    told: Any = " ".join((runbook.title, *runbook.services, *runbook.signals, *runbook.actions, runbook.body)).lower()
    return Match(runbook, scores[runbook.id], tuple(word for word in words if word in told))
