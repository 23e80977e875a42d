"""Finds the route of a request by host, path and method, at a cost that does not grow with the number of routes.

Which route wins, first difference first:

1. an exact host before ``*.example.com``, a longer such suffix before a shorter one, and those before any host;
2. an exact path before a prefix, a longer prefix before a shorter one;
3. a route that names the method before one for any method.

A route whose methods do not fit is passed over for the next one that matches host and path, down to any host and the
shortest prefix; when none is left the answer is None and :meth:`Router.allowed_methods` tells 405 from 404.

Paths are compared as the bytes on the wire: what is matched is what was authorised and what is forwarded. Paths in
the configuration that are not ASCII are percent-encoded first, because that is how they arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.domain.routing import Route

ANY = "*"
# Every visible ASCII character stands for itself in a configured path; only the rest is encoded.
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


class _Methods:
    """The routes of one host and path, by method; ``""`` is the route for any method."""

    __slots__ = ("routes",)

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}

    def add(self, route: Route) -> None:
        for method in route.methods or ("",):
            # The first one wins, so that a conflict that slipped past the check behaves predictably.
            self.routes.setdefault(method.upper(), route)

    def find(self, method: str) -> Route | None:
        return self.routes.get(method) or self.routes.get("")


class _Node:
    """One segment of the prefixes."""

    __slots__ = ("children", "methods")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.methods: _Methods | None = None


class _Table:
    """All paths of one host: exact ones in a dictionary, prefixes in a trie of segments."""

    __slots__ = ("depth", "exact", "root")

    def __init__(self) -> None:
        self.exact: dict[bytes, _Methods] = {}
        self.root = _Node()
        self.depth = 0  # segments of the longest prefix: how far a path need be split

    def add(self, route: Route) -> None:
        exact, segments = _parts(route.path)
        if exact is not None:
            self.exact.setdefault(exact, _Methods()).add(route)
            return
        node = self.root
        for segment in segments:
            node = node.children.setdefault(segment, _Node())
        node.methods = node.methods or _Methods()
        node.methods.add(route)
        self.depth = max(self.depth, len(segments))

    def match(self, method: str, path: bytes) -> Route | None:
        """The most specific route for ``path`` that takes ``method``."""
        exact = self.exact.get(path)
        if exact is not None and (route := exact.find(method)) is not None:
            return route
        for methods in reversed(self._prefixes(path)):
            route = methods.find(method)
            if route is not None:
                return route
        return None

    def candidates(self, path: bytes) -> Iterator[_Methods]:
        """What matches ``path``, most specific first."""
        exact = self.exact.get(path)
        if exact is not None:
            yield exact
        yield from reversed(self._prefixes(path))

    def _prefixes(self, path: bytes) -> list[_Methods]:
        node: _Node | None = self.root
        found = [self.root.methods] if self.root.methods is not None else []
        if self.depth:
            for segment in path.split(b"/", self.depth + 1)[1 : self.depth + 1]:
                node = node.children.get(segment) if node is not None else None
                if node is None:
                    break
                if node.methods is not None:
                    found.append(node.methods)
        return found


class Router:
    """An immutable index over routes; build a new one for a new snapshot."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._any = _Table()
        self._exact_hosts: dict[str, _Table] = {}
        self._suffixes: dict[str, _Table] = {}  # ".example.com" for "*.example.com"
        for route in routes:
            self._table(normal_host(route.host)).add(route)

    def match(self, method: str, host: str, path: bytes) -> Route | None:
        """The route of a request, or None.

        Args:
            method: in upper case, as received.
            host: the Host field, with or without a port.
            path: the exact bytes of the path, without the query.
        """
        if not self._exact_hosts and not self._suffixes:  # usual, and then there is nothing to search
            return self._any.match(method, path)
        for table in self._tables(host):
            route = table.match(method, path)
            if route is not None:
                return route
        return None

    def allowed_methods(self, host: str, path: bytes) -> frozenset[str]:
        """Methods some route takes for this host and path: empty when no route matches, ``{"*"}`` for any method."""
        allowed: set[str] = set()
        for table in self._tables(host):
            for methods in table.candidates(path):
                allowed.update(methods.routes)
        return frozenset({ANY}) if "" in allowed else frozenset(allowed)

    def _table(self, host: str) -> _Table:
        if not host:
            return self._any
        if host.startswith("*."):
            return self._suffixes.setdefault(host[1:], _Table())
        return self._exact_hosts.setdefault(host, _Table())

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


def conflicts(routes: Iterable[Route]) -> list[str]:
    """One sentence for each pair of routes that match the same host, path and method, so that order would decide."""
    seen: dict[tuple[str, str, str], Route] = {}
    found: list[str] = []
    told: set[tuple[str, str]] = set()
    for route in routes:
        for method in sorted(route.methods) or [""]:
            key = (normal_host(route.host), route.path, method.upper())
            first = seen.setdefault(key, route)
            if first is not route and (first.name, route.name) not in told:
                told.add((first.name, route.name))
                found.append(
                    f"routes {first.name!r} and {route.name!r} both match {method.upper() or 'any method'} "
                    f"{route.host or 'any host'} {route.path}; change the path, host or methods of one of them"
                )
    return found


def _parts(path: str) -> tuple[bytes | None, list[bytes]]:
    """The exact path, or None and the segments of a prefix that ends in ``/*``."""
    raw = _encoded(path)
    if not raw.endswith(b"/*"):
        return raw, []
    return None, raw[:-2].split(b"/")[1:]


def _encoded(path: str) -> bytes:
    return quote(path, safe=_VISIBLE).encode("ascii")
