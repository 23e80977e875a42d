"""Chooses the upstream of a route that divides its requests: canaries first, then by caller or by turns.

Turns are a smooth weighted rotation: over one cycle every upstream gets exactly its weight, and well mixed. Each worker
turns by itself. A sticky choice is by weighted rendezvous hashing (Thaler and Ravishankar, 1998): it needs no table, is
the same in every worker and on every node, and when weights change only those callers move that must.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING

from gateway.domain import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.domain.routing import Canary, Route, Split
    from gateway.edge.exchange import Exchange

_ANY = "*"
_HEADER, _COOKIE = "header", "cookie"
_BITS = 64
_MASK = (1 << _BITS) - 1


class Splitter:
    """One route's split, ready to use. Its turns are the only state."""

    __slots__ = ("_canaries", "_current", "_hashed", "_sticky", "_total", "_weights", "split")

    def __init__(self, split: Split) -> None:
        self.split = split
        self._canaries = [_compiled(canary) for canary in split.canaries]
        self._sticky = _source(split.sticky) if split.sticky else None
        shares = [share for share in split.shares if share.weight > 0] or list(split.shares[:1])
        self._weights = [(share.upstream, max(share.weight, 1)) for share in shares]
        self._total = sum(weight for _, weight in self._weights)
        self._current = [0] * len(self._weights)
        self._hashed = [(name, weight, _hash(name.encode())) for name, weight in self._weights]

    def choose(self, exchange: Exchange) -> str:
        """The name of the upstream for this request. Taking a turn, it is not the same the next time."""
        for source, name, value, upstream in self._canaries:
            found = _read(exchange, source, name)
            if found is not None and (value is None or found == value):
                return upstream
        if self._sticky is not None:
            who = _read(exchange, *self._sticky)
            if who:
                return self.of_caller(who)
        return self._by_turns()

    def of_caller(self, who: bytes) -> str:
        """The upstream of one caller, by nothing but the name of the caller and the weights."""
        caller = _hash(who)

        def distance(share: tuple[str, int, int]) -> float:
            _, weight, hashed = share
            # The logarithm of an even draw over the weight: the smallest is a given one's as often as its weight says.
            return -log((_mixed(caller ^ hashed) + 1) / (_MASK + 2)) / weight

        return min(self._hashed, key=distance)[0]

    def _by_turns(self) -> str:
        current, best = self._current, 0
        for index, (_, weight) in enumerate(self._weights):
            current[index] += weight
            if current[index] > current[best]:
                best = index
        current[best] -= self._total
        return self._weights[best][0]


def choose(route: Route, exchange: Exchange) -> str:
    """The name of the upstream that a request of ``route`` goes to."""
    splitter = exchange.runtime.splits.get(route.name)
    return route.upstream if splitter is None else splitter.choose(exchange)


def splitters(routes: Iterable[Route], before: Mapping[str, Splitter]) -> dict[str, Splitter]:
    """A splitter for each route with a split, by the route's name; what did not change goes on with its turns."""
    found = {}
    for route in routes:
        if route.split is not None:
            known = before.get(route.name)
            found[route.name] = known if known is not None and known.split == route.split else Splitter(route.split)
    return found


def _compiled(canary: Canary) -> tuple[str, bytes, bytes | None, str]:
    source, name = _source(canary.source)
    return source, name, None if canary.value == _ANY else canary.value.encode(), canary.upstream


def _source(text: str) -> tuple[str, bytes]:
    source, _, name = text.partition(":")
    return source, name.encode()


def _read(exchange: Exchange, source: str, name: bytes) -> bytes | None:
    """What the request says there; None where it says nothing."""
    if source == _HEADER:
        return fields.header(exchange.headers, name)
    if source == _COOKIE:
        return fields.cookie(exchange.headers, name)
    if source == "client":
        return exchange.client.encode() or None
    principal = exchange.principal
    # Two tenants may well have a subject of the same name; NUL is in neither.
    return f"{principal.tenant}\0{principal.subject}".encode() if principal.subject else None


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=_BITS // 8).digest(), "big")


def _mixed(value: int) -> int:
    """The finaliser of splitmix64: of two values that differ in any bit, the results have nothing in common."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
