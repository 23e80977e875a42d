"""The event log: events are added and read, and go when their retention is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, func, select

from gateway.domain.event import RANK, Agent, Event, EventFilter, EventSeverity, Fact
from gateway.store import cursors
from gateway.store.engine import storable
from gateway.store.tables import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row, Select

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

PURGE_ROWS = 5_000  # per transaction: a writer never waits long for a purge
MOST_AGENTS = 200
_SEVERITIES = tuple(EventSeverity)
_decode_fields = msgspec.json.Decoder(dict[str, Fact]).decode


class Events:
    """Events of all agents and tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, new: Sequence[Event]) -> int:
        """Keep them in one transaction; how many were new. One that is known already stays as it is."""
        if not new:
            return 0
        statement = self._store.upsert(events).on_conflict_do_nothing().returning(events.c.number)
        async with self._store.write() as connection:
            return len((await connection.execute(statement, [_values(event) for event in new])).all())

    async def page(self, wanted: EventFilter) -> Page[Event]:
        """Newest first, by the time they happened."""
        limit = cursors.clamp(wanted.limit)
        query = _where(wanted).order_by(events.c.at.desc(), events.c.number.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _event, lambda row: (row.at, str(row.number)))

    async def agents(self, since: float, *, tenant: str | None = None) -> Sequence[Agent]:
        """Who reported something that arrived since then, the latest first."""
        columns = events.c
        last, count = func.max(columns.received_at), func.count()
        query = select(columns.agent_id, columns.tenant_id, count, last).where(columns.received_at >= since)
        if tenant is not None:
            query = query.where(columns.tenant_id == tenant)
        query = query.group_by(columns.agent_id, columns.tenant_id).order_by(last.desc(), columns.agent_id)
        async with self._store.read() as connection:
            return [Agent(*row) for row in (await connection.execute(query.limit(MOST_AGENTS))).all()]

    async def purge(self, before: float) -> int:
        """Delete what arrived before that time, in bounded chunks; how many rows went."""
        gone = 0
        while True:
            oldest = select(events.c.number).where(events.c.received_at < before).limit(PURGE_ROWS)
            async with self._store.write() as connection:
                result = await connection.execute(delete(events).where(events.c.number.in_(oldest)))
            gone += result.rowcount
            if result.rowcount < PURGE_ROWS:
                return gone


def _where(wanted: EventFilter) -> Select[Any]:
    columns = events.c
    query = select(events).where(columns.agent_id == wanted.agent_id)
    if wanted.tenant is not None:
        query = query.where(columns.tenant_id == wanted.tenant)
    if wanted.kind.endswith("."):
        query = query.where(columns.kind.startswith(wanted.kind, autoescape=True))
    elif wanted.kind:
        query = query.where(columns.kind == wanted.kind)
    if wanted.severity is not None:
        query = query.where(columns.severity >= RANK[wanted.severity])
    if wanted.since:
        query = query.where(columns.at >= wanted.since)
    if wanted.until:
        query = query.where(columns.at < wanted.until)
    if wanted.trace_id:
        query = query.where(columns.trace_id == wanted.trace_id)
    if (place := cursors.decode(wanted.cursor)) is not None:
        query = query.where(cursors.older(columns.at, columns.number, (place[0], cursors.number(place))))
    return query


def _values(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "tenant_id": storable(event.tenant),
        "agent_id": event.agent_id,
        "kind": event.kind,
        "severity": RANK[event.severity],
        "at": event.at,
        "received_at": event.received_at,
        "message": storable(event.message),
        "fields": storable(msgspec.json.encode(event.fields).decode()),
        "trace_id": event.trace_id,
    }


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        agent_id=row.agent_id,
        kind=row.kind,
        severity=_SEVERITIES[row.severity],
        at=row.at,
        received_at=row.received_at,
        message=row.message,
        fields=_decode_fields(row.fields),
        tenant=row.tenant_id,
        trace_id=row.trace_id,
    )
