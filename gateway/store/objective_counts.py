"""What objectives count, summed from stored minute buckets of all nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from gateway.domain.histogram import above, from_bytes
from gateway.domain.objectives import Count
from gateway.store.tables import buckets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Select

    from gateway.domain.objectives import Objective
    from gateway.store.engine import Store

_SERVER_ERROR = 5
_ROWS_AT_ONCE = 1_000  # histograms decoded between two looks at the event loop


class ObjectiveCounts:
    """Counts per step of time. What counts: forwarded requests, and those the gateway itself failed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, objective: Objective, start: int, end: int, step_s: int) -> Mapping[int, Count]:
        """Counts of the minutes that begin in [start, end), by the start of their step (a multiple of ``step_s``)."""
        if objective.latency_s is None:
            return await self._failed(objective, start, end, step_s)
        return await self._slow(objective, start, end, step_s, objective.latency_s * 1e6)

    async def _failed(self, objective: Objective, start: int, end: int, step_s: int) -> Mapping[int, Count]:
        columns = buckets.c
        at = (columns.minute - columns.minute % step_s).label("at")
        query = _of(objective, select(at, func.sum(columns.errors), func.sum(columns.requests)), start, end).group_by(
            at
        )
        async with self._store.read() as connection:
            return {int(row[0]): Count(int(row[1]), int(row[2])) for row in await connection.execute(query)}

    async def _slow(
        self, objective: Objective, start: int, end: int, step_s: int, limit_us: float
    ) -> Mapping[int, Count]:
        """Histograms cannot be added in SQL. A request that failed is bad as well, however quickly it did."""
        columns = buckets.c
        query = _of(objective, select(columns.minute, columns.errors, columns.requests, columns.latency), start, end)
        found: dict[int, Count] = {}
        async with self._store.read() as connection:
            result = await connection.stream(query)
            async for rows in result.partitions(_ROWS_AT_ONCE):
                for minute, errors, requests, latency in rows:
                    histogram = from_bytes(latency)
                    # WebSockets are requests without a latency: they were switched, nobody waited for an answer.
                    timed = min(requests, max(errors, sum(histogram.values())))
                    bad = min(timed, max(errors, above(histogram, limit_us)))
                    before = found.get(minute - minute % step_s, Count())
                    found[minute - minute % step_s] = Count(before.bad + bad, before.total + timed)
        return found


def _of(objective: Objective, query: Select[Any], start: int, end: int) -> Select[Any]:
    columns = buckets.c
    where: list[ColumnElement[bool]] = [
        columns.minute >= start,
        columns.minute < end,
        or_(columns.target != "", columns.status_class == _SERVER_ERROR),  # what was refused has no target
    ]
    if objective.route:
        where.append(columns.route == objective.route)
    if objective.upstream:
        where.append(columns.upstream == objective.upstream)
    return query.where(*where)
