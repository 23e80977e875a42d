"""Which requests count where: forwarded traffic, summed per route, per upstream and per target.

What the gateway refused by itself (401, 403, 404, 429) and what the client broke off says nothing about an upstream:
counted in, it would dilute a failing share or raise a false one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.histogram import bin_of
from gateway.domain.incident import Place
from gateway.domain.traffic import ErrorKind, SeriesKey, Tally

if TYPE_CHECKING:
    from gateway.domain.window import Window

_REFUSED_HERE = frozenset(
    {
        ErrorKind.BAD_REQUEST,
        ErrorKind.NO_ROUTE,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.FORBIDDEN,
        ErrorKind.BODY_TOO_LARGE,
        ErrorKind.HEADERS_TOO_LARGE,
        ErrorKind.RATE_LIMITED,
        ErrorKind.LIMITER_UNAVAILABLE,
        ErrorKind.INTERNAL,
        ErrorKind.CLIENT_GONE,
    }
)

Sums = dict[Place, Tally]


def forwarded(key: SeriesKey) -> bool:
    """Whether a request went to an upstream and its end is the upstream's doing."""
    return key.upstream != "" and key.error not in _REFUSED_HERE


def by_place(window: Window, start: float, end: float, *, minutes: bool = False) -> Sums:
    """Forwarded traffic of [start, end) at every route, every upstream and every target."""
    sums: Sums = {}
    rows = window.sums(start, end, by=("route", "upstream", "target"), where=forwarded, minutes=minutes)
    for (route, upstream, target), tally in rows.items():
        places = [Place(upstream=str(upstream))]
        if route:
            places.append(Place(route=str(route)))
        if target:
            places.append(Place(upstream=str(upstream), target=str(target)))
        for place in places:
            sums.setdefault(place, Tally()).add(tally)
    return sums


def add_sums(into: Sums, other: Sums) -> None:
    """Add ``other`` to ``into`` in place."""
    for place, tally in other.items():
        into.setdefault(place, Tally()).add(tally)


def subtract_sums(into: Sums, other: Sums) -> None:
    """Take away what was added before; places and bins that reach nothing disappear."""
    for place, tally in other.items():
        left = into[place]
        left.requests -= tally.requests
        left.errors -= tally.errors
        left.bytes_in -= tally.bytes_in
        left.bytes_out -= tally.bytes_out
        left.duration_us -= tally.duration_us
        for index, count in tally.latency.items():
            left.latency[index] -= count
            if not left.latency[index]:
                del left.latency[index]
        if left.requests <= 0:
            del into[place]


def slower_than(tally: Tally, threshold_us: float) -> int:
    """How many requests took longer than ``threshold_us``, exact to the bins' 1 %."""
    limit = bin_of(int(threshold_us))
    return sum(count for index, count in tally.latency.items() if index > limit)


def spoken(place: Place) -> str:
    """The place in a sentence: ``target 127.0.0.1:9001 of payments``, ``upstream payments``, ``route orders``."""
    if place.target:
        return f"target {place.target} of {place.upstream}"
    return f"upstream {place.upstream}" if place.upstream else f"route {place.route}"
