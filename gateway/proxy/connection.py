"""One HTTP/1.1 connection to an upstream: requests out, answers in, flow control both ways.

The head of an answer and chunked bodies go through llhttp (httptools). A body with a Content-Length that does not fit
into the first read, and one that lasts until the connection closes, bypass it: the bytes go on as they were read.

Nothing is released or begun inside a parser callback. The callbacks only note what happened; :meth:`data_received`
acts when the parser has returned, because bytes left over in the same read would otherwise become the next client's
answer. Whatever the upstream sends that nobody asked for closes the connection.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from gateway import logs
from gateway.domain.traffic import ErrorKind
from gateway.proxy.headers import BadAnswerError, answer_head

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, Sink
    from gateway.domain.routing import Timeouts

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256  # fields of one head; real answers have a few dozen
MAX_INTERIM = 8  # 1xx answers before the final one; real servers send one or two
MAX_SILENT_BYTES = 64 * 1024  # chunk extensions and trailers in a row without a byte of body
WRITE_HIGH_BYTES = 64 * 1024  # unsent request body at which the client is paused
_FIRST_FINAL, _LAST_FINAL, _SWITCHING = 200, 599, 101
_HEAD_TOO_LARGE = "the head of the answer is larger than 64 KiB"
_BODILESS = frozenset({204, 304})

_log = logs.get("proxy")


class Phase(IntEnum):
    """Where an answer stands; the order is the order of time."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    WHOLE = 3
    BROKEN = 4


class Exchange(Protocol):
    """The request a connection is busy with."""

    sink: Sink

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
    """One connection. Busy between :meth:`begin` and the end of the exchange, idle otherwise."""

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = inf
        self.requests = 0  # begun on this connection
        self._home = home
        self._now = loop.time
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._closed = False
        self._phase = Phase.IDLE
        self._timeouts: Timeouts
        self._head_only = False
        self._request_sent = True  # as far as we are concerned: handed to the transport
        self._had_body = False
        self._reading_paused = False
        self.write_blocked = False
        self._forget_answer()

    def _forget_answer(self) -> None:
        self._fields: Headers = []
        self._head_bytes = 0
        self._interim = 0
        self._silent = 0
        self._remaining = -1  # bytes of body still to come; -1 while the parser or the closing decides
        self._until_close = False
        self._keep_alive = False
        self._surplus = False  # bytes after the end of the answer
        self._problem = ""

    # --- what the pool and the exchange call ---

    def begin(self, exchange: Exchange, head: bytes, *, head_only: bool, has_body: bool, timeouts: Timeouts) -> None:
        """Send a request's head; ``head_only`` when the method is HEAD."""
        self._forget_answer()
        self._exchange = exchange
        self._phase = Phase.HEAD
        self._timeouts = timeouts
        self._head_only = head_only
        self._had_body = has_body
        self._request_sent = not has_body
        self.requests += 1
        # While the client is still sending, its own deadlines hold (the edge's); ours begins with the last byte.
        self.deadline = inf if has_body else self._now() + timeouts.header_s
        self._transport.write(head)

    def send(self, data: bytes) -> None:
        """More of the request, framed already."""
        self._transport.write(data)

    def sent_all(self) -> None:
        """The request is whole."""
        self._request_sent = True
        if self._phase is Phase.HEAD:
            self.deadline = self._now() + self._timeouts.header_s

    def pause_reading(self) -> None:
        """Read no more of the answer; the upstream is then held back by TCP."""
        if not self._reading_paused and not self._closed:
            self._reading_paused = True
            self._transport.pause_reading()
            if self._phase is Phase.BODY:
                self.deadline = inf  # a slow client is not the upstream's fault

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._reading_paused and not self._closed:
            self._reading_paused = False
            self._transport.resume_reading()
            if self._phase is Phase.BODY:
                self.deadline = self._now() + self._timeouts.idle_s

    def drop(self) -> None:
        """Close at once; the exchange, if any, hears nothing more. Idempotent."""
        self._exchange = None
        self._phase = Phase.IDLE
        self.deadline = inf
        if not self._closed:
            self._closed = True
            self._home.lost(self)
            self._transport.abort()

    def shut(self, reason: str) -> None:
        """Close at once and tell the exchange, if any, why."""
        kind = ErrorKind.UPSTREAM_UNAVAILABLE if self._phase is Phase.HEAD else ErrorKind.UPSTREAM_TRUNCATED
        self._fail(kind, 503, reason)

    def expired(self) -> None:
        """The sweep found the deadline passed."""
        if self._exchange is None:
            self.drop()
        elif self._phase is Phase.HEAD and not self._request_sent:
            self._fail(ErrorKind.UPSTREAM_TIMEOUT, 504, f"took none of the request for {self._timeouts.idle_s:g} s")
        elif self._phase is Phase.HEAD:
            self._fail(ErrorKind.UPSTREAM_TIMEOUT, 504, f"no answer within {self._timeouts.header_s:g} s")
        else:
            self._fail(ErrorKind.UPSTREAM_TRUNCATED, 502, f"the answer stood still for {self._timeouts.idle_s:g} s")

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def pause_writing(self) -> None:
        """The upstream does not read our request."""
        self.write_blocked = True
        if self._exchange is not None and not self._request_sent:
            if self._phase is Phase.HEAD:
                self.deadline = self._now() + self._timeouts.idle_s
            self._exchange.upload_blocked(blocked=True)

    def resume_writing(self) -> None:
        """The upstream reads again."""
        self.write_blocked = False
        if self._exchange is not None:
            if self._phase is Phase.HEAD and not self._request_sent:
                self.deadline = inf
            self._exchange.upload_blocked(blocked=False)  # also after the last byte: the client must not stay paused

    def data_received(self, data: bytes) -> None:
        """Some bytes of an answer."""
        exchange = self._exchange
        if exchange is None:
            self.drop()  # nobody asked for these
            return
        if self._phase is Phase.HEAD:
            self._head_bytes += len(data)
            self._parse(data)
        elif self._parser is not None:
            self._silent += len(data)
            self._parse(data)
        else:
            self._pass_on(exchange, data)
        if self._exchange is exchange:  # else the sink cancelled meanwhile
            self._act(exchange)

    def eof_received(self) -> None:
        """The upstream closed its side: the regular end of a body that lasts until then."""
        exchange = self._exchange
        if exchange is not None and self._phase is Phase.BODY and self._until_close:
            self._finish(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by either side, or broken."""
        exchange = self._exchange
        if exchange is None:
            self.drop()
        elif self._phase is Phase.HEAD and self._head_bytes == 0:
            self._fail(ErrorKind.UPSTREAM_UNAVAILABLE, 502, "closed the connection without an answer")
        elif self._phase is Phase.HEAD:
            self._fail(ErrorKind.UPSTREAM_PROTOCOL, 502, "closed the connection within the head of the answer")
        else:
            reason = "reset the connection" if exc else "closed the connection"
            self._fail(ErrorKind.UPSTREAM_TRUNCATED, 502, f"{reason} within the body of the answer")

    # --- what the parser calls: note, do not act ---

    def on_message_begin(self) -> None:
        """First byte of a message; after the answer's end it is a byte too many."""
        if self._phase >= Phase.WHOLE:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; trailers are dropped: nobody said they may be merged (RFC 9110 §6.5.1)."""
        if self._phase is Phase.HEAD:
            self._fields.append((name, value))
            if len(self._fields) > MAX_HEADERS:
                self._break(f"more than {MAX_HEADERS} headers in the answer")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._phase is not Phase.HEAD:
            return
        parser, exchange = self._parser, self._exchange
        if parser is None or exchange is None:
            return
        status = parser.get_status_code()
        if status < _FIRST_FINAL or status > _LAST_FINAL:
            self._interim_head(status)
            return
        # More may have been read than the head; only then is it worth adding up.
        if self._head_bytes > MAX_HEAD_BYTES and sum(len(n) + len(v) for n, v in self._fields) > MAX_HEAD_BYTES:
            self._break(_HEAD_TOO_LARGE)
            return
        try:
            answer = answer_head(self._fields, status)
        except BadAnswerError as error:
            self._break(str(error))
            return
        self._phase = Phase.BODY
        bodiless = self._head_only or status in _BODILESS
        # The parser cannot know of HEAD: it takes an answer without a length for one that ends with the connection.
        # With chunked, servers that send a body all the same cannot be told from those that do not.
        if self._head_only:
            self._keep_alive = not (answer.close or answer.chunked) and parser.get_http_version() == "1.1"
        else:
            self._keep_alive = parser.should_keep_alive()
        if not bodiless and not answer.chunked:
            self._remaining = answer.length
            self._until_close = answer.length < 0
        exchange.sink.head(status, answer.headers)

    def on_body(self, chunk: bytes) -> None:
        """Some bytes of the body."""
        exchange = self._exchange
        if self._phase is not Phase.BODY or exchange is None:
            return
        if self._head_only:
            self._surplus = True  # an answer to HEAD has no body, whatever follows
            return
        self._silent = 0
        if self._remaining > 0:
            self._remaining -= len(chunk)
        exchange.sink.body(chunk)

    def on_message_complete(self) -> None:
        """The answer is whole, or an interim one is."""
        if self._phase is Phase.BODY:
            self._phase = Phase.WHOLE

    # --- the inside ---

    def _act(self, exchange: Exchange) -> None:
        """The parser has returned: now the connection may be freed or closed."""
        phase = self._phase
        if phase is Phase.WHOLE:
            self._finish(exchange)
        elif phase is Phase.BROKEN and self._problem:
            self._fail(ErrorKind.UPSTREAM_PROTOCOL, 502, self._problem)
        elif phase is Phase.BROKEN:
            self._fail(ErrorKind.INTERNAL, 500, "the gateway failed while reading the answer")
        elif phase is Phase.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(ErrorKind.UPSTREAM_PROTOCOL, 502, _HEAD_TOO_LARGE)
        elif phase is Phase.BODY and self._silent > MAX_SILENT_BYTES:
            self._fail(ErrorKind.UPSTREAM_PROTOCOL, 502, "64 KiB of chunk extensions or trailers without any body")
        elif phase is Phase.BODY and not self._reading_paused:
            self.deadline = self._now() + self._timeouts.idle_s

    def _interim_head(self, status: int) -> None:
        self._fields = []
        self._interim += 1
        if status == _SWITCHING:
            self._break("answered 101, but no upgrade was asked for")
        elif status < 100 or status > _LAST_FINAL:  # noqa: PLR2004 - the range RFC 9110 §15 gives to 1xx
            self._break(f"answered with the status {status}")
        elif self._interim > MAX_INTERIM:
            self._break(f"more than {MAX_INTERIM} interim answers")

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break("answered 101, but no upgrade was asked for")
        except httptools.HttpParserCallbackError as error:
            # Our own mistake or the sink's, not the upstream's: say so, or it would be taken for a bad answer.
            _log.error("proxy.callback_failed", exc_info=error.__context__)
            self._phase, self._problem = Phase.BROKEN, ""
        except httptools.HttpParserError as error:
            if self._phase is Phase.WHOLE:
                self._surplus = True
            else:
                self._break(f"broke the protocol: {error}")
        if self._phase is Phase.BODY and (self._head_only or self._remaining > 0 or self._until_close):
            self._parser = None  # HEAD: it waits for a body that will not come; else the bytes bypass it from here
            if self._head_only:
                self._phase = Phase.WHOLE

    def _break(self, problem: str) -> None:
        if self._phase is not Phase.BROKEN:
            self._phase, self._problem = Phase.BROKEN, problem

    def _pass_on(self, exchange: Exchange, data: bytes) -> None:
        if self._remaining < 0:
            exchange.sink.body(data)
            return
        if len(data) > self._remaining:
            data, self._surplus = data[: self._remaining], True
        self._remaining -= len(data)
        exchange.sink.body(data)
        if self._remaining == 0 and self._exchange is exchange:
            self._phase = Phase.WHOLE

    def _finish(self, exchange: Exchange) -> None:
        """The answer is whole: free the connection first, since the sink may ask for it at once."""
        reusable = self._keep_alive and not self._surplus and self._request_sent and not self._closed
        if reusable and self._had_body and self._transport.get_write_buffer_size():
            reusable = False  # answered early: the rest of the body would stand before the next request
        self._exchange = None
        self._phase = Phase.IDLE
        if reusable:
            self.resume_reading()
            self._home.released(self, self._now())
        else:
            self.drop()
        exchange.answer_whole()

    def _fail(self, kind: ErrorKind, status: int, detail: str) -> None:
        exchange = self._exchange
        untouched = self._phase is Phase.HEAD and self._head_bytes == 0
        self.drop()
        if exchange is not None:
            exchange.answer_broken(kind, status, detail, untouched=untouched)
