"""What the first message about an incident is called in each channel that keeps threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from gateway.store.engine import storable
from gateway.store.tables import notification_threads

if TYPE_CHECKING:
    from gateway.store.engine import Store


class NotificationThreads:
    """All of them. Raises StoreUnavailableError throughout."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reference(self, channel: str, incident_id: str) -> str:
        """Empty where there is none."""
        columns = notification_threads.c
        query = select(columns.reference).where(columns.channel == channel, columns.incident_id == incident_id)
        async with self._store.read() as connection:
            return str(await connection.scalar(query) or "")

    async def keep(self, channel: str, incident_id: str, reference: str, now: float) -> None:
        """Remember it; a later one stands in for an earlier one, whose message somebody deleted."""
        values = {"reference": storable(reference), "created_at": now}
        statement = self._store.upsert(notification_threads).values(
            channel=channel, incident_id=storable(incident_id), **values
        )
        async with self._store.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["channel", "incident_id"], set_=values)
            )

    async def purge(self, created_before: float) -> int:
        """Forget those of long ago; how many."""
        old = notification_threads.c.created_at < created_before
        async with self._store.write() as connection:
            return (await connection.execute(delete(notification_threads).where(old))).rowcount
