"""Which pages of other origins may call a route: the server's side of the CORS protocol (Fetch standard, 3.2). Pure.

A preflight is answered by the gateway before anybody is authenticated, because browsers send it without credentials.
Other answers, our own refusals among them, get the fields that let the page read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.exchange import Reply

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.domain.routing import Cors
    from gateway.edge.exchange import Exchange

ORIGIN = b"origin"
REQUESTED_METHOD = b"access-control-request-method"
OWN = b"access-control-"  # the upstream's fields that begin so are replaced by ours

_VARY = (b"vary", b"Origin")
_PREFLIGHT_VARY = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")


def requested_method(exchange: Exchange) -> str:
    """The method a preflight asks for; empty when the request is no preflight."""
    if exchange.method != b"OPTIONS" or not _field(exchange.headers, ORIGIN):
        return ""
    return _field(exchange.headers, REQUESTED_METHOD).decode("latin-1")


class CorsRules:
    """One route's ``cors``, compiled."""

    __slots__ = ("_any", "_credentials", "_exposed", "_origins", "_preflight")

    def __init__(self, cors: Cors) -> None:
        self._any = "*" in cors.origins
        self._origins = frozenset(origin.lower().encode("latin-1") for origin in cors.origins)
        # Any page at all may read what is the caller's own? No browser believes it, and neither do we.
        self._credentials = cors.credentials and not self._any
        self._exposed = ", ".join(cors.expose).encode("latin-1")
        self._preflight = self._preflight_fields(cors)

    @staticmethod
    def _preflight_fields(cors: Cors) -> Headers:
        fields: Headers = [
            (b"access-control-allow-methods", ", ".join(cors.methods).encode("latin-1")),
            (b"access-control-max-age", b"%d" % cors.max_age_s),
        ]
        if cors.headers:
            fields.append((b"access-control-allow-headers", ", ".join(cors.headers).encode("latin-1")))
        return fields

    def preflight(self, exchange: Exchange) -> Reply:
        """The 204 that tells a browser what it may send; an origin that is not named is told nothing."""
        allowed = self._allowed(exchange)
        return Reply(204, (_PREFLIGHT_VARY, *allowed, *(self._preflight if allowed else ())))

    @staticmethod
    def is_preflight(headers: Headers) -> bool:
        """Whether these are the fields of :meth:`preflight`'s answer."""
        return _PREFLIGHT_VARY in headers

    def fields(self, exchange: Exchange) -> Headers:
        """What the route's answers carry. ``Vary`` also without an origin: a cache must not mix the two."""
        fields = self._allowed(exchange)
        if fields and self._exposed:
            fields.append((b"access-control-expose-headers", self._exposed))
        if not self._any:
            fields.append(_VARY)
        return fields

    def _allowed(self, exchange: Exchange) -> Headers:
        if self._any:
            return [(b"access-control-allow-origin", b"*")]
        origin = _field(exchange.headers, ORIGIN)
        if origin not in self._origins:
            return []
        fields: Headers = [(b"access-control-allow-origin", origin)]
        if self._credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        return fields


def _field(headers: Headers, wanted: bytes) -> bytes:
    """The value of a field that is sent once; of several none is believed."""
    values = [value for name, value in headers if name == wanted]
    return values[0] if len(values) == 1 else b""
