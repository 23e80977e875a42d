"""The answer to one request on the lane, as bytes on the client's connection: head, framing, flow control.

A head waits for the first of its body, so that both leave in one write; if none has come when the turn of the loop is
over, it goes ahead alone.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

from gateway.edge import answer
from gateway.edge.answer_head import CHUNKED, joined, written_head
from gateway.edge.server_cycle import JOIN_BYTES

if TYPE_CHECKING:
    import asyncio

    from gateway.domain.forwarding import Forwarder, Headers, RepeatedHeaders
    from gateway.edge.exchange import Exchange
    from gateway.edge.steps import Steps


class Connection(Protocol):
    """The client's connection as a request sees it."""

    transport: asyncio.Transport
    steps: Steps
    forwarder: Forwarder
    deadline: int  # monotonic µs, for the sweep
    held_heads: list[LaneAnswer]

    @property
    def write_paused(self) -> bool:
        """Whether the client takes less than it is sent."""

    def go_on(self) -> None:
        """The request takes more of its body: read on."""

    def pause_body(self) -> None:
        """The request takes no more of its body for now."""

    def hold_head(self, answer: LaneAnswer) -> None:
        """Call :meth:`LaneAnswer.send_head` at the end of this turn of the loop."""

    def on_response_complete(self) -> None:
        """The answer is whole."""


# Heads of upstreams that came before, and what is written of them: status line and fields, and the length of the body.
# An upstream sends few different ones within a second; the table is begun anew when it is full.
MAX_REMEMBERED_HEADS = 512
MAX_REMEMBERED_FIELDS = 32
_written: dict[tuple[object, ...], tuple[bytes, int]] = {}


def repeated_head(status: int, headers: RepeatedHeaders) -> tuple[bytes, int]:
    """What :func:`_usual_head` gives, kept with the fields."""
    known: tuple[bytes, int] | None = headers.derived
    if known is None:
        known = headers.derived = _usual_head(status, headers)
    return known


def _usual_head(status: int, headers: Headers) -> tuple[bytes, int]:
    """The beginning of the head that relays these fields to a client that stays, and the length of the body."""
    key = (status, *headers)
    known = _written.get(key)
    if known is None:
        head, length, _ = written_head(
            status, answer.kept(status, headers), is_head=False, is_old=False, keep_alive=True
        )
        known = head[:-2], length
        if len(headers) <= MAX_REMEMBERED_FIELDS and len(head) <= JOIN_BYTES // 16:
            if len(_written) >= MAX_REMEMBERED_HEADS:
                _written.clear()
            _written[key] = known
    return known


class MisframedError(Exception):
    """The body of an answer has another length than was announced."""


class LaneAnswer:
    """Writes one answer.

    Attributes:
        keep_alive: whether the connection stays after it.
        response_started: whether its head is made; nothing else can be answered from then on.
        response_complete: whether the exchange is over, however it ended.
    """

    __slots__ = (
        "_connection",
        "_head",
        "_left",
        "exchange",
        "keep_alive",
        "response_complete",
        "response_started",
    )

    exchange: Exchange
    keep_alive: bool
    response_complete: bool
    response_started: bool
    _connection: Connection
    _head: bytes  # until the first of the body comes
    _left: int  # bytes of the body still to be sent, or CHUNKED or UNTIL_CLOSE

    def send_head(self) -> None:
        """Nothing of the body came with the head: it goes ahead alone."""
        head, self._head = self._head, b""
        if head and not self.response_complete:
            self._connection.transport.write(head)

    def _write_whole(self, status: int, headers: RepeatedHeaders, body: bytes) -> bool:
        """Write an answer that came in one piece, to a client that stays; False where that is not possible."""
        head, framed = repeated_head(status, headers)
        length = len(body)
        if framed == CHUNKED:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (length, body) if body else b"0\r\n\r\n"
        elif framed != length:
            return False
        if length > JOIN_BYTES:
            return False
        exchange = self.exchange
        exchange.first_byte_at = monotonic_ns() // 1000  # as now_us does
        exchange.status = status
        exchange.bytes_out = length
        self.response_started = True
        # The head was judged when it came first, and in our lines nothing ends a line early: the id is visible ASCII.
        limits = exchange.verdict.lines() if exchange.verdict is not None else b""
        lines = b"%bx-request-id: %b\r\n%b\r\n%b" % (head, exchange.request_id.encode("ascii"), limits, body)
        self._connection.transport.write(lines)
        return True

    def _render(self, status: int, fields: Headers) -> None:
        """Make the head. Raises UnwritableError when a field could be taken for more than one line."""
        exchange = self.exchange
        self._head, self._left, self.keep_alive = written_head(
            status,
            fields,
            is_head=exchange.method == b"HEAD",
            is_old=exchange.version == "1.0",
            keep_alive=self.keep_alive,
        )
        self.response_started = True

    def _relay(self, status: int, headers: Headers) -> None:
        """Make the head of an upstream's answer. Raises UnwritableError like :meth:`_render`."""
        exchange = self.exchange
        if exchange.runtime.answers is not None or not self.keep_alive or exchange.method == b"HEAD":
            self._render(status, answer.relayed(exchange, status, headers))
            return
        head, self._left = _usual_head(status, headers)
        lines = [b": ".join(field) for field in answer.own_fields(exchange)]
        self._head = head + joined(lines)
        self.response_started = True

    def _send(self, chunk: bytes) -> None:
        """Some of the body, framed. Raises MisframedError when it is more than was announced."""
        left = self._left
        if left > 0:
            if len(chunk) > left:
                raise MisframedError("the answer's body is longer than announced")
            self._left = left - len(chunk)
        elif left == 0:
            return  # an answer without a body, whatever came behind it
        self.exchange.bytes_out += len(chunk)
        if left == CHUNKED:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        self._write(chunk)

    def _send_end(self) -> None:
        """The end of the body. Raises MisframedError when it is less than was announced."""
        if self._left == CHUNKED:
            self._write(b"0\r\n\r\n")
        elif self._left > 0:
            raise MisframedError("the answer's body is shorter than announced")
        elif self._head:
            self._write(b"")

    def _write(self, data: bytes) -> None:
        transport = self._connection.transport
        head = self._head
        if head:
            self._head = b""
            if len(data) <= JOIN_BYTES:
                data = head + data
            else:
                transport.write(head)
        transport.write(data)
