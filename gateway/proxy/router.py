"""Finds the route of a request, at a cost that does not grow with the number of routes.

Which route wins, first difference first:

1. an exact host before ``*.example.com``, a longer such suffix before a shorter one, and those before any host;
2. the path, segment by segment: a literal segment before a ``{name}``, that before the end of a ``/*`` route, so that
   an exact path comes before every other and a longer prefix before a shorter one;
3. more conditions on header fields and query before fewer, a route that names the method before one for any method,
   then the order in the file (:mod:`gateway.proxy.route_choice`).

A route whose methods or conditions do not fit is passed over for the next one that matches host and path, down to any
host and the shortest prefix; if none is left the answer is None, and :meth:`Router.allowed_methods` tells 405 from 404.

Paths are compared as the bytes on the wire: what is matched is what was authorised and what is forwarded. Paths in
the configuration that are not ASCII are percent-encoded first, because that is how they arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.path_template import PathPattern
from gateway.proxy.route_choice import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.domain.forwarding import Headers
    from gateway.domain.routing import Route

ANY = "*"
_NO_HEADERS: Headers = []

_Entry = tuple[int, PathPattern, "Route"]  # place in the file


class _Node:
    """What may stand after some segments of a path."""

    __slots__ = ("children", "end", "named", "rest")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.named: _Node | None = None  # after any one segment
        self.end: Place | None = None
        self.rest: Place | None = None  # of "/*"


class _Table:
    """All paths of one host: exact ones and prefixes in dictionaries; where some have names, a tree of segments."""

    __slots__ = ("_depth", "_exact", "_levels", "_prefixes", "_root")

    def __init__(self, entries: list[_Entry]) -> None:
        self._exact: dict[bytes, Place] = {}
        self._prefixes: dict[bytes, Place] = {}  # without "/*"; empty: every path
        self._root: _Node | None = None
        self._depth = max((len(pattern.segments) for _, pattern, _ in entries), default=0)
        self._levels = range(self._depth)
        has_names = not all(pattern.is_literal for _, pattern, _ in entries)
        for order, pattern, route in entries:
            if pattern.is_literal and not pattern.is_open:
                self._exact.setdefault(_joined(pattern), Place()).add(route, order)
            elif has_names:
                self._root = self._root or _Node()
                self._plant(self._root, pattern).add(route, order)
            else:
                self._prefixes.setdefault(_joined(pattern), Place()).add(route, order)

    def match(self, method: str, path: bytes, headers: Headers, query: bytes) -> Route | None:
        """The most specific route for ``path`` that takes the request."""
        place = self._exact.get(path)
        if place is not None and (route := place.find(method, headers, query)) is not None:
            return route
        if self._root is not None:
            below = (place.find(method, headers, query) for place in self._planted(self._root, path))
            return next((route for route in below if route is not None), None)
        prefixes = self._prefixes
        if prefixes:
            end = 0
            for _ in self._levels:
                end = path.find(b"/", end + 1)
                if end == -1:
                    prefix = path
                    break
            else:
                prefix = path[:end]
            while True:
                place = prefixes.get(prefix)
                if place is not None and (route := place.find(method, headers, query)) is not None:
                    return route
                if not prefix:
                    break
                prefix = prefix[: prefix.rfind(b"/")]
        return None

    def places(self, path: bytes) -> Iterator[Place]:
        """What matches ``path``, most specific first."""
        if path in self._exact:
            yield self._exact[path]
        if self._root is not None:
            yield from self._planted(self._root, path)
            return
        prefix = b"/".join(path.split(b"/", self._depth + 1)[: self._depth + 1])
        while True:
            if prefix in self._prefixes:
                yield self._prefixes[prefix]
            if not prefix:
                return
            prefix = prefix[: prefix.rfind(b"/")]

    def _planted(self, root: _Node, path: bytes) -> Iterator[Place]:
        return _visit(root, path.split(b"/", self._depth + 1)[1:], 0)

    @staticmethod
    def _plant(node: _Node, pattern: PathPattern) -> Place:
        for segment in pattern.segments:
            if segment is None:
                node.named = node = node.named or _Node()
            else:
                node = node.children.setdefault(segment, _Node())
        if pattern.is_open:
            node.rest = node.rest or Place()
            return node.rest
        node.end = node.end or Place()
        return node.end


class Router:
    """An immutable index over routes; build a new one for a new snapshot."""

    def __init__(self, routes: Iterable[Route]) -> None:
        entries: dict[str, list[_Entry]] = {}
        for order, route in enumerate(routes):
            entries.setdefault(normal_host(route.host), []).append((order, PathPattern(route.path), route))
        self._any = _Table(entries.pop("", []))
        suffixes = {host for host in entries if host.startswith("*.")}
        self._suffixes = {host[1:]: _Table(entries[host]) for host in suffixes}  # ".example.com" for "*.example.com"
        self._exact_hosts = {host: _Table(entries[host]) for host in entries.keys() - suffixes}

    def match(
        self, method: str, host: str, path: bytes, headers: Headers = _NO_HEADERS, query: bytes = b""
    ) -> Route | None:
        """The route of a request, or None.

        Args:
            method: in upper case, as received.
            host: the Host field, with or without a port.
            path: the exact bytes of the path, without the query.
            headers: names in lower case; looked at only where a route of that path asks for some.
            query: without "?"; likewise.
        """
        if not self._exact_hosts and not self._suffixes:  # usual, and then there is nothing to search
            return self._any.match(method, path, headers, query)
        for table in self._tables(host):
            route = table.match(method, path, headers, query)
            if route is not None:
                return route
        return None

    def allowed_methods(
        self, host: str, path: bytes, headers: Headers = _NO_HEADERS, query: bytes = b""
    ) -> frozenset[str]:
        """Methods some route takes for a request like this: empty when none matches, ``{"*"}`` for any method."""
        allowed: set[str] = set()
        for table in self._tables(host):
            for place in table.places(path):
                allowed.update(place.methods(headers, query))
        return frozenset({ANY}) if "" in allowed else frozenset(allowed)

    def _tables(self, host: str) -> Iterator[_Table]:
        if self._exact_hosts or self._suffixes:
            host = normal_host(host)
            table = self._exact_hosts.get(host)
            if table is not None:
                yield table
            if self._suffixes:
                yield from self._wildcards(host)
        yield self._any

    def _wildcards(self, host: str) -> Iterator[_Table]:
        dot = host.find(".", 1)  # from 1: the star stands for at least one character
        while dot != -1:
            table = self._suffixes.get(host[dot:])
            if table is not None:
                yield table
            dot = host.find(".", dot + 1)


def normal_host(host: str) -> str:
    """A host in lower case, without port and trailing dot."""
    # An IPv6 address keeps its brackets: they tell its colons from the port's.
    host = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return host.lower().removesuffix(".")


def host_fits(pattern: str, host: str) -> bool:
    """Whether a route for the host ``pattern`` takes requests for ``host``."""
    pattern, host = normal_host(pattern), normal_host(host)
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern in {"", host}


def _joined(pattern: PathPattern) -> bytes:
    return b"".join(b"/" + segment for segment in pattern.segments if segment is not None)


def _visit(node: _Node, parts: list[bytes], at: int) -> Iterator[Place]:
    """The places that match the segments from ``at`` on, most specific first."""
    if at == len(parts):
        if node.end is not None:
            yield node.end
    else:
        child = node.children.get(parts[at])
        if child is not None:
            yield from _visit(child, parts, at + 1)
        if node.named is not None and parts[at]:
            yield from _visit(node.named, parts, at + 1)
    if node.rest is not None:
        yield node.rest
