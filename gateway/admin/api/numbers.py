"""Sums as people read them: rates, shares and percentiles over spans of the window or of stored buckets."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from gateway.admin.api.shapes import Time, time_of
from gateway.domain.histogram import quantile
from gateway.domain.traffic import ErrorKind, Tally
from gateway.domain.window import FINE_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.traffic import BucketKey
    from gateway.domain.window import Where, Window

LAST_S = 60  # "now" is the last minute of whole five-second cells
SPARK_S = 900
SPARK_STEP_S = 30
_LIMITED = {ErrorKind.RATE_LIMITED, ErrorKind.LIMITER_UNAVAILABLE}


class Numbers(msgspec.Struct, frozen=True):
    """Traffic of a span. Percentiles are milliseconds, null without requests; ``error_share`` is errors per request."""

    requests: int
    per_second: float
    errors: int
    error_share: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    bytes_in: int
    bytes_out: int


class Point(msgspec.Struct, frozen=True):
    """The numbers of the span that begins at ``at``."""

    at: Time
    numbers: Numbers


class Limited(msgspec.Struct, frozen=True):
    """How often a tenant was refused by a limit on a route in the last minute."""

    tenant: str
    route: str
    requests: int


def numbers(tally: Tally, span_s: float) -> Numbers:
    """A tally of ``span_s`` seconds."""
    return Numbers(
        requests=tally.requests,
        per_second=round(tally.requests / span_s, 3) if span_s else 0.0,
        errors=tally.errors,
        error_share=round(tally.error_share, 6),
        p50_ms=_ms(tally, 0.50),
        p95_ms=_ms(tally, 0.95),
        p99_ms=_ms(tally, 0.99),
        bytes_in=tally.bytes_in,
        bytes_out=tally.bytes_out,
    )


def last_minute(now: float) -> tuple[float, float]:
    """The bounds of the last minute of whole cells."""
    end = now // FINE_S * FINE_S
    return end - LAST_S, end


def by_target(window: Window, now: float, *, where: Where | None = None) -> dict[tuple[str, str], Tally]:
    """The last minute by (upstream, target)."""
    start, end = last_minute(now)
    sums = window.sums(start, end, by=("upstream", "target"), where=where)
    return {(str(upstream), str(target)): tally for (upstream, target), tally in sums.items()}


def by_route(window: Window, now: float, *, where: Where | None = None) -> dict[str, Tally]:
    """The last minute by route."""
    start, end = last_minute(now)
    return {str(route): tally for (route,), tally in window.sums(start, end, by=("route",), where=where).items()}


class Sparklines:
    """The last quarter of an hour in steps of thirty seconds, empty ones included.

    A step that is over is added up once and kept: with thousands of series, adding all of them up for every reader
    would hold control's loop for most of a second. Kept per tenant, for at most ``most`` of them.
    """

    def __init__(self, window: Window, *, most: int = 64) -> None:
        self._window = window
        self._most = most
        self._steps: OrderedDict[str, dict[int, Point]] = OrderedDict()

    def of(self, tenant: str, now: float, *, where: Where | None = None) -> tuple[Point, ...]:
        """The steps a tenant sees (empty: all of it); ``where`` is the condition that belongs to it."""
        end = int((now - FINE_S) // SPARK_STEP_S) * SPARK_STEP_S  # a cell behind, so that late records are in
        wanted = range(end - SPARK_S, end, SPARK_STEP_S)
        kept = self._steps.pop(tenant, {})
        steps = {at: kept.get(at) or self._step(at, where) for at in wanted}
        self._steps[tenant] = steps
        while len(self._steps) > self._most:
            self._steps.popitem(last=False)
        return tuple(steps.values())

    def _step(self, at: int, where: Where | None) -> Point:
        return Point(
            at=time_of(at), numbers=numbers(self._window.total(at, at + SPARK_STEP_S, where=where), SPARK_STEP_S)
        )


def hit_limits(window: Window, now: float, *, where: Where | None = None, most: int = 10) -> tuple[Limited, ...]:
    """Who was refused by limits in the last minute, most refused first."""
    start, end = last_minute(now)
    sums = window.sums(
        start,
        end,
        by=("tenant", "route"),
        where=lambda key: key.error in _LIMITED and (where is None or where(key)),
    )
    found = [
        Limited(tenant=str(tenant), route=str(route), requests=tally.requests)
        for (tenant, route), tally in sums.items()
    ]
    return tuple(sorted(found, key=lambda row: (-row.requests, row.tenant, row.route))[:most])


def points(rows: Iterable[tuple[BucketKey, Tally]], start: int, end: int, step_s: int) -> tuple[Point, ...]:
    """Minute buckets added up into steps from ``start``, empty steps included.

    >>> [point.numbers.requests for point in points([], 0, 120, 60)]
    [0, 0]
    """
    steps = {at: Tally() for at in range(start, end, step_s)}
    for key, tally in rows:
        into = steps.get(start + (key.minute - start) // step_s * step_s)
        if into is not None:
            into.add(tally)
    return tuple(Point(at=time_of(at), numbers=numbers(tally, step_s)) for at, tally in steps.items())


def _ms(tally: Tally, q: float) -> float | None:
    value_us = quantile(tally.latency, q)
    return None if value_us is None else round(value_us / 1000, 3)
