"""One HTTP/1.1 connection to an upstream: requests out, answers in, deadlines, flow control both ways.

What an answer is, :mod:`gateway.proxy.answer` reads; this module owns the transport. Whatever the upstream sends that
nobody asked for closes the connection.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from gateway.domain.traffic import ErrorKind
from gateway.domain.upstreams import Timeouts
from gateway.proxy.answer import AnswerReader, Phase
from gateway.proxy.tls import ended_in_order

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, Sink

WRITE_HIGH_BYTES = 64 * 1024  # unsent request body at which the client is paused
READ_AHEAD_BYTES = 64 * 1024  # undecrypted answer at which TLS stops reading; both event loops would take 256 KiB
PART_S = 5.0  # for the last bytes of a WebSocket to go out

_ENDLESS = Timeouts(idle_s=inf)

# An attribute of an enum class costs as much as a call.
_IDLE, _BODY, _WHOLE = Phase.IDLE, Phase.BODY, Phase.WHOLE


class Exchange(Protocol):
    """The request a connection is busy with."""

    sink: Sink
    timeouts: Timeouts
    head_only: bool  # its method is HEAD
    has_body: bool
    takes_whole: bool  # whether its sink takes a whole answer in one piece

    def answered_at_once(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer came in one piece; the connection is already free or closed."""

    def answer_whole(self) -> None:
        """Everything was delivered; the connection is already free or closed."""

    def answer_broken(self, kind: ErrorKind, status: int, detail: str, *, untouched: bool) -> None:
        """No whole answer will come; ``untouched`` says that not one byte of an answer had arrived."""

    def upload_blocked(self, *, blocked: bool) -> None:
        """The upstream does not keep up with the request body, or does again."""


class Home(Protocol):
    """Where a connection belongs between requests."""

    def released(self, connection: UpstreamConnection, now: float) -> None:
        """The connection may carry the next request."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is of no more use. Called once."""


class UpstreamConnection(asyncio.Protocol):
    """One connection. Busy between :meth:`begin` and the end of the exchange, idle otherwise.

    Attributes:
        deadline: monotonic seconds, for the sweep.
        write_blocked: whether the transport's buffer is full.
        address: what the target's name stood for when this was opened; empty where there was no name to look up.
        retiring: whether no further request may go this way, since the target is no longer at that address.
    """

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = inf
        self.write_blocked = False
        self.address = ""
        self.retiring = False
        self._home = home
        self._now = loop.time
        self._transport: asyncio.Transport
        self._timeouts: Timeouts
        self._exchange: Exchange | None = None
        self._answer = AnswerReader()
        self._closed = False
        self._request_sent = True  # as far as we are concerned: handed to the transport
        self._had_body = False
        self._reading_paused = False

    # --- what the pool and the call use ---

    def begin(self, exchange: Exchange, head: bytes) -> None:
        """Send a request's head."""
        self._exchange = exchange
        self._timeouts = timeouts = exchange.timeouts
        self._had_body = has_body = exchange.has_body
        self._request_sent = not has_body
        # While the client is still sending, its own deadlines hold (the edge's); ours begins with the last byte.
        self.deadline = inf if has_body else self._now() + timeouts.header_s
        self._answer.expect(exchange.sink, exchange.head_only, exchange.takes_whole)
        self._transport.write(head)

    @property
    def switched(self) -> bool:
        """Whether it is a WebSocket now, and never carries another request."""
        return self._answer.switched

    def expect_websocket(self, accept: bytes) -> None:
        """The request that began is a WebSocket handshake, and a 101 must have this Sec-WebSocket-Accept."""
        self._answer.expect_websocket(accept)

    def part(self) -> None:
        """End a WebSocket: what was sent goes out first, but not for longer than PART_S."""
        self._exchange = None
        self._answer.stop()
        self.deadline = self._now() + PART_S
        self._transport.close()

    def send(self, data: bytes) -> None:
        """More of the request, framed already."""
        self._transport.write(data)

    def sent_all(self) -> None:
        """The request is whole."""
        self._request_sent = True
        if self._answer.phase is Phase.HEAD:
            self.deadline = self._now() + self._timeouts.header_s

    def pause_reading(self) -> None:
        """Read no more of the answer; the upstream is then held back by TCP."""
        if not self._reading_paused and not self._closed:
            self._reading_paused = True
            self._transport.pause_reading()
            if self._answer.phase is Phase.BODY:
                self.deadline = inf  # a slow client is not the upstream's fault

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._reading_paused and not self._closed:
            self._reading_paused = False
            self._transport.resume_reading()
            if self._answer.phase is Phase.BODY:
                self.deadline = self._now() + self._timeouts.idle_s

    def drop(self) -> None:
        """Close at once; the exchange, if any, hears nothing more. Idempotent."""
        self._exchange = None
        self._answer.stop()
        self.deadline = inf
        if not self._closed:
            self._closed = True
            self._home.lost(self)
            self._transport.abort()

    def shut(self, reason: str) -> None:
        """Close at once and tell the exchange, if any, why."""
        before_head = self._answer.phase is Phase.HEAD
        kind = ErrorKind.UPSTREAM_UNAVAILABLE if before_head else ErrorKind.UPSTREAM_TRUNCATED
        self._fail(kind, 503, reason, untouched=False)

    def expired(self) -> None:
        """The sweep found the deadline passed."""
        if self._exchange is None:
            self.drop()
        elif self._answer.phase is not Phase.HEAD:
            self._fail(ErrorKind.UPSTREAM_TRUNCATED, 502, f"the answer stood still for {self._timeouts.idle_s:g} s")
        elif self._request_sent:
            self._fail(ErrorKind.UPSTREAM_TIMEOUT, 504, f"no answer within {self._timeouts.header_s:g} s")
        else:
            self._fail(ErrorKind.UPSTREAM_TIMEOUT, 504, f"took none of the request for {self._timeouts.idle_s:g} s")

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        limit_reading = getattr(transport, "set_read_buffer_limits", None)
        if limit_reading is not None:  # only TLS transports read ahead of a reader that stands still
            limit_reading(high=READ_AHEAD_BYTES)

    def pause_writing(self) -> None:
        """The upstream does not read our request."""
        self.write_blocked = True
        if self._exchange is not None and not self._request_sent:
            if self._answer.phase is Phase.HEAD:
                self.deadline = self._now() + self._timeouts.idle_s
            self._exchange.upload_blocked(blocked=True)

    def resume_writing(self) -> None:
        """The upstream reads again."""
        self.write_blocked = False
        if self._exchange is not None:
            if self._answer.phase is Phase.HEAD and not self._request_sent:
                self.deadline = inf
            self._exchange.upload_blocked(blocked=False)  # also after the last byte: the client must not stay paused

    def data_received(self, data: bytes) -> None:
        """Some bytes of an answer."""
        exchange = self._exchange
        if exchange is None:
            self.drop()  # nobody asked for these
            return
        phase = self._answer.feed(data)
        if self._exchange is not exchange:
            return  # the sink cancelled meanwhile
        if phase is _WHOLE:
            self._finish(exchange)
        elif phase is _BODY:
            if self._answer.switched and self._timeouts is not _ENDLESS:
                self._become_websocket()
            elif not self._reading_paused:
                self.deadline = self._now() + self._timeouts.idle_s
        elif phase is Phase.BROKEN:
            if self._answer.problem:
                self._fail(ErrorKind.UPSTREAM_PROTOCOL, 502, self._answer.problem)
            else:
                self._fail(ErrorKind.INTERNAL, 500, "the gateway failed while reading the answer")

    def eof_received(self) -> None:
        """The upstream closed its side; the transport closes ours."""
        exchange = self._exchange
        if exchange is not None and ended_in_order(self._transport) and self._answer.closed() is Phase.WHOLE:
            self._finish(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by either side, or broken."""
        if self._exchange is None:
            self.drop()
        elif self._answer.untouched:
            detail = "closed the connection without an answer"
            self._fail(ErrorKind.UPSTREAM_UNAVAILABLE, 502, detail, untouched=True)
        elif self._answer.phase is Phase.HEAD:
            self._fail(ErrorKind.UPSTREAM_PROTOCOL, 502, "closed the connection within the head of the answer")
        else:
            reason = "reset the connection" if exc else "closed the connection"
            self._fail(ErrorKind.UPSTREAM_TRUNCATED, 502, f"{reason} within the body of the answer")

    # --- the inside ---

    def _finish(self, exchange: Exchange) -> None:
        """The answer is whole: free the connection first, since the sink may ask for it at once."""
        answer = self._answer
        whole, answer.whole = answer.whole, None
        reusable = answer.reusable and self._request_sent and not self._closed
        if reusable and self._had_body and self._transport.get_write_buffer_size():
            reusable = False  # answered early: the rest of the body would stand before the next request
        if reusable:
            self._exchange = None
            answer.phase = _IDLE
            if self._reading_paused:
                self.resume_reading()
            self._home.released(self, self._now())
        else:
            self.drop()
        if whole is None:
            exchange.answer_whole()
        else:
            exchange.answered_at_once(*whole)

    def _become_websocket(self) -> None:
        """From now on bytes go both ways until one side closes; how long it may be quiet, the edge decides."""
        self._request_sent = False
        self._timeouts = _ENDLESS
        self.deadline = inf

    def _fail(self, kind: ErrorKind, status: int, detail: str, *, untouched: bool = False) -> None:
        exchange = self._exchange
        self.drop()
        if exchange is not None:
            exchange.answer_broken(kind, status, detail, untouched=untouched)
