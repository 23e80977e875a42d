"""Minute buckets: one row per minute, node and series. Rows of several nodes add up on reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateway.domain.histogram import from_bytes, to_bytes
from gateway.domain.traffic import BucketKey, ErrorKind, SeriesKey, Tally
from gateway.store.engine import storable
from gateway.store.tables import buckets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.domain.window import Cell
    from gateway.store.engine import Store

MAX_SUM = 2**63 - 1  # what a column holds; one absurd record must not block all that follow it

_REFUSED = 4  # the class of a refusal

_SUMS = ("requests", "errors", "bytes_in", "bytes_out", "duration_us")
_KEY = ("minute", "route", "upstream", "target", "tenant_id", "status_class")
_SUMS_AT = slice(len(_KEY), len(_KEY) + len(_SUMS))
_LATENCY_AT = _SUMS_AT.stop
_REVISION_AT = _LATENCY_AT + 1
_PICKED = [buckets.c[name] for name in (*_KEY, *_SUMS, "latency", "revision")]


class Buckets:
    """Stored minute buckets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self, start: float, end: float, *, route: str = "", node: str = "", but: str = ""
    ) -> Sequence[tuple[BucketKey, Tally]]:
        """All series of the minutes that begin in [start, end), in order of time, nodes added up.

        With ``node`` only what that one stored, with ``but`` everything except what that one did.
        """
        columns = buckets.c
        query = select(*_PICKED).where(columns.minute >= start, columns.minute < end).order_by(columns.minute)
        if route:
            query = query.where(columns.route == route)
        if node:
            query = query.where(columns.node == node)
        if but:
            query = query.where(columns.node != but)
        added: dict[BucketKey, Tally] = {}
        async with self._store.read() as connection:
            for row in await connection.execute(query):
                key = BucketKey(*row[: len(_KEY)])
                known = added.get(key)
                if known is None:
                    added[key] = _tally(row)
                else:
                    known.add(_tally(row))
        return list(added.items())

    async def recent_minutes(
        self, since: float, until: float = float(1 << 40), *, node: str = ""
    ) -> Sequence[tuple[int, Cell]]:
        """Whole minutes that begin in [since, until), as cells to warm a Window with after a restart."""
        cells: dict[int, Cell] = {}
        for key, tally in await self.read(since, until, node=node):
            add_to_cell(cells.setdefault(key.minute, {}), key, tally)
        return list(cells.items())


def add_to_cell(cell: Cell, key: BucketKey, tally: Tally) -> None:
    """Add a row to a cell of a Window.

    Buckets know the class of a status, not the status, and neither method nor error: a class stands as 200, 500 …
    What was answered 4xx without a target was refused by the gateway itself, and says nothing about an upstream.
    """
    refused = key.status_class == _REFUSED and not key.target
    error = str(ErrorKind.FORBIDDEN) if refused else ""
    series = SeriesKey(key.route, key.upstream, key.target, key.tenant, "", key.status_class * 100, error)
    if series in cell:
        cell[series].add(tally)
    else:
        cell[series] = tally


async def add_to_rows(connection: AsyncConnection, node: str, added: Mapping[BucketKey, Tally]) -> None:
    """Add sums to this node's rows inside the caller's transaction: a late minute is a new revision of its row.

    Histograms cannot be added in SQL, so the rows are read, added to and written back. They are few (series, not
    requests), this node's control is their only writer, and the rows are locked all the same.
    """
    if not added:
        return
    wanted: dict[BucketKey, Tally] = {}
    for key, tally in added.items():
        clean = key._replace(route=storable(key.route), tenant=storable(key.tenant))
        if clean in wanted:
            wanted[clean].add(tally)
        else:
            wanted[clean] = tally
    columns = buckets.c
    minutes = sorted({key.minute for key in wanted})
    query = select(*_PICKED).where(columns.node == node, columns.minute.in_(minutes)).with_for_update()
    revisions = dict.fromkeys(wanted, 1)
    for row in (await connection.execute(query)).all():
        key = BucketKey(*row[: len(_KEY)])
        if key in wanted:
            total = _tally(row)
            total.add(wanted[key])
            wanted[key] = total
            revisions[key] = row[_REVISION_AT] + 1
    names = ("node", *_KEY, *_SUMS, "latency", "revision")
    rows = [
        (
            node,
            *key,
            *(min(getattr(tally, name), MAX_SUM) for name in _SUMS),
            to_bytes(tally.latency),
            revisions[key],
        )
        for key, tally in wanted.items()
    ]
    sums = ", ".join(f"{name} = excluded.{name}" for name in (*_SUMS, "latency", "revision"))
    sqlite = connection.dialect.name == "sqlite"
    marks = ", ".join("?" if sqlite else f"${place}" for place in range(1, len(names) + 1))
    statement = (
        f"INSERT INTO buckets ({', '.join(names)}) VALUES ({marks}) "  # noqa: S608 - names of our own columns
        f"ON CONFLICT (minute, node, route, upstream, target, tenant_id, status_class) DO UPDATE SET {sums}"
    )
    await connection.exec_driver_sql(statement, rows)


def _tally(row: Sequence[Any]) -> Tally:
    # By place: looking columns up by name would cost more than the rest of adding a row.
    requests, errors, bytes_in, bytes_out, duration_us = row[_SUMS_AT]
    return Tally(requests, errors, bytes_in, bytes_out, duration_us, from_bytes(row[_LATENCY_AT]))
