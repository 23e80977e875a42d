"""Alerts of other monitoring: those that fire, and for a month those that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, select

from gateway.domain.incident import ExternalAlert
from gateway.store import cursors
from gateway.store.tables import external_alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

KEPT_S = 30 * 86_400.0  # after they were last heard of
MOST_FIRING = 2000  # read back; more than anybody can look at
_CHANGED = ("heard_at", "ended_at", "document")

_decode = msgspec.json.Decoder(ExternalAlert).decode


class ExternalAlerts:
    """Every alert by its fingerprint; what was heard last counts, whoever saves it when."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, alerts: Iterable[ExternalAlert]) -> None:
        """Keep these unless something newer is kept already."""
        columns = external_alerts.c
        rows = [
            {
                "fingerprint": alert.fingerprint,
                "heard_at": alert.heard_at,
                "ended_at": alert.ended_at or 0.0,
                "document": msgspec.json.encode(alert).decode(),  # a NUL within is an escape here
            }
            for alert in alerts
        ]
        if not rows:
            return
        statement = self._store.upsert(external_alerts)
        newer = statement.on_conflict_do_update(
            index_elements=["fingerprint"],
            set_={name: statement.excluded[name] for name in _CHANGED},
            where=columns.heard_at <= statement.excluded.heard_at,
        )
        async with self._store.write() as connection:
            await connection.execute(newer, rows)

    async def known(self, since: float) -> Sequence[ExternalAlert]:
        """Those that fire, and those that ended after that time; the latest heard of first."""
        columns = external_alerts.c
        query = (
            select(columns.document)
            .where((columns.ended_at == 0) | (columns.ended_at > since))
            .order_by(columns.heard_at.desc(), columns.fingerprint)
            .limit(MOST_FIRING)
        )
        async with self._store.read() as connection:
            return [_decode(document) for document in await connection.scalars(query)]

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ExternalAlert]:
        """All that are kept, the latest heard of first."""
        columns = external_alerts.c
        limit = cursors.clamp(limit)
        query = select(external_alerts)
        if (place := cursors.decode(cursor)) is not None:
            query = query.where(cursors.older(columns.heard_at, columns.fingerprint, place))
        query = query.order_by(columns.heard_at.desc(), columns.fingerprint.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _alert, lambda row: (row.heard_at, row.fingerprint))

    async def purge(self, now: float) -> None:
        """Forget what ended long ago."""
        columns = external_alerts.c
        async with self._store.write() as connection:
            await connection.execute(
                delete(external_alerts).where((columns.ended_at > 0) & (columns.heard_at < now - KEPT_S))
            )


def _alert(row: Row[Any]) -> ExternalAlert:
    return _decode(row.document)
