"""Sums over records. Pure: any split of the records, in any order, adds up to the same."""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING

from gateway.domain.histogram import GAMMA
from gateway.domain.traffic import METHODS, OTHER, BucketKey, ErrorKind, SeriesKey, Tally
from gateway.domain.window import COARSE_S, FINE_S, Cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.domain.traffic import RequestRecord

_INVERSE_LOG_GAMMA = 1 / log(GAMMA)
_CUT_SHORT = str(ErrorKind.UPSTREAM_TRUNCATED)
_SERVER_ERROR = 500
_SWITCHED = 101


def aggregate(records: Iterable[RequestRecord]) -> dict[int, Cell]:
    """Sums by series per five seconds, keyed by the start of the five seconds.

    The body is written out instead of calling ``bin_of`` and ``Tally.add``: it runs once per request.
    """
    cells: dict[int, dict[tuple[object, ...], Tally]] = {}
    at = -1
    cell: dict[tuple[object, ...], Tally] = {}
    for record in records:
        second = int(record.completed_at)
        start = second - second % FINE_S
        if start != at:
            at = start
            cell = cells.setdefault(at, {})
        method = record.method
        status = record.status
        error = record.error
        key = (
            record.route,
            record.upstream,
            record.target,
            record.tenant,
            method if method in METHODS else OTHER,
            status,
            error,
        )
        # A plain tuple finds what a SeriesKey stored: equal and of equal hash, but much cheaper to build.
        tally = cell.get(key)
        if tally is None:
            tally = cell[SeriesKey(*key)] = Tally()
        tally.requests += 1
        if status >= _SERVER_ERROR or error == _CUT_SHORT:
            tally.errors += 1
        tally.bytes_in += record.bytes_in
        tally.bytes_out += record.bytes_out
        if status == _SWITCHED:  # how long a WebSocket stayed open is not how long anybody waited
            continue
        duration_us = record.duration_us
        tally.duration_us += duration_us
        index = ceil(log(duration_us) * _INVERSE_LOG_GAMMA) if duration_us > 1 else 0
        latency = tally.latency
        latency[index] = latency.get(index, 0) + 1
    return cells  # type: ignore[return-value] # every key stored is a SeriesKey; see above


def add(into: dict[int, Cell], other: Mapping[int, Cell]) -> None:
    """Add the cells of ``other`` to ``into`` in place; ``other`` stays as it is."""
    for at, cell in other.items():
        target = into.setdefault(at, {})
        for key, tally in cell.items():
            known = target.get(key)
            if known is None:
                known = target[key] = Tally()
            known.add(tally)


def minutes(cells: Mapping[int, Cell]) -> dict[BucketKey, Tally]:
    """The same sums per minute row: method and exact status fold away."""
    rows: dict[BucketKey, Tally] = {}
    for at, cell in cells.items():
        minute = at - at % COARSE_S
        for key, tally in cell.items():
            row = BucketKey(minute, key.route, key.upstream, key.target, key.tenant, status_class(key.status))
            known = rows.get(row)
            if known is None:
                known = rows[row] = Tally()
            known.add(tally)
    return rows


def bounded(rows: Mapping[BucketKey, Tally], limit: int) -> dict[BucketKey, Tally]:
    """``rows`` with at most ``limit`` series per minute and tenant; the smallest tenants fold into "other"."""
    by_minute: dict[int, list[BucketKey]] = {}
    for key in rows:
        by_minute.setdefault(key.minute, []).append(key)
    if all(len(keys) <= limit for keys in by_minute.values()):
        return dict(rows)
    kept: dict[BucketKey, Tally] = {}
    for keys in by_minute.values():
        keys.sort(key=lambda key: rows[key].requests, reverse=True)
        for place, key in enumerate(keys):
            row = key if place < limit else key._replace(tenant=OTHER)
            known = kept.get(row)
            if known is None:
                known = kept[row] = Tally()
            known.add(rows[key])
    return kept


def status_class(status: int) -> int:
    """2, 3, 4 or 5; 0 for anything else."""
    hundreds = status // 100
    return hundreds if 2 <= hundreds <= 5 else 0  # noqa: PLR2004 - the classes of RFC 9110 that end an exchange
