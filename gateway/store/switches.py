"""The switch that stops all actions, for every node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.domain.stop import Stop
from gateway.store.engine import storable
from gateway.store.tables import switches

if TYPE_CHECKING:
    from gateway.store.engine import Store

_ACTIONS = "actions"


class Switches:
    """One row; of two turns, the later one stays."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def turn(self, stop: Stop) -> None:
        """Keep how it was turned, unless it was turned later than that."""
        statement = self._store.upsert(switches).values(
            name=_ACTIONS, on=stop.on, by=storable(stop.by), at=stop.at, why=storable(stop.why)
        )
        async with self._store.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"],
                    set_={name: statement.excluded[name] for name in ("on", "by", "at", "why")},
                    where=switches.c.at <= statement.excluded["at"],
                )
            )

    async def read(self) -> Stop:
        """As it was last turned."""
        columns = switches.c
        query = select(columns.on, columns.by, columns.at, columns.why).where(columns.name == _ACTIONS)
        async with self._store.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return Stop() if row is None else Stop(on=row[0], by=row[1], at=row[2], why=row[3])
