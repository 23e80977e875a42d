"""A WebSocket handshake on its way to an upstream, and back: relayed like any answer, or the beginning of a tunnel.

Until the upstream has said 101 a handshake is a request like every other, so everything that can become of one is
inherited. After it, bytes go to the tunnel, and the request's task only waits for its end.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING

from gateway.domain.traffic import ErrorKind
from gateway.edge import answer, websocket_handshake
from gateway.edge.asgi_forward import AsgiForward
from gateway.edge.websocket_tunnel import Tunnel

if TYPE_CHECKING:
    import asyncio

    from gateway.domain.forwarding import Forwarder, Headers, Outbound, UpstreamFailure
    from gateway.edge.asgi_forward import Receive, Send
    from gateway.edge.exchange import WebSocketExchange
    from gateway.edge.open_websockets import OpenWebSockets

SWITCHING = 101


class WebSocketForward(AsgiForward):
    """Implements domain.forwarding.Sink for one WebSocket."""

    __slots__ = ("_handshake", "_idle_s", "_open", "_tunnel")

    def __init__(
        self, exchange: WebSocketExchange, receive: Receive, loop: asyncio.AbstractEventLoop, open_ones: OpenWebSockets
    ) -> None:
        super().__init__(exchange, receive, loop)
        self._handshake = exchange
        self._open = open_ones
        self._idle_s = 0.0
        self._tunnel: Tunnel | None = None

    # What the proxy calls.

    def body(self, chunk: bytes) -> None:
        """Bytes for the client."""
        if self._tunnel is not None:
            self._tunnel.upstream_sent(chunk)
        else:
            super().body(chunk)

    def end(self) -> None:
        """The upstream closed the connection."""
        super().end()
        if self._tunnel is not None:
            self._tunnel.upstream_gone(ErrorKind.UPSTREAM_TRUNCATED)

    def failed(self, failure: UpstreamFailure) -> None:
        """The upstream, or the connection to it, is lost."""
        super().failed(failure)
        if self._tunnel is not None:
            self._tunnel.upstream_gone(failure.kind)

    def pause(self) -> None:
        """The upstream is slow."""
        if self._tunnel is not None:
            self._tunnel.upstream_blocked(blocked=True)

    def resume(self) -> None:
        """The upstream takes more."""
        if self._tunnel is not None:
            self._tunnel.upstream_blocked(blocked=False)

    # What the driver calls.

    def watch_client(self) -> None:
        """Notice a client that leaves within the handshake; after it, the tunnel does."""
        if self._tunnel is None:
            super().watch_client()

    def _start(self, forwarder: Forwarder, outbound: Outbound, chunk: bytes) -> None:
        # A key of our own: what proves to us that the upstream took the handshake must not be the client's to choose.
        outbound.websocket_key = b64encode(os.urandom(16))
        self._idle_s = outbound.upstream.timeout.idle_s
        super()._start(forwarder, outbound, chunk)

    async def _relay(self, status: int, headers: Headers, send: Send) -> None:
        if status == SWITCHING:
            await self._switch(headers)
        else:
            await super()._relay(status, headers, send)

    async def _switch(self, headers: Headers) -> None:
        exchange, call, take_over = self._handshake, self._call, self._handshake.take_over
        if call is None or take_over is None:
            return
        if self._client_reader is not None:
            self._client_reader.cancel()
        exchange.status = SWITCHING
        head = websocket_handshake.switching(exchange, answer.relayed(exchange, SWITCHING, headers))
        tunnel = Tunnel(exchange, call, head, idle_s=self._idle_s, max_message_bytes=exchange.max_body_bytes)
        early = take_over(tunnel)
        if early is None:
            self._leave()
            return
        with self._open.one(exchange):
            try:
                self._hand_over(tunnel, early)
                await tunnel.closed
            finally:
                tunnel.cut()

    def _hand_over(self, tunnel: Tunnel, early: bytes) -> None:
        """Give the tunnel what came from either side before it was there."""
        self._tunnel = tunnel
        chunks, self._chunks = self._chunks, []
        for chunk in chunks:
            tunnel.upstream_sent(chunk)
        if self._reading_paused and self._call is not None:
            self._reading_paused = False
            self._call.resume_reading()
        if early:
            tunnel.data_received(early)
        if self._ended or self._failure is not None:
            tunnel.upstream_gone(ErrorKind.UPSTREAM_TRUNCATED)
