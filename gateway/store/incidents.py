"""Incidents: saved whole, found by a few columns, never going back in version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from gateway.domain.incident import Incident, IncidentState
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.actions import save_actions
from gateway.store.engine import storable
from gateway.store.tables import actions, incidents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

MAX_OPEN = 1_000  # far more than anyone can look at; keeps a start bounded

_decode = msgspec.json.Decoder(Incident).decode


class Incidents:
    """Incidents of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, incident: Incident) -> None:
        """Keep this version unless a newer one is kept already. Saving twice is saving once."""
        statement = self._store.upsert(incidents).values(
            id=incident.id,
            tenant_id=storable(incident.tenant),
            dedup_key=storable(incident.dedup_key),
            state=str(incident.state),
            severity=str(incident.severity),
            opened_at=incident.opened_at,
            version=incident.version,
            # A NUL within is harmless here: JSON writes it as an escape.
            document=msgspec.json.encode(incident).decode(),
        )
        newer = statement.on_conflict_do_update(
            index_elements=["id"],
            set_={
                name: statement.excluded[name]
                for name in ("tenant_id", "dedup_key", "state", "severity", "opened_at", "version", "document")
            },
            where=incidents.c.version < statement.excluded.version,
        )
        async with self._store.write() as connection:
            await connection.execute(newer)
            await save_actions(self._store, connection, incident.actions, incident.updated_at)

    async def get(self, incident_id: str) -> Incident:
        """Raises NotFoundError."""
        async with self._store.read() as connection:
            document = await connection.scalar(select(incidents.c.document).where(incidents.c.id == incident_id))
        if document is None:
            raise NotFoundError(f"there is no incident {incident_id!r}")
        return _decode(document)

    async def of_action(self, action_id: str) -> Incident:
        """The incident an action belongs to. Raises NotFoundError."""
        query = (
            select(incidents.c.document)
            .join(actions, actions.c.incident_id == incidents.c.id)
            .where(actions.c.id == action_id)
        )
        async with self._store.read() as connection:
            document = await connection.scalar(query)
        if document is None:
            raise NotFoundError(f"there is no action {action_id!r}")
        return _decode(document)

    async def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED, oldest first, for control's start."""
        query = (
            select(incidents.c.document)
            .where(incidents.c.state != str(IncidentState.CLOSED))
            .order_by(incidents.c.opened_at.desc())
            .limit(MAX_OPEN)
        )
        async with self._store.read() as connection:
            documents = (await connection.scalars(query)).all()
        return [_decode(document) for document in reversed(documents)]

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        """Newest first. ``state`` is an IncidentState, "open" for everything not CLOSED, or empty for all."""
        columns = incidents.c
        limit = cursors.clamp(limit)
        query = select(columns.id, columns.opened_at, columns.document)
        if state == "open":
            query = query.where(columns.state != str(IncidentState.CLOSED))
        elif state:
            query = query.where(columns.state == state)
        if severity:
            query = query.where(columns.severity == severity)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(columns.opened_at, columns.id, place))
        query = query.order_by(columns.opened_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, lambda row: _decode(row.document), lambda row: (row.opened_at, row.id))
