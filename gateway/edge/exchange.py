"""One request under way in a worker: what it asked for, what was decided, and when.

Every step of the edge reads and writes this one object; the record is made from it at the end. It knows neither ASGI
nor sockets, so both drivers build the same thing.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.domain.identity import ANONYMOUS, Principal
from gateway.domain.traffic import ErrorKind

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.domain.routing import Route
    from gateway.edge.limits import LimitKey, LimitSet, Verdict
    from gateway.edge.request_rules import Gathered
    from gateway.edge.runtime import Runtime
    from gateway.edge.websocket_tunnel import Tunnel


class Refusal(msgspec.Struct, frozen=True):
    """The gateway's own answer instead of the upstream's.

    ``detail`` is written by us and never repeats what the caller sent. ``close`` ends the connection after the answer,
    because what follows on it cannot be trusted (framing) or is not wanted (a body that is too large).
    """

    status: int
    kind: ErrorKind
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False


class Reply(msgspec.Struct, frozen=True):
    """An answer of the gateway's own that is no error: a redirect, a CORS preflight.

    Its fields are written by us; Content-Length, Date and what stands on every answer are added when it is sent.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


Outcome = Refusal | Reply | None  # None: the request may go on


class Encoder(Protocol):
    """A content coding on its way: what goes in is the upstream's body, what comes out is the client's."""

    def feed(self, chunk: bytes) -> bytes:
        """Encode a chunk; empty while the coding holds on to it."""

    def end(self) -> bytes:
        """What is left when the body is whole."""


def now_us() -> int:
    """Monotonic microseconds. Integers, so that the parts of the latency ledger add up to the whole exactly."""
    return monotonic_ns() // 1000


class TakeOver(Protocol):
    """How a driver gives a client's connection away."""

    def __call__(self, tunnel: Tunnel) -> bytes | None:
        """Make ``tunnel`` the connection's; what had arrived for it already, None when the client has left."""


class Exchange:
    """One request's facts, stamps and verdicts. Stamps are monotonic microseconds, 0 while not reached."""

    is_websocket = False
    is_judged = False  # a handshake that an ASGI server has found good

    __slots__ = (
        "attempts",
        "auth_at",
        "bytes_in",
        "bytes_out",
        "certificate",
        "client",
        "connected_at",
        "content_length",
        "encoder",
        "ended_at",
        "error",
        "facts",
        "first_byte_at",
        "gathered",
        "headers",
        "host",
        "limit_at",
        "limits",
        "max_body_bytes",
        "method",
        "parent_id",
        "path",
        "peer",
        "principal",
        "query",
        "recorded",
        "request_id",
        "route",
        "runtime",
        "scheme",
        "slots",
        "span_id",
        "started_at",
        "status",
        "steps_at",
        "target",
        "target_form",
        "target_judged",
        "trace_flags",
        "trace_id",
        "trusted_peer",
        "upload_us",
        "upstream",
        "verdict",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes,
        headers: Headers,
        runtime: Runtime,
        peer: str = "",
        scheme: bytes = b"http",
        version: str = "1.1",
        started_at: int = 0,
        target_form: bytes | None = None,
        certificate: bytes = b"",
        *,
        gathered: Gathered | None = None,
        target_judged: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.runtime = runtime  # what the request started with; a reload does not change it
        self.peer = peer
        self.scheme = scheme
        self.version = version
        self.target_form = target_form  # the request target as it stood in the request line, where the driver has it
        self.certificate = certificate  # DER of the client's, verified by the server; empty when it showed none
        # What the rules found before in the same bytes, where the driver remembers it.
        self.gathered = gathered
        self.target_judged = target_judged
        # Facts the rules find in the headers.
        self.facts: dict[bytes, bytes] = {}
        self.client = peer
        self.trusted_peer = False
        self.host = self.request_id = self.trace_id = self.span_id = self.parent_id = ""
        self.trace_flags = "01"
        self.content_length = 0  # announced body length, -1 for a chunked body
        # What was decided.
        self.route: Route | None = None
        self.principal: Principal = ANONYMOUS
        self.limits: LimitSet | None = None
        self.verdict: Verdict | None = None
        self.slots: list[LimitKey] | None = None  # what it holds of limits of what is under way at once
        # The upstream is the name drivers look the Upstream up by.
        self.upstream = self.target = self.error = ""
        self.max_body_bytes = runtime.max_body_bytes
        self.encoder: Encoder | None = None  # set with the answer's head; its body goes through it
        self.attempts = self.status = self.bytes_in = self.bytes_out = 0
        self.recorded = False
        # The latency ledger: see domain.traffic.RequestRecord for what lies between two stamps.
        self.steps_at = now = monotonic_ns() // 1000
        self.started_at = started_at or now
        self.auth_at = self.limit_at = self.connected_at = self.first_byte_at = self.ended_at = 0
        self.upload_us = 0  # waiting for the client's first body bytes, before any upstream was asked

    @property
    def traceparent(self) -> bytes:
        """The W3C traceparent that names this hop's span, for the upstream."""
        return f"00-{self.trace_id}-{self.span_id}-{self.trace_flags}".encode("ascii")


class WebSocketExchange(Exchange):
    """The handshake of a WebSocket, and all that follows on its connection until that is closed.

    Attributes:
        take_over: gives the client's connection to the tunnel; None where an ASGI server keeps it.
    """

    is_websocket = True

    __slots__ = ("take_over",)

    take_over: TakeOver | None

    @property
    def is_judged(self) -> bool:  # type: ignore[override]  # a constant for every other exchange
        """Whether an ASGI server has found the handshake good."""
        return self.take_over is None
