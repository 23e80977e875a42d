"""The audit trail: lines are added and read, never changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from gateway.domain.audit import AuditEntry
from gateway.store import cursors
from gateway.store.engine import storable
from gateway.store.tables import audit

if TYPE_CHECKING:
    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

_decode_detail = msgspec.json.Decoder(dict[str, str]).decode


class Audit:
    """The trail of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, entry: AuditEntry) -> None:
        """Add one line. The very same line, carried over twice from a journal, is kept once."""
        statement = self._store.upsert(audit).values(
            id=hashlib.sha256(msgspec.json.encode(entry)).hexdigest(),
            tenant_id=storable(entry.tenant),
            at=entry.at,
            actor=storable(entry.actor),
            verb=entry.verb,
            subject=storable(entry.subject),
            detail=msgspec.json.encode(entry.detail).decode(),
        )
        async with self._store.write() as connection:
            await connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[AuditEntry]:
        """Newest first."""
        columns = audit.c
        limit = cursors.clamp(limit)
        query = select(audit)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(columns.at, columns.number, (place[0], cursors.number(place))))
        query = query.order_by(columns.at.desc(), columns.number.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _entry, lambda row: (row.at, str(row.number)))


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        at=row.at,
        actor=row.actor,
        verb=row.verb,
        subject=row.subject,
        tenant=row.tenant_id,
        detail=_decode_detail(row.detail),
    )
