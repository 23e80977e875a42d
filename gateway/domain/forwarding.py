"""What crosses from the edge to the proxy for one request."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from gateway.domain.identity import ANONYMOUS, Principal
from gateway.domain.routing import Route
from gateway.domain.upstreams import Upstream

Headers = list[tuple[bytes, bytes]]  # names in lower case, in the order received


class RepeatedHeaders(list[tuple[bytes, bytes]]):
    """Fields of a head that comes again and again, byte for byte: one object for all its messages, never changed.

    ``derived`` is for the one stage these fields are made for, to keep what it made of them the first time.
    """

    __slots__ = ("derived",)

    def __init__(self, fields: Headers) -> None:
        super().__init__(fields)
        self.derived: Any = None


class VariedHeaders(list[tuple[bytes, bytes]]):
    """Fields of which all but the last few came before as ``repeated``; those last ones, the proxy never passes on."""

    __slots__ = ("repeated",)

    repeated: RepeatedHeaders


class Outbound(msgspec.Struct, eq=False, kw_only=True):
    """A request that was admitted and goes upstream. One is made for every request, and compared by identity.

    ``path`` is the exact bytes that were routed and authorised, before the route's strip_prefix; ``query`` is without
    "?". ``content_length`` is the announced body length, 0 for none, -1 for a chunked body of unknown length. ``body``
    is the whole of an announced body that was there before the request went on; such a request, like one without a
    body, needs no :meth:`Call.write` and no :meth:`Call.finish`.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: Headers
    content_length: int
    route: Route
    upstream: Upstream
    host: bytes = b""
    client: bytes = b""  # address of the peer or, behind trusted proxies, of the caller
    scheme: bytes = b"http"
    principal: Principal = ANONYMOUS
    request_id: bytes = b""
    traceparent: bytes = b""
    trusted_peer: bool = False  # whether X-Forwarded-* of the peer may be continued
    body: bytes = b""
    websocket_key: bytes = b""  # of a WebSocket handshake: the gateway's own Sec-WebSocket-Key (RFC 6455 section 4.1)


class UpstreamFailure:
    """Why no (whole) answer came. ``kind`` is an ErrorKind of the upstream family; ``status`` what the client gets.

    ``target`` failed last and ``attempts`` targets or connections were tried: when none could be reached, the sink
    never heard ``connected``, and the record needs them all the same. ``retry_after_s`` is what the client is told
    of when to come back; 0: nothing.
    """

    __slots__ = ("attempts", "detail", "kind", "retry_after_s", "status", "target")

    def __init__(
        self, kind: str, status: int, detail: str, *, target: str = "", attempts: int = 0, retry_after_s: int = 0
    ) -> None:
        self.kind = kind
        self.status = status
        self.detail = detail
        self.target = target
        self.attempts = attempts
        self.retry_after_s = retry_after_s


class Sink(Protocol):
    """Where a forwarded request's answer goes. Implemented by the drivers of the edge; called by the proxy.

    Order of calls: ``connected`` for each attempt; then ``head`` once, ``body`` any number of times, ``end`` once; or
    ``failed`` at any point, after which nothing follows. After ``head``, ``failed`` means the answer was cut short: the
    client connection must be aborted, never ended cleanly. None of these may raise or block.

    A WebSocket handshake that the upstream took gives ``head`` with 101. From then on ``body`` and :meth:`Call.write`
    carry the bytes of the connection as they are, and ``end`` means that the upstream closed it.
    """

    def connected(self, target: str, *, attempt: int, reused: bool) -> None:
        """A connection to ``target`` (host:port) is ready and the request is being written to it."""

    def head(self, status: int, headers: Headers) -> None:
        """The final status and end-to-end headers, ready for the client (hop-by-hop fields are gone)."""

    def body(self, chunk: bytes) -> None:
        """Some bytes of the answer's body, decoded from the transfer coding."""

    def end(self) -> None:
        """The answer is whole."""

    def failed(self, failure: UpstreamFailure) -> None:
        """No whole answer will come."""

    def pause(self) -> None:
        """The upstream is slow: stop reading the client's request body."""

    def resume(self) -> None:
        """Go on reading the client's request body."""


class WholeSink(Sink, Protocol):
    """A sink that can also take an answer in one piece, which saves most answers two thirds of the calls."""

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Stands for ``head``, one ``body`` (if there is any) and ``end``."""


class Call(Protocol):
    """One request on its way upstream, as the driver that feeds it sees it."""

    def write(self, chunk: bytes) -> None:
        """More of the request body. Buffered until connected; the sink is paused when the buffer is full."""

    def finish(self) -> None:
        """The request body is whole; of a WebSocket: what was written goes out, and the connection is closed."""

    def pause_reading(self) -> None:
        """The client is slow: stop reading the answer."""

    def resume_reading(self) -> None:
        """Go on reading the answer."""

    def cancel(self) -> None:
        """The client is gone: end the upstream exchange at once. The sink hears nothing more. Idempotent."""


class Forwarder(Protocol):
    """The proxy as the edge sees it."""

    def forward(self, outbound: Outbound, sink: Sink) -> Call:
        """Send ``outbound`` to one target of its upstream; answers arrive at ``sink``, possibly before this returns."""
