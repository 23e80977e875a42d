"""What time the database's machine thinks it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from gateway.store.engine import Store


async def server_clock(store: Store) -> float | None:
    """Seconds since the epoch by the server's clock; None for SQLite, whose clock is ours. Raises SentinelError."""
    if store.is_sqlite:
        return None
    async with store.read() as connection:
        asked = await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::double precision"))
        return float(asked.scalar_one())
