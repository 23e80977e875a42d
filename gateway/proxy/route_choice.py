"""Chooses among the routes of one host and path: by method, and by what they ask of header fields and query. Pure.

First difference first: more conditions before fewer, an exact value before "any", a route that names the method before
one for any, then the order in the file. A field or parameter that is sent with several different values fits "any" and
no exact value: what the upstream would make of it nobody can tell.

Routes with the same set of names are found by one look-up of the request's values, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.fields import sole_header, sole_parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.domain.forwarding import Headers
    from gateway.domain.routing import FieldMatch, Route

ANY_VALUE = "*"

_Name = tuple[bool, bytes, bool]  # whether a query parameter; its name; whether any value fits
_Best = tuple[bool, int, "Route"]  # whether for any method; place in the file


class _Shape:
    """The routes that ask for the same names, by the values they ask for."""

    __slots__ = ("_by_values", "names")

    def __init__(self, names: tuple[_Name, ...]) -> None:
        self.names = names
        self._by_values: dict[tuple[bytes, ...], dict[str, tuple[int, Route]]] = {}

    def add(self, route: Route, order: int, values: tuple[bytes, ...]) -> None:
        methods = self._by_values.setdefault(values, {})
        for method in route.methods or ("",):
            methods.setdefault(method.upper(), (order, route))

    def fitting(self, headers: Headers, query: bytes) -> dict[str, tuple[int, Route]]:
        """By method, the routes whose conditions all hold."""
        values = []
        for in_query, name, any_value in self.names:
            there, value = sole_parameter(query, name) if in_query else sole_header(headers, name)
            if not there or (value is None and not any_value):
                return {}
            values.append(b"" if any_value or value is None else value)
        return self._by_values.get(tuple(values), {})


class Place:
    """The routes of one host and path. ``by_method`` has those without conditions; ``""`` is the one for any method."""

    __slots__ = ("_ranks", "by_method")

    def __init__(self) -> None:
        self.by_method: dict[str, Route] = {}
        self._ranks: list[tuple[tuple[int, int], list[_Shape]]] = []  # the most demanding first

    def add(self, route: Route, order: int) -> None:
        """Take in a route; of two that nothing tells apart the first one stays."""
        if not route.headers and not route.query:
            for method in route.methods or ("",):
                self.by_method.setdefault(method.upper(), route)
            return
        asked = sorted(_conditions(route.headers, in_query=False) + _conditions(route.query, in_query=True))
        names = tuple(name for name, _ in asked)
        self._shape(names).add(route, order, tuple(value for _, value in asked))

    def find(self, method: str, headers: Headers, query: bytes) -> Route | None:
        """The first route that takes the request."""
        if self._ranks:
            for _, shapes in self._ranks:
                best: list[_Best] = []
                for shape in shapes:
                    fitting = shape.fitting(headers, query)
                    best += [(not name, *fitting[name]) for name in (method, "") if name in fitting]
                if best:
                    return min(best, key=lambda one: one[:2])[2]
        return self.by_method.get(method) or self.by_method.get("")

    def methods(self, headers: Headers, query: bytes) -> Iterator[str]:
        """Every method some route takes, given that its conditions hold; ``""`` for any."""
        yield from self.by_method
        for _, shapes in self._ranks:
            for shape in shapes:
                yield from shape.fitting(headers, query)

    def _shape(self, names: tuple[_Name, ...]) -> _Shape:
        exact = sum(not any_value for _, _, any_value in names)
        rank = (len(names), exact)
        shapes = next((shapes for known, shapes in self._ranks if known == rank), None)
        if shapes is None:
            shapes = []
            self._ranks.append((rank, shapes))
            self._ranks.sort(key=lambda one: one[0], reverse=True)
        found = next((shape for shape in shapes if shape.names == names), None)
        if found is None:
            found = _Shape(names)
            shapes.append(found)
        return found


def fits(condition: FieldMatch, headers: Headers, query: bytes | None = None) -> bool:
    """Whether one condition holds: of the query where one is given, else of the header."""
    name = condition.name.encode()
    there, value = sole_header(headers, name) if query is None else sole_parameter(query, name)
    return there and (condition.value == ANY_VALUE or value == condition.value.encode())


def _conditions(asked: tuple[FieldMatch, ...], *, in_query: bool) -> list[tuple[_Name, bytes]]:
    """Each condition once, as the name it looks at and the value it wants there (empty for any)."""
    found = []
    for one in dict.fromkeys(asked):
        any_value = one.value == ANY_VALUE
        found.append(((in_query, one.name.encode(), any_value), b"" if any_value else one.value.encode()))
    return found
