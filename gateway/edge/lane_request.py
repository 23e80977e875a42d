"""One request on the lane: admitted, forwarded and answered by plain callbacks, without a task or a coroutine.

It is the proxy's sink and writes the answer to the client's connection itself. The connection
(:mod:`gateway.edge.lane`) tells it of body bytes, of room to write and of the client's leaving, and reads from it when
the body has to wait (:attr:`LaneRequest.held`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import logs
from gateway.domain.forwarding import RepeatedHeaders
from gateway.domain.traffic import ErrorKind
from gateway.edge import answer, asgi_forward, request_rules
from gateway.edge.asgi_forward import CLIENT_GONE_STATUS, STOPPING
from gateway.edge.clock import NEVER
from gateway.edge.exchange import Refusal, now_us
from gateway.edge.lane_answer import LaneAnswer
from gateway.edge.server_cycle import reset
from gateway.edge.steps import LATER

if TYPE_CHECKING:
    import asyncio

    from gateway.domain.forwarding import Call, Headers, UpstreamFailure
    from gateway.domain.upstreams import Upstream
    from gateway.edge.exchange import Exchange, Outcome, Reply
    from gateway.edge.lane_answer import Connection

STOPPED = Refusal(408, ErrorKind.BAD_REQUEST, "The request body stopped coming.", close=True)
_CRASHED = Refusal(500, ErrorKind.INTERNAL, "The gateway failed.", close=True)
_NOTHING_THERE = Refusal(503, ErrorKind.UPSTREAM_UNAVAILABLE, "Nothing is set up to answer this route.")

log = logs.get("edge")


class LaneRequest(LaneAnswer):
    """Implements domain.forwarding.Sink. The connection's protocol also takes it for a cycle of uvicorn's.

    Attributes:
        held: whether body bytes have to wait: the verdict or the upstream is slow.
        more_body: whether the client has still to send some of the body.
        on_over: set while the server is stopping and waits for the end.
    """

    __slots__ = (
        "_call",
        "_early",
        "_ending",
        "_expects_100",
        "_forwarded",
        "_uploaded",
        "_upstream",
        "_usual",
        "_waits_since",
        "held",
        "more_body",
        "on_over",
    )

    def __init__(
        self,
        connection: Connection,
        exchange: Exchange,
        *,
        keep_alive: bool = True,
        expects_100: bool = False,
        more_body: bool = False,
        body: bytes = b"",
    ) -> None:
        self.exchange = exchange
        self._connection = connection
        self.keep_alive = keep_alive
        self.response_complete = self.response_started = False
        self._head = b""
        self._left = 0
        self.held = False
        self.more_body = more_body
        self.on_over: asyncio.Future[None] | None = None
        self._call: Call | None = None
        self._upstream: Upstream | None = None
        self._early = body  # what is there of it before the request can be sent on
        self._waits_since = 0
        # Nothing of the request changes how its answer is written.
        self._usual = not more_body and exchange.method != b"HEAD"
        self._expects_100 = expects_100
        self._forwarded = self._uploaded = self._ending = False

    # --- what the connection calls ---

    def start(self) -> None:
        """Its turn has come: the request before it is answered."""
        try:
            outcome = self._connection.steps.admit(self.exchange, self._decided)
            if outcome is LATER:
                self.held = self.more_body
            else:
                self._proceed(outcome)
        except Exception as error:  # noqa: BLE001 - a task border: one request's crash must not end its neighbours
            self._crash(error)

    def received(self, chunk: bytes) -> None:
        """Some bytes of the body."""
        exchange = self.exchange
        exchange.bytes_in += len(chunk)
        if exchange.bytes_in > exchange.max_body_bytes:
            self.refuse(request_rules.body_too_large(exchange.max_body_bytes))
            return
        self._await_body()
        try:
            if self._call is not None and not self.held:
                self._call.write(chunk)
            else:
                self._early += chunk  # at most what one turn of the connection's reading holds
                self._begin_upload()
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)

    def received_all(self) -> None:
        """The body is whole."""
        self.more_body = False
        if self.response_complete:
            return
        self._connection.deadline = NEVER
        try:
            if self._call is not None and not self.held:
                self._finish_upload(self._call)
            else:
                self._begin_upload()
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)

    def refuse(self, why: Refusal) -> None:
        """End it from our side: with an answer, or, where that has begun, by cutting it off."""
        if self.response_complete:
            return
        self._cancel()
        if self.response_started:
            self.exchange.error = why.kind
            self._cut_off()
        else:
            self._answer(why)

    def stop(self) -> None:
        """The server has waited for it as long as it was told to."""
        if not self.response_complete:
            self.exchange.status = self.exchange.status or STOPPING.status
            self.refuse(STOPPING)

    def client_gone(self) -> None:
        """The client left: nobody wants the answer any more."""
        if not self.response_complete:
            self.exchange.status = CLIENT_GONE_STATUS
            self.exchange.error = ErrorKind.CLIENT_GONE
            self._cancel()
            self._over()

    def client_slow(self) -> None:
        """The client takes less than it is sent."""
        if self._call is not None:
            self._call.pause_reading()

    def client_keeps_up(self) -> None:
        """There is room again."""
        if self._ending:
            self._complete()
        elif self._call is not None:
            self._call.resume_reading()

    # --- what the proxy calls: domain.forwarding.Sink ---

    def connected(self, target: str, *, attempt: int, reused: bool) -> None:
        """A target took the connection."""
        exchange = self.exchange
        exchange.target = target
        exchange.attempts = attempt
        # An idle connection was at hand: there was nothing to wait for. (Those that come later do so after forward.)
        at_once = reused and self._call is None
        exchange.connected_at = exchange.limit_at + exchange.upload_us if at_once else now_us()

    def head(self, status: int, headers: Headers) -> None:
        """Status and fields arrived: the answer can begin."""
        if self.response_complete:
            return
        exchange = self.exchange
        exchange.first_byte_at = now = now_us()
        exchange.connected_at = exchange.connected_at or now
        exchange.status = status
        try:
            self._relay(status, headers)
            self._connection.hold_head(self)
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """All of it arrived at once: what most answers are, and worth a way of its own."""
        try:
            if (
                self._usual
                and self.keep_alive  # as of now: the server may have begun to stop
                and not self.response_complete
                and type(headers) is RepeatedHeaders
                and self.exchange.runtime.answers_plainly
                and self._write_whole(status, headers, body)
            ):
                if self._connection.write_paused:
                    self._ending = True
                else:
                    self.exchange.ended_at = self.exchange.first_byte_at  # one moment: its first byte and its last
                    self._complete()
                return
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)
            return
        self.head(status, headers)
        if body:
            self.body(body)
        self.end()

    def body(self, chunk: bytes) -> None:
        """Some of the body arrived."""
        if self.response_complete:
            return
        try:
            encoder = self.exchange.encoder
            if encoder is not None:
                chunk = encoder.feed(chunk)
            if chunk:
                self._send(chunk)
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)

    def end(self) -> None:
        """The answer is whole."""
        if self.response_complete:
            return
        try:
            encoder = self.exchange.encoder
            if encoder is not None and (rest := encoder.end()):
                self._send(rest)
            self._send_end()
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)
            return
        # A client that has not taken the end of a long answer may still leave without it.
        if self._connection.write_paused:
            self._ending = True
        else:
            self._complete()

    def failed(self, failure: UpstreamFailure) -> None:
        """No whole answer will come."""
        if self.response_complete:
            return
        if failure.target:  # the one that could not even be reached: nobody told of it by ``connected``
            self.exchange.target, self.exchange.attempts = failure.target, failure.attempts
        self._call = None
        self.refuse(answer.failed(failure))

    def pause(self) -> None:
        """The upstream is slow: the client is not read for a while."""
        if self.more_body and not self.response_complete:
            self.held = True
            self._connection.deadline = NEVER
            self._connection.pause_body()

    def resume(self) -> None:
        """The upstream takes more."""
        if self.held and not self.response_complete:
            self.held = False
            call, early = self._call, self._early
            if call is not None and early:  # what the turn of reading still held when it was paused
                self._early = b""
                call.write(early)
            if call is not None and not self.more_body:
                self._finish_upload(call)
            self._await_body()
            self._connection.go_on()

    # --- the inside ---

    def _decided(self, outcome: Outcome) -> None:
        """The verdict came. It is given by the limiter, whose other callers must not suffer if this fails."""
        if self.response_complete:
            return
        self.held = False
        try:
            self._proceed(outcome)
        except Exception as error:  # noqa: BLE001 - see start
            self._crash(error)
        if self.more_body:
            self._connection.go_on()

    def _proceed(self, outcome: Outcome) -> None:
        if outcome is not None:
            self._answer(outcome)
            return
        exchange = self.exchange
        upstream = exchange.runtime.upstreams.get(exchange.upstream)
        if upstream is None:
            self._answer(_NOTHING_THERE)
            return
        self._upstream = upstream
        if exchange.content_length == 0 or exchange.content_length == len(self._early):
            self._forward(upstream)
            return
        # No upstream is asked before the first of the body is there, so a client that drips its body holds no upstream
        # connection for that part of it.
        self._waits_since = now_us()
        if self._expects_100 and self.more_body and not self._early:
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._await_body()
        self._begin_upload()

    def _begin_upload(self) -> None:
        upstream = self._upstream
        if upstream is not None and not self._forwarded and (self._early or not self.more_body):
            self.exchange.upload_us = now_us() - self._waits_since
            self._forward(upstream)

    def _forward(self, upstream: Upstream) -> None:
        exchange, connection = self.exchange, self._connection
        self._forwarded = True
        route = exchange.route
        if route is None:
            raise ValueError("an admitted request has a route")
        outbound = answer.outbound(exchange, route, upstream)
        early, self._early = self._early, b""
        if exchange.content_length == len(early):  # it is whole, or there is none
            self._uploaded = True
            outbound.body = early
            call = connection.forwarder.forward(outbound, self)
        else:
            call = connection.forwarder.forward(outbound, self)
            if early:
                call.write(early)
            if not self.more_body:
                self._finish_upload(call)
        if not self.response_complete:
            self._call = call
            if connection.write_paused:
                call.pause_reading()

    def _finish_upload(self, call: Call) -> None:
        if not self._uploaded:
            self._uploaded = True
            call.finish()

    def _await_body(self) -> None:
        if self.more_body and not self.held:
            self._connection.deadline = now_us() + int(asgi_forward.BODY_IDLE_S * 1e6)

    def _answer(self, what: Refusal | Reply) -> None:
        """An answer of the gateway's own."""
        exchange = self.exchange
        status, fields, body = answer.own(exchange, what)
        exchange.first_byte_at = exchange.first_byte_at or (now_us() if exchange.connected_at else 0)
        self._render(status, fields)
        exchange.bytes_out = len(body)
        self._write(body)  # its length stands in the fields
        self._complete()

    def _crash(self, error: Exception) -> None:
        """Our own mistake: said in the log, and not left for the client to wait for."""
        exchange = self.exchange
        log.error("exchange.crashed", request_id=exchange.request_id, reason=type(error).__name__, exc_info=error)
        if self.response_complete:
            return
        exchange.error = exchange.error or ErrorKind.INTERNAL
        self._cancel()
        if exchange.status:  # an answer has begun, or is what failed
            self._cut_off()
        else:
            self._answer(_CRASHED)

    def _cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _cut_off(self) -> None:
        """End the client's connection so that what it got of the answer cannot look whole."""
        self._over()
        reset(self._connection.transport)

    def _complete(self) -> None:
        self._over()
        connection = self._connection
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    def _over(self) -> None:
        self.response_complete = True
        self._call = None  # it holds us: without the cycle no garbage collector is needed
        self._head = self._early = b""
        self._connection.steps.finish(self.exchange)
        if self.on_over is not None and not self.on_over.done():
            self.on_over.set_result(None)
