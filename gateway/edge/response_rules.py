"""What becomes of an answer's header fields on its way to the client, compiled per route. Pure.

In this order: CORS fields, the content coding, the route's own rules (remove, set, add), then the policy's security
headers where the answer lacks them. Our own refusals get CORS and security headers only: rules are about what upstreams
say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge import compress
from gateway.edge.cors import OWN, CorsRules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.forwarding import Headers
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import EdgePolicy, Snapshot
    from gateway.edge.exchange import Exchange

# How the message is framed and the connection kept is the drivers' business, whatever a rule says; the request id ours.
_UNTOUCHED = frozenset(
    {
        b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
        b"upgrade", b"x-request-id",
    }
)  # fmt: skip


class AnswerRules:
    """What is done to the answers of one route."""

    __slots__ = ("_add", "_compress", "_min_bytes", "_removed", "_security", "cors")

    def __init__(self, policy: EdgePolicy, route: Route | None = None) -> None:
        self.cors = CorsRules(route.cors) if route is not None and route.cors is not None else None
        self._compress = route is not None and route.compress
        self._min_bytes = policy.compress_min_bytes
        removed: set[bytes] = set()
        self._add: Headers = []
        if route is not None:
            rules = route.response_headers
            removed = {*map(_encoded, rules.remove)}
            put = _fields(rules.set)
            self._removed = (removed | {name for name, _ in put}) - _UNTOUCHED
            self._add = put + _fields(rules.add)
        else:
            self._removed = set()
        # A route that removes one of the security headers does not want it.
        self._security = [field for field in _fields(policy.security_headers) if field[0] not in removed]

    def relayed(self, exchange: Exchange, status: int, headers: Headers) -> Headers:
        """The fields of an upstream's answer; sets ``exchange.encoder`` when its body is coded."""
        if self.cors is not None:
            headers = [field for field in headers if not field[0].startswith(OWN)]
            headers += self.cors.fields(exchange)
        if self._compress:
            headers = self._coded(exchange, status, headers)
        if self._removed:
            headers = [field for field in headers if field[0] not in self._removed]
        return self._secured(headers + self._add)

    def own(self, exchange: Exchange, headers: Headers) -> Headers:
        """The fields of an answer the gateway gives itself; a preflight's stand already."""
        if self.cors is not None and not self.cors.is_preflight(headers):
            headers = headers + self.cors.fields(exchange)
        return self._secured(headers)

    def _coded(self, exchange: Exchange, status: int, headers: Headers) -> Headers:
        accepted = b",".join(value for name, value in exchange.headers if name == b"accept-encoding")
        headers, encoder = compress.coded(
            status, headers, accepted, self._min_bytes, may_stream=exchange.version != "1.0"
        )
        if exchange.method != b"HEAD":  # its fields are those of GET, but there is nothing to encode
            exchange.encoder = encoder
        return headers

    def _secured(self, headers: Headers) -> Headers:
        if not self._security:
            return headers
        present = {name for name, _ in headers}
        return headers + [field for field in self._security if field[0] not in present]


class Answers:
    """The rules of every route of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._others = AnswerRules(snapshot.policy)  # of requests without a route, and of routes that say nothing
        self._by_route = {
            route.name: AnswerRules(snapshot.policy, route) for route in snapshot.routes if _speaks(route)
        }

    def of(self, exchange: Exchange) -> AnswerRules:
        """The rules of the exchange's answer."""
        route = exchange.route
        return self._others if route is None else self._by_route.get(route.name, self._others)


def answers(snapshot: Snapshot) -> Answers | None:
    """The rules of a snapshot, or None where answers pass as they are."""
    wanted = snapshot.policy.security_headers or any(_speaks(route) for route in snapshot.routes)
    return Answers(snapshot) if wanted else None


def _speaks(route: Route) -> bool:
    rules = route.response_headers
    return bool(route.cors or route.compress or rules.remove or rules.set or rules.add)


def _fields(pairs: Iterable[tuple[str, str]]) -> Headers:
    return [(_encoded(name), value.encode("latin-1")) for name, value in pairs if _encoded(name) not in _UNTOUCHED]


def _encoded(name: str) -> bytes:
    return name.lower().encode("latin-1")
