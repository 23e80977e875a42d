"""Who leads: a row with a holder, a time to live and a fencing token that only rises.

Time is the database's own, so that nodes need not agree on a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import literal_column, select, update

from gateway.domain.lease import Lease
from gateway.store.tables import leases

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from gateway.store.engine import Store


class Leases:
    """Leases by name; control uses one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take, or renew, the lease; None while somebody else holds it.

        Renewing keeps the fencing token. Taking it over, also from oneself after it ran out, raises it: whoever acted
        under the old one may have been replaced meanwhile.
        """
        now = self._now()
        async with self._store.write() as connection:
            # A row that nobody holds yet, so that the step below is one conditional update whoever comes first.
            fresh = self._store.upsert(leases).values(name=name, holder="", fence=0, expires_at=0.0)
            await connection.execute(fresh.on_conflict_do_nothing(index_elements=["name"]))
            row = (
                await connection.execute(
                    select(leases.c.holder, leases.c.fence, leases.c.expires_at, now.label("now"))
                    .where(leases.c.name == name)
                    .with_for_update()
                )
            ).one()
            held = row.expires_at > row.now
            if held and row.holder != holder:
                return None
            fence = row.fence if held else row.fence + 1
            expires_at = row.now + ttl_s
            await connection.execute(
                update(leases).where(leases.c.name == name).values(holder=holder, fence=fence, expires_at=expires_at)
            )
        return Lease(name=name, holder=holder, fence=fence, expires_at=expires_at)

    async def release(self, name: str, holder: str) -> None:
        """Give it up, so that the next leader need not wait; the fencing token stays."""
        async with self._store.write() as connection:
            await connection.execute(
                update(leases).where(leases.c.name == name, leases.c.holder == holder).values(expires_at=0.0)
            )

    def _now(self) -> ColumnElement[float]:
        if self._store.is_sqlite:
            return literal_column("(julianday('now') - 2440587.5) * 86400.0")
        return literal_column("extract(epoch FROM clock_timestamp())::double precision")
