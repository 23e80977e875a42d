"""Directives in force, so that a new leader takes over what the old one had ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select, update

from gateway.domain.snapshot import Directive
from gateway.store.tables import directives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.engine import Store

MAX_ACTIVE = 1_000
KEPT_S = 86_400.0  # a day after its end nobody takes a directive over any more; the incident tells the story

_decode = msgspec.json.Decoder(Directive).decode


class Directives:
    """Directives of all incidents and health checks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, directive: Directive) -> None:
        """Keep a directive or its newer form; one with a lower fencing token than is kept changes nothing."""
        statement = self._store.upsert(directives).values(
            id=directive.id,
            action_id=directive.action_id,
            fence=directive.fence,
            expires_at=directive.expires_at,
            withdrawn=False,
            document=msgspec.json.encode(directive).decode(),
        )
        async with self._store.write() as connection:
            await connection.execute(delete(directives).where(directives.c.expires_at < directive.issued_at - KEPT_S))
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["id"],
                    set_={name: statement.excluded[name] for name in ("action_id", "fence", "expires_at", "document")},
                    where=directives.c.fence <= statement.excluded.fence,
                )
            )

    async def withdraw(self, directive_id: str) -> None:
        """Take it back before its time; a withdrawn directive never returns. Unknown ids change nothing."""
        async with self._store.write() as connection:
            await connection.execute(update(directives).where(directives.c.id == directive_id).values(withdrawn=True))

    async def active(self, now: float) -> Sequence[Directive]:
        """What is in force."""
        columns = directives.c
        query = (
            select(columns.document)
            .where(columns.expires_at > now, columns.withdrawn.is_(False))
            .order_by(columns.expires_at, columns.id)
            .limit(MAX_ACTIVE)
        )
        async with self._store.read() as connection:
            return [_decode(document) for document in (await connection.scalars(query)).all()]
