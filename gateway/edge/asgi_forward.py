"""One forwarded exchange between an ASGI server and the proxy: bytes up, bytes down, neither faster than the other.

The answer is collected by plain callbacks. The request's own task wakes once for everything that has arrived by then,
so an answer that came in one read leaves in one go. A second task reads the client only where it must: while a body is
still coming, and, started by the driver's sweep, to notice that the client of a long exchange has left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.domain.traffic import ErrorKind
from gateway.edge import answer, request_rules
from gateway.edge.exchange import Refusal, now_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.domain.forwarding import Call, Forwarder, Headers, Outbound, UpstreamFailure
    from gateway.domain.routing import Route
    from gateway.domain.upstreams import Upstream
    from gateway.edge.exchange import Exchange, Outcome, Reply

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

# Bytes of an answer held here before the upstream is told to wait. With what the server's own buffer takes (64 KiB) a
# stalled client costs a quarter of a megabyte at most.
HIGH_WATER = 128 * 1024

BODY_IDLE_S = 30.0  # how long a client may leave its body unfinished without sending any of it

STOPPING = Refusal(503, ErrorKind.INTERNAL, "The gateway is stopping.", close=True)

CLIENT_GONE_STATUS = 499  # nginx's number for it; never sent, only recorded


class AsgiForward:
    """Implements domain.forwarding.Sink for one ASGI request."""

    __slots__ = (
        "_buffered",
        "_call",
        "_chunks",
        "_client_reader",
        "_crash",
        "_done",
        "_ended",
        "_exchange",
        "_failure",
        "_gone",
        "_head",
        "_loop",
        "_own",
        "_reading_paused",
        "_receive",
        "_upload_resumed",
        "_uploaded",
        "_waiter",
    )

    def __init__(self, exchange: Exchange, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self._exchange = exchange
        self._receive = receive
        self._loop = loop
        self._call: Call | None = None
        self._head: tuple[int, Headers] | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._ended = False
        self._failure: UpstreamFailure | None = None
        self._crash: Exception | None = None  # what went wrong in a callback, for the request's own task to raise
        self._own: Refusal | Reply | None = None  # the body turned out too large, or the verdict came late
        self._gone = False
        self._done = False
        self._uploaded = exchange.content_length == 0
        self._reading_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._upload_resumed: asyncio.Future[None] | None = None
        self._client_reader: asyncio.Task[None] | None = None

    # What the proxy calls: domain.forwarding.Sink.

    def connected(self, target: str, *, attempt: int, reused: bool) -> None:  # noqa: ARG002 - the proxy counts reuse
        """A target took the connection."""
        exchange = self._exchange
        exchange.target = target
        exchange.attempts = attempt
        exchange.connected_at = now_us()

    def head(self, status: int, headers: Headers) -> None:
        """Status and fields arrived: the answer can begin."""
        exchange = self._exchange
        exchange.first_byte_at = now_us()
        exchange.connected_at = exchange.connected_at or exchange.first_byte_at
        self._head = (status, headers)
        self._wake()

    def body(self, chunk: bytes) -> None:
        """Some of the body arrived; past the high-water mark the upstream is told to wait."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > HIGH_WATER and not self._reading_paused and self._call is not None:
            self._reading_paused = True
            self._call.pause_reading()
        self._wake()

    def end(self) -> None:
        """The answer is whole."""
        self._ended = True
        self._wake()

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """All of it at once."""
        self._ended = True
        if body:
            self._chunks.append(body)
        self.head(status, headers)

    def failed(self, failure: UpstreamFailure) -> None:
        """No whole answer will come."""
        self._failure = failure
        if failure.target:  # the one that could not even be reached: nobody told of it by ``connected``
            self._exchange.target, self._exchange.attempts = failure.target, failure.attempts
        self._wake()

    def pause(self) -> None:
        """The upstream is slow: the client is not read for a while."""
        if self._upload_resumed is None:
            self._upload_resumed = self._loop.create_future()

    def resume(self) -> None:
        """The upstream takes more."""
        resumed, self._upload_resumed = self._upload_resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    # What the driver calls.

    async def run(self, forwarder: Forwarder, outbound: Outbound, send: Send) -> None:
        """Forward and answer; the exchange knows afterwards how it ended. Returning early makes the server abort."""
        try:
            chunk = await self._first_chunk()
            if not self._gone and self._own is None:
                self._start(forwarder, outbound, chunk)
            await self._deliver(send)
        finally:
            self._close()

    async def run_when_admitted(self, send: Send) -> None:
        """Answer a request without a body whose verdict is still out: :meth:`admitted` sends it on."""
        try:
            await self._deliver(send)
        finally:
            self._close()

    def admitted(self, outcome: Outcome, forwarder: Forwarder, route: Route, upstream: Upstream) -> None:
        """The verdict came. It is given by the limiter, whose other callers must not suffer if this fails."""
        if self._done:
            return
        if outcome is not None:
            self._own = outcome
            self._wake()
            return
        try:
            self._start(forwarder, answer.outbound(self._exchange, route, upstream), b"")
        except Exception as error:  # noqa: BLE001 - the request's own task raises it, and logs it there
            self._crash = error
            self._wake()

    def watch_client(self) -> None:
        """Begin to read the client, to notice its leaving; called for exchanges that take long."""
        if self._client_reader is None and self._call is not None:
            self._client_reader = self._loop.create_task(self._read_client())

    async def _first_chunk(self) -> bytes:
        """What the client has sent of its body so far.

        No upstream is asked before it is there, so a client that drips its body holds no upstream connection for the
        first part of it, and a body that came with its head goes on with it.
        """
        if self._uploaded:
            return b""
        before = now_us()
        chunk = await self._next_chunk()
        self._exchange.upload_us = now_us() - before
        return chunk

    def _start(self, forwarder: Forwarder, outbound: Outbound, chunk: bytes) -> None:
        if outbound.content_length == len(chunk):  # it is whole, or there is none
            self._uploaded = True
            outbound.body = chunk
            self._call = forwarder.forward(outbound, self)
            return
        call = self._call = forwarder.forward(outbound, self)
        self._pass_on(call, chunk)
        if not self._uploaded:
            self.watch_client()

    def _pass_on(self, call: Call, chunk: bytes) -> None:
        if chunk:
            call.write(chunk)
        if self._uploaded:
            call.finish()

    async def _next_chunk(self) -> bytes:
        """More of the body, if it comes in time."""
        try:
            async with asyncio.timeout(BODY_IDLE_S):
                message = await self._receive()
        except TimeoutError:
            self._own = Refusal(408, ErrorKind.BAD_REQUEST, "The request body stopped coming.", close=True)
            return b""
        return self._take(message)

    def _take(self, message: dict[str, Any]) -> bytes:
        """The body bytes of a message from the client, with what it says about the rest noted."""
        if message["type"] == "http.disconnect":
            self._gone = True
            return b""
        chunk: bytes = message.get("body", b"")
        exchange = self._exchange
        exchange.bytes_in += len(chunk)
        limit = exchange.max_body_bytes
        if exchange.bytes_in > limit:
            self._own = request_rules.body_too_large(limit)
            return b""
        self._uploaded = not message.get("more_body", False)
        return chunk

    async def _read_client(self) -> None:
        """Pass on the rest of the body, then wait for the client's leaving."""
        call = self._call
        while call is not None and not self._gone and self._own is None:
            if self._upload_resumed is not None:
                await self._upload_resumed
            if self._uploaded:
                self._gone = (await self._receive())["type"] == "http.disconnect"
                continue
            self._pass_on(call, await self._next_chunk())
        if call is not None and not self._done:
            call.cancel()
            self._wake()

    async def _deliver(self, send: Send) -> None:
        while self._head is None and not self._is_over():
            await self._wait()
        if self._crash is not None:
            raise self._crash
        if self._gone:
            self._leave()
        elif self._own is not None:
            await send_own(self._exchange, self._own, send)
        elif self._head is not None:
            await self._relay(*self._head, send)
        elif self._failure is not None:
            await send_own(self._exchange, answer.failed(self._failure), send)

    async def _relay(self, status: int, headers: Headers, send: Send) -> None:
        exchange = self._exchange
        exchange.status = status
        fields = answer.relayed(exchange, status, headers)
        await send({"type": "http.response.start", "status": status, "headers": fields})
        if not self._chunks and not self._ended:
            # Servers may hold the head back until the first of the body comes (the ASGI specification says so).
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        while True:
            if self._gone:
                self._leave()
                return
            if self._chunks or self._ended:
                ended = self._ended
                await send({"type": "http.response.body", "body": self._drain(ended=ended), "more_body": not ended})
                if ended:
                    return
            elif self._own is not None:
                exchange.error = self._own.kind if isinstance(self._own, Refusal) else exchange.error
                return
            elif self._failure is not None:
                exchange.error = self._failure.kind
                return
            else:
                await self._wait()

    def _drain(self, *, ended: bool) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        encoder = self._exchange.encoder
        if encoder is not None:
            data = encoder.feed(data) + encoder.end() if ended else encoder.feed(data)
        self._chunks = []
        self._buffered = 0
        self._exchange.bytes_out += len(data)
        if self._reading_paused and self._call is not None:
            self._reading_paused = False
            self._call.resume_reading()
        return data

    def _leave(self) -> None:
        self._exchange.status = CLIENT_GONE_STATUS
        self._exchange.error = ErrorKind.CLIENT_GONE

    def _is_over(self) -> bool:
        return self._failure is not None or self._gone or self._own is not None or self._crash is not None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter
        self._waiter = None

    def _close(self) -> None:
        self._done = True
        if self._client_reader is not None:
            self._client_reader.cancel()
        call, self._call = self._call, None  # it holds us: without the cycle no garbage collector is needed
        if call is not None and not self._ended and self._failure is None:
            call.cancel()


async def send_own(exchange: Exchange, what: Refusal | Reply, send: Send) -> None:
    """Send an answer of the gateway's own."""
    status, headers, body = answer.own(exchange, what)
    exchange.first_byte_at = exchange.first_byte_at or (now_us() if exchange.connected_at else 0)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    exchange.bytes_out = len(body)
