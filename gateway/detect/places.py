"""Which requests count where: forwarded traffic, summed per route, per upstream and per target.

What the gateway refused by itself (401, 403, 404, 429) and what the client broke off says nothing about an upstream:
counted in, it would dilute a failing share or raise a false one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.detect.packed import count_above, pack, quantile
from gateway.domain.incident import Place
from gateway.domain.traffic import NOT_THE_UPSTREAM

if TYPE_CHECKING:
    from gateway.domain.histogram import Histogram
    from gateway.domain.window import Window


class Total:
    """What happened at a place in a span. Latency is packed: one integer (:mod:`gateway.detect.packed`)."""

    __slots__ = ("errors", "known_p95_us", "latency", "requests")

    def __init__(self, requests: int = 0, errors: int = 0, latency: int = 0) -> None:
        self.requests = requests
        self.errors = errors
        self.latency = latency
        self.known_p95_us: float | None = None  # once it was asked for

    def add(self, other: Total) -> None:
        """Add ``other`` in place."""
        self.requests += other.requests
        self.errors += other.errors
        self.latency += other.latency
        self.known_p95_us = None

    def subtract(self, other: Total) -> None:
        """Take away what was added before."""
        self.requests -= other.requests
        self.errors -= other.errors
        self.latency -= other.latency
        self.known_p95_us = None

    @property
    def error_share(self) -> float:
        """Errors per request, 0 when there were none."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p95_us(self) -> float:
        """The 95th percentile of latency, 0 without any request."""
        if self.known_p95_us is None:
            self.known_p95_us = quantile(self.latency, 0.95) or 0.0
        return self.known_p95_us

    def above(self, value_us: float) -> int:
        """How many requests took longer than that."""
        return count_above(self.latency, value_us)


Sums = dict[Place, Total]


@lru_cache(maxsize=20_000)
def _places_of(route: str, upstream: str, target: str) -> tuple[Place, ...]:
    """Where a request counts. Names come from the configuration, so they are few."""
    places = [Place(upstream=upstream)]
    if route:
        places.append(Place(route=route))
    if target:
        places.append(Place(upstream=upstream, target=target))
    return tuple(places)


def by_place(window: Window, start: float, end: float, *, minutes: bool = False) -> Sums:
    """Forwarded traffic of [start, end) at every route, every upstream and every target."""
    rows: dict[tuple[str, str, str], tuple[list[int], list[Histogram]]] = {}
    for cell in window.cells(start, end, minutes=minutes):
        for (route, upstream, target, _, _, _, error), tally in cell.items():
            if not upstream or error in NOT_THE_UPSTREAM:
                continue
            row = rows.get((route, upstream, target))
            if row is None:
                rows[route, upstream, target] = ([tally.requests, tally.errors], [tally.latency])
            else:
                row[0][0] += tally.requests
                row[0][1] += tally.errors
                row[1].append(tally.latency)
    sums: Sums = {}
    for names, ((requests, errors), histograms) in rows.items():
        latency = pack(histograms)
        for place in _places_of(*names):
            into = sums.get(place)
            if into is None:
                sums[place] = Total(requests, errors, latency)
            else:
                into.requests += requests
                into.errors += errors
                into.latency += latency
    return sums


def add_sums(into: Sums, other: Sums) -> None:
    """Add ``other`` to ``into`` in place."""
    for place, total in other.items():
        known = into.get(place)
        if known is None:
            into[place] = Total(total.requests, total.errors, total.latency)
        else:
            known.add(total)


def subtract_sums(into: Sums, other: Sums) -> None:
    """Take away what was added before; places that reach nothing disappear."""
    for place, total in other.items():
        left = into[place]
        left.subtract(total)
        if left.requests <= 0:
            del into[place]


def spoken(place: Place) -> str:
    """The place in a sentence: ``target 127.0.0.1:9001 of payments``, ``upstream payments``, ``route orders``."""
    if place.part:
        return f"the gateway's own {place.part}"
    if place.target:
        return f"target {place.target} of {place.upstream}"
    if place.upstream:
        return f"upstream {place.upstream}"
    return f"route {place.route}" if place.route else "the whole gateway"
