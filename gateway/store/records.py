"""Request records: shipped in bulk, searched, and purged when their time is over.

Shipping is the hot path of control, so it goes through the drivers themselves: COPY on PostgreSQL, one prepared
statement over tuples on SQLite. SQLAlchemy's work per row would cost more than the database's.
"""

from __future__ import annotations

import sqlite3
from time import time
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from sqlalchemy import Select, delete, or_, select

from gateway import logs
from gateway.domain.traffic import RECORD_FIELDS, RequestRecord, SpoolPosition
from gateway.errors import ConflictError, NotFoundError
from gateway.store import cursors
from gateway.store.buckets import add_to_rows
from gateway.store.tables import buckets, requests, spool_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.domain.paging import Page, RequestFilter
    from gateway.domain.shipment import Shipment
    from gateway.store.engine import Store

COLUMNS = tuple("tenant_id" if name == "tenant" else name for name in RECORD_FIELDS)
PURGE_ROWS = 5_000  # per transaction: a writer never waits long for a purge
POSITIONS_S = 7 * 86400  # a stream not heard of for a week has no files left
CLASSES = 5

_PICKED = [requests.c[name] for name in COLUMNS]
_INSERT = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - names of our own columns
# What a driver raises for a value it or the server cannot hold, rather than for a database in trouble.
_UNHOLDABLE = (
    asyncpg.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    OverflowError,
    TypeError,
)

_log = logs.get("store")


class Records:
    """Request records of all nodes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def positions(self, node: str) -> Sequence[SpoolPosition]:
        """How far each stream of ``node`` has been stored."""
        columns = spool_positions.c
        async with self._store.read() as connection:
            rows = await connection.execute(
                select(columns.segment, columns.position, columns.sequence).where(columns.node == node)
            )
            return [SpoolPosition(*row) for row in rows]

    async def ship(self, shipment: Shipment) -> Sequence[RequestRecord]:
        """Store records, minute rows and positions in one transaction; what the database cannot hold is returned.

        Raises:
            ConflictError: the streams do not stand where the shipment was made from; nothing was stored.
            StoreUnavailableError: whether it was stored is unknown: ask :meth:`positions`.
        """
        async with self._store.write() as connection:
            await self._check_positions(connection, shipment)
            refused = await self._add_records(connection, shipment.records)
            await add_to_rows(connection, shipment.node, shipment.buckets)
            await self._move_positions(connection, shipment)
        return refused

    async def _check_positions(self, connection: AsyncConnection, shipment: Shipment) -> None:
        columns = spool_positions.c
        streams = [_stream(position) for position in shipment.positions]
        found = await connection.execute(
            select(columns.stream, columns.segment, columns.position)
            .where(columns.stream.in_(streams))
            .with_for_update()
        )
        stored = {row.stream: (row.segment, row.position) for row in found}
        expected = {_stream(position): (position.segment, position.offset) for position in shipment.before}
        for stream in streams:
            if stored.get(stream) != expected.get(stream):
                raise ConflictError(f"the stream {stream} has already been stored further")

    async def _add_records(self, connection: AsyncConnection, records: Sequence[RequestRecord]) -> list[RequestRecord]:
        """Insert all of them; when the database chokes on some, halve until these stand alone."""
        if not records:
            return []
        try:
            async with connection.begin_nested():
                await self._insert(connection, records)
        except _UNHOLDABLE as error:
            if len(records) == 1:
                _log.warning("record.refused", error=type(error).__name__)
                return list(records)
            middle = len(records) // 2
            return [
                *await self._add_records(connection, records[:middle]),
                *await self._add_records(connection, records[middle:]),
            ]
        return []

    async def _insert(self, connection: AsyncConnection, records: Sequence[RequestRecord]) -> None:
        raw = (await connection.get_raw_connection()).driver_connection
        if raw is None:
            raise ConflictError("the connection went away")
        # One tuple at a time: a list of thousands would keep the garbage collector busier than the database.
        rows = map(msgspec.structs.astuple, records)
        if self._store.is_sqlite:
            async with raw.executemany(_INSERT, rows):
                pass
        else:
            await raw.copy_records_to_table("requests", columns=COLUMNS, records=rows)

    async def _move_positions(self, connection: AsyncConnection, shipment: Shipment) -> None:
        columns = spool_positions.c
        if shipment.finished:
            await connection.execute(delete(spool_positions).where(columns.stream.in_(shipment.finished)))
        streams = [_stream(position) for position in shipment.positions]
        if not streams:
            return
        await connection.execute(delete(spool_positions).where(columns.stream.in_(streams)))
        now = time()
        await connection.execute(
            spool_positions.insert(),
            [
                {
                    "stream": _stream(position),
                    "node": shipment.node,
                    "segment": position.segment,
                    "position": position.offset,
                    "sequence": position.sequence,
                    "updated_at": now,
                }
                for position in shipment.positions
            ],
        )

    async def search(self, wanted: RequestFilter) -> Page[RequestRecord]:
        """Matching records, newest first. Raises InvalidInputError for a foreign cursor."""
        limit = cursors.clamp(wanted.limit)
        columns = requests.c
        query = _matching(select(columns.number, *_PICKED), wanted)
        place = cursors.decode(wanted.cursor)
        if place is not None:
            query = query.where(cursors.older(columns.completed_at, columns.number, (place[0], cursors.number(place))))
        query = query.order_by(columns.completed_at.desc(), columns.number.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _record, lambda row: (row.completed_at, str(row.number)))

    async def get(self, request_id: str) -> RequestRecord:
        """The latest record with that id. Raises NotFoundError."""
        query = select(requests.c.number, *_PICKED).where(requests.c.id == request_id)
        async with self._store.read() as connection:
            row = (await connection.execute(query.order_by(requests.c.number.desc()).limit(1))).first()
        if row is None:
            raise NotFoundError(f"no request {request_id!r} is stored")
        return _record(row)

    async def purge(self, now: float, requests_s: float, buckets_s: float) -> int:
        """Delete what is older than its retention, in bounded chunks; how many rows went."""
        gone = await self._purge(requests.c.number, requests.c.completed_at < now - requests_s)
        gone += await self._purge(buckets.c.minute, buckets.c.minute < now - buckets_s)
        return gone + await self._purge(spool_positions.c.stream, spool_positions.c.updated_at < now - POSITIONS_S)

    async def _purge(self, key: Any, condition: Any) -> int:
        gone = 0
        while True:
            chosen = select(key).where(condition).limit(PURGE_ROWS)
            async with self._store.write() as connection:
                count = (await connection.execute(delete(key.table).where(key.in_(chosen)))).rowcount
            gone += count
            if count == 0:
                return gone


def _matching(query: Select[Any], wanted: RequestFilter) -> Select[Any]:
    columns = requests.c
    for column, value in (
        (columns.route, wanted.route),
        (columns.tenant_id, wanted.tenant),
        (columns.upstream, wanted.upstream),
        (columns.target, wanted.target),
    ):
        if value:
            query = query.where(column == value)
    if 0 < wanted.status <= CLASSES:
        query = query.where(columns.status.between(wanted.status * 100, wanted.status * 100 + 99))
    elif wanted.status:
        query = query.where(columns.status == wanted.status)
    if wanted.since:
        query = query.where(columns.completed_at >= wanted.since)
    if wanted.until:
        query = query.where(columns.completed_at < wanted.until)
    if wanted.text:
        query = query.where(
            or_(
                columns.path.contains(wanted.text, autoescape=True),
                columns.id.contains(wanted.text, autoescape=True),
                columns.trace_id == wanted.text,
            )
        )
    return query


def _record(row: Row[Any]) -> RequestRecord:
    return msgspec.convert(tuple(row[1:]), RequestRecord)


def _stream(position: SpoolPosition) -> str:
    return position.segment.rpartition("-")[0]
