"""One request on its way upstream: which target, how often, and what may still be repeated.

A request goes out again only where that cannot do harm:

- the target refused the connection: nothing was sent, so another target gets it, each at most once and all within the
  connect timeout;
- a reused connection turned out to be closed before any byte of an answer: once more on a fresh connection, if the
  method is idempotent (RFC 9110 §9.2.2) and the whole body so far is still at hand. A POST is not repeated: the
  upstream may have acted on it before it closed.

What a route's ``retry`` allows beyond that is in :mod:`gateway.proxy.watched_call`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from gateway.domain.forwarding import UpstreamFailure
from gateway.domain.traffic import ErrorKind
from gateway.domain.websocket import accept_of
from gateway.proxy.headers import UnforwardableError, request_head
from gateway.proxy.retry import IDEMPOTENT

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, Outbound, Sink, WholeSink
    from gateway.domain.upstreams import Target
    from gateway.proxy.connection import UpstreamConnection
    from gateway.proxy.pool import TargetPool

JOIN_BYTES = 32 * 1024  # of a body that is copied behind its head: cheaper than a second write
REPLAY_BYTES = 64 * 1024  # of body kept for a second attempt, and held while there is no connection yet


class Service(Protocol):
    """The upstream as a call sees it."""

    def choose(self, now: float, tried: tuple[str, ...]) -> tuple[Target, TargetPool] | None:
        """A target that is not among the tried ones and its connections, or None."""

    def note_failure(self, target: str, kind: ErrorKind, detail: str) -> None:
        """Something went wrong at that target."""

    def now(self) -> float:
        """Monotonic seconds."""


class UpstreamCall:
    """The proxy's side of one exchange: domain.forwarding.Call to the driver, Exchange and Caller to the rest."""

    __slots__ = (
        "_attempt",
        "_body",
        "_body_bytes",
        "_chunked",
        "_connection",
        "_done",
        "_finished",
        "_head",
        "_keeps",
        "_length",
        "_outbound",
        "_paused",
        "_pool",
        "_reading_paused",
        "_retried",
        "_reused",
        "_service",
        "_target",
        "_tried",
        "connect_by",
        "deadline",
        "has_body",
        "head_only",
        "sink",
        "takes_whole",
        "timeouts",
    )

    def __init__(self, service: Service, outbound: Outbound, sink: Sink) -> None:
        self.sink = sink
        self.takes_whole = hasattr(sink, "whole")
        self.timeouts = outbound.upstream.timeout
        self.deadline = self.connect_by = inf
        self._service = service
        self._outbound = outbound
        self._length = outbound.content_length
        self._chunked = outbound.content_length < 0
        self.has_body = outbound.content_length != 0
        self.head_only = outbound.method == b"HEAD"
        self._finished = not self.has_body
        self._connection: UpstreamConnection | None = None
        self._pool: TargetPool | None = None
        self._head = b""
        self._body: list[bytes] | None = []  # framed; everything so far, or None once it cannot be repeated
        self._body_bytes = 0
        self._keeps = False  # the body, although the connection is a fresh one
        self._attempt = 0
        self._target = ""
        self._tried: tuple[str, ...] = ()
        self._reused = self._retried = self._paused = self._reading_paused = self._done = False

    def start(self) -> None:
        """Choose a target and ask for a connection to it."""
        try:
            self._head = self._request_head()
        except UnforwardableError as error:
            self._fail(ErrorKind.BAD_REQUEST, 400, str(error))
            return
        if body := self._outbound.body:
            self._take_whole(body)
        now = self._service.now()
        self.connect_by = now + self.timeouts.connect_s
        self._try_target(now)

    # --- what the driver calls ---

    def write(self, chunk: bytes) -> None:
        """More of the request body."""
        if self._done or not chunk:  # an empty chunk would end a chunked body
            return
        if self._outbound.websocket_key:
            if self._connection is not None and self._connection.switched:
                self._connection.send(chunk)
            return
        self._body_bytes += len(chunk)
        if self._finished or (not self._chunked and self._body_bytes > self._length):
            # Sent on, the surplus would be read as the next request on this connection.
            self._refuse("the request body is longer than announced")
            return
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        self._keep(chunk)
        if self._connection is not None:
            self._connection.send(chunk)
        elif self._body_bytes > REPLAY_BYTES and not self._paused:
            self._paused = True
            self.sink.pause()

    def finish(self) -> None:
        """The request body is whole, or a WebSocket is over."""
        if self._done:
            return
        if self._outbound.websocket_key and self._connection is not None and self._connection.switched:
            self._done = True
            connection, self._connection = self._connection, None
            connection.part()
            return
        if self._finished:
            return
        if not self._chunked and self._body_bytes < self._length:
            self._refuse("the request body is shorter than announced")
            return
        self._finished = True
        if self._chunked:
            self._keep(b"0\r\n\r\n")
        if self._connection is not None:
            if self._chunked:
                self._connection.send(b"0\r\n\r\n")
            self._connection.sent_all()

    def pause_reading(self) -> None:
        """The client is slow."""
        self._reading_paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """The client keeps up again."""
        self._reading_paused = False
        if self._connection is not None:
            self._connection.resume_reading()

    def cancel(self) -> None:
        """The client is gone."""
        if not self._done:
            self._end()

    # --- what the pool calls ---

    def connected(self, connection: UpstreamConnection, *, reused: bool) -> None:
        """Write the request, as far as it is known, to this connection."""
        self._connection, self._reused = connection, reused
        self._attempt += 1
        self.deadline = inf
        self.sink.connected(self._target, attempt=self._attempt, reused=reused)
        if self._connection is not connection:
            return  # the sink cancelled
        outbound = self._outbound
        connection.begin(self, self._head)
        if outbound.websocket_key:
            connection.expect_websocket(accept_of(outbound.websocket_key))
        if self.has_body:
            self._send_kept(connection, reused=reused)
        if self._reading_paused:
            connection.pause_reading()

    def unreachable(self, reason: str, *, timed_out: bool) -> None:
        """Nothing was sent: another target may have it."""
        name = self._target
        self._service.note_failure(name, ErrorKind.UPSTREAM_UNAVAILABLE, reason)
        self._tried = (*self._tried, name)
        self._attempt += 1
        now = self._service.now()
        if timed_out or now >= self.connect_by or not self._try_target(now):
            self._fail(ErrorKind.UPSTREAM_UNAVAILABLE, 502, reason)

    def turned_away(self, reason: str) -> None:
        """No connection to be had."""
        self._overloaded(reason)

    def expired(self) -> None:
        """Waited too long in the queue."""
        if self._pool is not None:
            self._pool.leave(self)
        self._overloaded(f"every connection stayed busy for {self.timeouts.connect_s:g} s")

    # --- what the connection calls ---

    def answered_at_once(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer came at once."""
        if not self._done:
            self._done = True
            self._connection = self._body = None
            sink: WholeSink = self.sink  # type: ignore[assignment]  # see takes_whole
            sink.whole(status, headers, body)

    def answer_whole(self) -> None:
        """Everything was delivered."""
        if not self._done:
            self._done = True
            self._connection = self._body = None
            self.sink.end()

    def answer_broken(self, kind: ErrorKind, status: int, detail: str, *, untouched: bool) -> None:
        """No whole answer from this connection."""
        if self._done:
            return
        self._connection = None
        pool = self._pool
        if pool is not None and self._may_repeat(kind, untouched=untouched):
            self._retried = True
            pool.stale()
            now = self._service.now()
            self.connect_by = now + self.timeouts.connect_s
            pool.acquire(self, now, fresh=True)
            return
        self._service.note_failure(self._target, kind, detail)
        self._fail(kind, status, detail)

    def upload_blocked(self, *, blocked: bool) -> None:
        """Pass the upstream's back pressure on to the client."""
        if blocked and not self._paused:
            self._paused = True
            self.sink.pause()
        elif not blocked and self._paused:
            self._paused = False
            self.sink.resume()

    # --- the inside ---

    def _request_head(self) -> bytes:
        return request_head(self._outbound)

    def _take_whole(self, body: bytes) -> None:
        """The body is there before the request is sent: a short one goes with its head, whenever that goes."""
        self._body_bytes = len(body)
        self._finished = True
        if len(body) <= JOIN_BYTES:
            self._head += body
        else:
            self._body = [body]

    def _try_target(self, now: float) -> bool:
        chosen = self._service.choose(now, self._tried)
        if chosen is None:
            if not self._tried:
                self._fail(ErrorKind.UPSTREAM_UNAVAILABLE, 502, "the upstream has no targets")
            return False
        target, self._pool = chosen
        self._target = target.name
        self._pool.acquire(self, now)
        return True

    def _may_repeat(self, kind: ErrorKind, *, untouched: bool) -> bool:
        return (
            untouched
            and self._reused
            and not self._retried
            and kind is ErrorKind.UPSTREAM_UNAVAILABLE
            and self._body is not None
            and self._outbound.method in IDEMPOTENT
        )

    def _keep(self, framed: bytes) -> None:
        """Hold what may be needed again: everything before there is a connection, then up to the limit."""
        if self._body is not None:
            if self._connection is not None and self._body_bytes > REPLAY_BYTES:
                self._body = None
            else:
                self._body.append(framed)

    def _send_kept(self, connection: UpstreamConnection, *, reused: bool) -> None:
        for framed in self._body or ():
            connection.send(framed)
        if not (reused or self._keeps) or self._body_bytes > REPLAY_BYTES:
            self._body = None
        if self._finished:
            connection.sent_all()
        if self._paused and not connection.write_blocked:
            self.upload_blocked(blocked=False)

    def _overloaded(self, reason: str) -> None:
        self._service.note_failure(self._target, ErrorKind.OVERLOADED, reason)
        self._fail(ErrorKind.OVERLOADED, 503, reason)

    def _refuse(self, detail: str) -> None:
        self._end()
        self.sink.failed(
            UpstreamFailure(ErrorKind.BAD_REQUEST, 400, detail, target=self._target, attempts=self._attempt)
        )

    def _fail(self, kind: ErrorKind, status: int, detail: str) -> None:
        if not self._done:
            self._connection = None
            self._end()
            self.sink.failed(UpstreamFailure(kind, status, detail, target=self._target, attempts=self._attempt))

    def _end(self) -> None:
        """Let go of everything: nothing follows."""
        self._done = True
        self._body = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()
        elif self._pool is not None:
            self._pool.leave(self)
