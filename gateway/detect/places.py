"""Which requests count where: forwarded traffic, summed per route, per upstream and per target.

What the gateway refused by itself (401, 403, 404, 429) and what the client broke off says nothing about an upstream:
counted in, it would dilute a failing share or raise a false one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.incident import Place
from gateway.domain.traffic import Tally, forwarded

if TYPE_CHECKING:
    from gateway.domain.window import Window

Sums = dict[Place, Tally]


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


def spoken(place: Place) -> str:
    """The place in a sentence: ``target 127.0.0.1:9001 of payments``, ``upstream payments``, ``route orders``."""
    if place.target:
        return f"target {place.target} of {place.upstream}"
    return f"upstream {place.upstream}" if place.upstream else f"route {place.route}"
