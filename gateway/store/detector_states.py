"""What the detectors learned over days, kept so that a restart or another leader goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select

from gateway.store.engine import storable
from gateway.store.tables import detector_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.engine import Store


class KeptState(NamedTuple):
    """One place's."""

    route: str
    upstream: str
    version: int
    at: float  # when it was kept
    state: bytes


class DetectorStates:
    """One row per place. Raises StoreUnavailableError throughout."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, kept: KeptState) -> None:
        """In place of what was kept of it before."""
        values = {"version": kept.version, "at": kept.at, "state": kept.state}
        statement = self._store.upsert(detector_states).values(
            route=storable(kept.route), upstream=storable(kept.upstream), **values
        )
        async with self._store.write() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["route", "upstream"], set_=values))

    async def read(self, version: int, limit: int) -> Sequence[KeptState]:
        """At most so many of that version, the latest kept first."""
        columns = detector_states.c
        query = (
            select(columns.route, columns.upstream, columns.version, columns.at, columns.state)
            .where(columns.version == version)
            .order_by(columns.at.desc())
            .limit(limit)
        )
        async with self._store.read() as connection:
            return [KeptState(*row) for row in await connection.execute(query)]

    async def purge(self, kept_before: float) -> int:
        """Forget places that nobody watches any more; how many."""
        old = detector_states.c.at < kept_before
        async with self._store.write() as connection:
            return (await connection.execute(delete(detector_states).where(old))).rowcount
