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
    thread: str = ""


class MemoryStore:
    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the database is away")

    async def enqueue(
        self, dedup_key: str, channel: str, payload: str, now: float, *, due_at: float = 0.0, thread: str = ""
    ) -> bool:
        self._check()
        due_at = max(now, due_at)
        if dedup_key in self.rows:
            return False
        entry = OutboxEntry(f"n-{len(self.rows)}", dedup_key, channel, payload, now, 0, due_at)
        self.rows[dedup_key] = Row(entry, due_at, thread=thread)
        return True

    async def told(self, key_prefix: str) -> frozenset[str]:
        self._check()
        return frozenset(row.entry.channel for key, row in self.rows.items() if key.startswith(key_prefix))

    def _behind(self, row: Row) -> bool:
        """Whether something older of its thread still waits."""
        older = list(self.rows.values())[: list(self.rows.values()).index(row)]
        return bool(row.thread) and any(
            one.state == "waiting" and (one.entry.channel, one.thread) == (row.entry.channel, row.thread)
            for one in older
        )

    async def due(self, now: float, limit: int, lease_s: float, *, drawn_from: str = "") -> list[OutboxEntry]:
        self._check()
        claimed = []
        for row in sorted(self.rows.values(), key=lambda row: row.next_at):
            if drawn_from not in {"", row.entry.channel} or (not drawn_from and self._behind(row)):
                continue
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
