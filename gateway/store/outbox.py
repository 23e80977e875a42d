"""Notifications that wait for delivery: kept once per key, claimed with a lease, ended once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from gateway.domain.outbox import OutboxEntry, Undelivered
from gateway.store.engine import storable
from gateway.store.tables import outbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.store.engine import Store

WAITING = "waiting"
DELIVERED = "delivered"
GIVEN_UP = "given_up"
ERROR_CHARACTERS = 500
_CLAIMED = ("id", "dedup_key", "channel", "payload", "created_at", "attempts", "due_at")


class Outbox:
    """The outbox of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def enqueue(
        self, dedup_key: str, channel: str, payload: str, now: float, *, due_at: float = 0.0, thread: str = ""
    ) -> bool:
        """Keep a message; False, and nothing changes, when ``dedup_key`` was ever enqueued before."""
        due_at = max(now, due_at)
        statement = self._store.upsert(outbox).values(
            id=uuid.uuid4().hex,
            dedup_key=storable(dedup_key),
            channel=channel,
            payload=storable(payload),
            state=WAITING,
            created_at=now,
            next_at=due_at,
            ended_at=0.0,
            attempts=0,
            error="",
            thread=storable(thread),
            due_at=due_at,
        )
        async with self._store.write() as connection:
            done = await connection.execute(statement.on_conflict_do_nothing(index_elements=["dedup_key"]))
            return done.rowcount == 1

    async def told(self, key_prefix: str) -> frozenset[str]:
        """The channels of all entries, in whatever state, whose ``dedup_key`` begins with ``key_prefix``."""
        query = select(outbox.c.channel).where(outbox.c.dedup_key.startswith(storable(key_prefix), autoescape=True))
        async with self._store.read() as connection:
            return frozenset((await connection.scalars(query.distinct())).all())

    async def due(self, now: float, limit: int, lease_s: float, *, drawn_from: str = "") -> Sequence[OutboxEntry]:
        """Claim at most ``limit`` due entries, oldest due time first; they are due again after ``lease_s``.

        What stands in a thread comes only once nothing older of it waits in the same channel; but everything of the
        channel ``drawn_from`` comes at once. PostgreSQL skips rows another claimer holds; SQLite has one writer.
        """
        columns, before = outbox.c, outbox.alias("before")
        chosen = select(*(columns[name] for name in _CLAIMED)).where(columns.state == WAITING, columns.next_at <= now)
        if drawn_from:
            chosen = chosen.where(columns.channel == drawn_from)
        else:
            is_older = (before.c.created_at < columns.created_at) | (
                (before.c.created_at == columns.created_at) & (before.c.id < columns.id)
            )
            older = select(before.c.id).where(
                before.c.state == WAITING,
                before.c.channel == columns.channel,
                before.c.thread == columns.thread,
                is_older,
            )
            chosen = chosen.where((columns.thread == "") | ~older.exists())
        chosen = chosen.order_by(columns.next_at, columns.id).limit(limit).with_for_update(skip_locked=True)
        async with self._store.write() as connection:
            entries = [
                OutboxEntry(
                    id=row.id,
                    dedup_key=row.dedup_key,
                    channel=row.channel,
                    payload=row.payload,
                    created_at=row.created_at,
                    attempts=row.attempts + 1,
                    due_at=row.due_at,
                )
                for row in await connection.execute(chosen)
            ]
            if entries:
                await connection.execute(
                    update(outbox)
                    .where(columns.id.in_([entry.id for entry in entries]))
                    .values(attempts=columns.attempts + 1, next_at=now + lease_s)
                )
        return entries

    async def delivered(self, entry_id: str, now: float) -> None:
        """The channel took it: never due again."""
        await self._end(entry_id, DELIVERED, "", now)

    async def delivered_key(self, dedup_key: str, now: float) -> None:
        """The same, told by key: for what was delivered while the store was away."""
        async with self._store.write() as connection:
            await connection.execute(
                update(outbox)
                .where(outbox.c.dedup_key == storable(dedup_key), outbox.c.state == WAITING)
                .values(state=DELIVERED, ended_at=now)
            )

    async def failed(self, entry_id: str, error: str, next_at: float) -> None:
        """Not this time: due again at ``next_at``; ``error`` is shown to people."""
        async with self._store.write() as connection:
            await connection.execute(
                update(outbox)
                .where(outbox.c.id == entry_id, outbox.c.state == WAITING)
                .values(next_at=next_at, error=storable(error)[:ERROR_CHARACTERS])
            )

    async def given_up(self, entry_id: str, error: str, now: float) -> None:
        """Never due again, kept for people to see."""
        await self._end(entry_id, GIVEN_UP, error, now)

    async def counts(self) -> Mapping[str, int]:
        """How many entries are waiting, delivered and given_up."""
        query = select(outbox.c.state, func.count()).group_by(outbox.c.state)
        async with self._store.read() as connection:
            found = {row[0]: int(row[1]) for row in await connection.execute(query)}
        return {state: found.get(state, 0) for state in (WAITING, DELIVERED, GIVEN_UP)}

    async def undelivered(self, limit: int) -> Sequence[Undelivered]:
        """What was given up, or failed and waits, newest first."""
        columns = outbox.c
        failed = (columns.state == GIVEN_UP) | ((columns.state == WAITING) & (columns.error != ""))
        query = (
            select(
                columns.dedup_key, columns.channel, columns.created_at, columns.attempts, columns.state, columns.error
            )
            .where(failed)
            .order_by(columns.created_at.desc(), columns.id)
            .limit(limit)
        )
        async with self._store.read() as connection:
            return [
                Undelivered(row[0], row[1], row[2], row[3], given_up=row[4] == GIVEN_UP, error=row[5])
                for row in await connection.execute(query)
            ]

    async def purge(self, ended_before: float) -> int:
        """Delete what was delivered or given up before then; how many rows went."""
        ended = (outbox.c.state != WAITING) & (outbox.c.ended_at < ended_before)
        async with self._store.write() as connection:
            return (await connection.execute(delete(outbox).where(ended))).rowcount

    async def _end(self, entry_id: str, state: str, error: str, now: float) -> None:
        async with self._store.write() as connection:
            await connection.execute(
                update(outbox)
                .where(outbox.c.id == entry_id, outbox.c.state == WAITING)
                .values(state=state, error=storable(error)[:ERROR_CHARACTERS], ended_at=now)
            )
