"""Says why a route does not take a request: the first thing in which the two differ. Pure.

This is for people, never for traffic. It asks the same questions of the same values as the router, one route at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.path_template import PathPattern
from gateway.proxy.route_choice import ANY_VALUE, fits
from gateway.proxy.router import host_fits

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.domain.routing import FieldMatch, Route


class Difference(NamedTuple):
    """How far a route got with a request, for sorting, and what then was different; empty when nothing was."""

    progress: tuple[int, int]  # steps passed; segments of the path that fitted
    reason: str


def difference(route: Route, method: str, host: str, path: bytes, headers: Headers, query: bytes) -> Difference:
    """The first thing in which the request is not what the route takes."""
    alike = _segments_alike(route.path, path)
    if not host_fits(route.host, host):
        return Difference((0, alike), f"it is for the host {route.host}")
    if not PathPattern(route.path).matches(path):
        return Difference((1, alike), f"its path is {route.path}")
    if route.methods and method not in {name.upper() for name in route.methods}:
        return Difference((2, alike), f"it takes {', '.join(sorted(route.methods))}")
    for condition in route.headers:
        if not fits(condition, headers):
            return Difference((3, alike), f"it asks for the header {_asked(condition)}")
    for condition in route.query:
        if not fits(condition, headers, query):
            return Difference((4, alike), f"it asks for the query parameter {_asked(condition)}")
    return Difference((5, alike), "")


def _asked(condition: FieldMatch) -> str:
    return f"{condition.name} (any value)" if condition.value == ANY_VALUE else f"{condition.name} = {condition.value}"


def _segments_alike(pattern: str, path: bytes) -> int:
    """How many segments of the path fit from the beginning on."""
    count = 0
    for segment, part in zip(PathPattern(pattern).segments, path.split(b"/")[1:], strict=False):
        if segment is not None and segment != part:
            break
        count += 1
    return count
