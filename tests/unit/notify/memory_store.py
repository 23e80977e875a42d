"""An OutboxStore in memory that can be taken away."""

from __future__ import annotations

import msgspec

from gateway.domain.outbox import OutboxEntry
from gateway.errors import StoreUnavailableError


class Row(msgspec.Struct):
    entry: OutboxEntry
    next_at: float
    state: str = "waiting"
    error: str = ""


class MemoryStore:
    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the database is away")

    async def enqueue(self, dedup_key: str, channel: str, payload: str, now: float) -> bool:
        self._check()
        if dedup_key in self.rows:
            return False
        entry = OutboxEntry(f"n-{len(self.rows)}", dedup_key, channel, payload, now, 0)
        self.rows[dedup_key] = Row(entry, now)
        return True

    async def told(self, key_prefix: str) -> frozenset[str]:
        self._check()
        return frozenset(row.entry.channel for key, row in self.rows.items() if key.startswith(key_prefix))

    async def due(self, now: float, limit: int, lease_s: float) -> list[OutboxEntry]:
        self._check()
        claimed = []
        for row in sorted(self.rows.values(), key=lambda row: row.next_at):
            if row.state == "waiting" and row.next_at <= now and len(claimed) < limit:
                row.entry = msgspec.structs.replace(row.entry, attempts=row.entry.attempts + 1)
                row.next_at = now + lease_s
                claimed.append(row.entry)
        return claimed

    async def delivered(self, entry_id: str, now: float) -> None:
        self._row(entry_id).state = "delivered"

    async def delivered_key(self, dedup_key: str, now: float) -> None:
        self._check()
        self.rows[dedup_key].state = "delivered"

    async def failed(self, entry_id: str, error: str, next_at: float) -> None:
        row = self._row(entry_id)
        row.error, row.next_at = error, next_at

    async def given_up(self, entry_id: str, error: str, now: float) -> None:
        row = self._row(entry_id)
        row.state, row.error = "given_up", error

    def _row(self, entry_id: str) -> Row:
        self._check()
        return next(row for row in self.rows.values() if row.entry.id == entry_id)
