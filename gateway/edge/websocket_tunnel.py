"""An open WebSocket: two connections, the bytes between them, and how it ends.

Bytes pass as they come. The frames are followed (:mod:`gateway.edge.websocket_frames`), so that the gateway can speak
where it must: it pings a side that has been silent, and it closes with a code when one side is lost, breaks the
protocol, or the worker stops. Neither side is read faster than the other one takes it, so what is held of a connection
is bounded by the buffers of the two transports.
"""

from __future__ import annotations

import asyncio
import os
from random import uniform
from typing import TYPE_CHECKING, cast

from gateway.domain.traffic import ErrorKind
from gateway.edge import websocket_frames as frames
from gateway.edge.websocket_frames import FrameFollower

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.forwarding import Call
    from gateway.edge.exchange import Exchange

# For the other side's close frame after one side's, and for the last bytes to go out.
CLOSE_WAIT_S = 3.0

# A side is pinged when it was silent for one of these parts of the idle timeout, and lost when for all and one more.
TICKS_OF_IDLE = 3

_WRITE_HIGH_BYTES = 64 * 1024


class Tunnel(asyncio.Protocol):
    """The client's connection after a 101, and by ``call`` the upstream's.

    Args:
        exchange: gets bytes and, when the WebSocket did not end well, the kind of error.
        call: the upstream's side.
        head: the 101 as it is written to the client.
        idle_s: how long a side may be silent although it was asked for a sign of life.
        max_message_bytes: of one message of the client.

    Attributes:
        closed: done when the client's connection is.
        on_closed: called then.
        drain_s: how long after :meth:`shutdown` the server cuts off whatever is left.
    """

    def __init__(self, exchange: Exchange, call: Call, head: bytes, *, idle_s: float, max_message_bytes: int) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self.drain_s = 0.0
        self.on_closed: Callable[[], None] = _nothing
        self._exchange = exchange
        self._call: Call | None = call
        self._head = head
        self._tick_s = idle_s / TICKS_OF_IDLE
        self._from_client = FrameFollower(masked=True, max_message_bytes=max_message_bytes)
        self._from_upstream = FrameFollower(masked=False)
        self._token = os.urandom(8)
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None  # the next tick, or the end of waiting for a close
        self._client_silent = self._upstream_silent = 0  # ticks
        self._client_paused = self._upstream_paused = False
        self._to_client = self._to_upstream = b""  # close frames of ours that wait for the end of a frame
        self._is_closing = False  # by ourselves
        self._is_over = False

    # --- what the server calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client's connection is a WebSocket now."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._transport.write(self._head)
        self._head = b""
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it was lost makes no difference
        """The client's connection is gone."""
        if not self._is_over:
            ended = self._is_closing or self._from_client.closed_with is not None
            if not ended and self._from_upstream.closed_with is None:
                self._exchange.error = self._exchange.error or ErrorKind.CLIENT_GONE
            self._over()
        if self._timer is not None:
            self._timer.cancel()
        on_closed, self.on_closed = self.on_closed, _nothing  # it holds us
        on_closed()
        if not self.closed.done():
            self.closed.set_result(None)

    def shutdown(self) -> None:
        """The worker is to stop: close with 1012, not all at once, so that the clients do not all return at once."""
        if not self._is_over:
            self._loop.call_later(uniform(0, self.drain_s / 2), self._restart)  # noqa: S311 - spreads load, no secret

    # --- from the client ---

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        follower, call = self._from_client, self._call
        if self._is_over or follower.is_over():
            return
        self._client_silent = 0
        self._exchange.bytes_in += len(data)
        passed = follower.feed(data)
        if call is not None:
            if passed:
                call.write(passed)
            if self._to_upstream and follower.between_frames:
                self._flush_to_upstream(call)
        if follower.closed_with is not None:
            self._said_close()
        elif follower.problem and not self._is_closing:
            self._exchange.error = self._exchange.error or ErrorKind.BAD_REQUEST
            reason = "message too big" if follower.problem == frames.CLOSE_TOO_BIG else "not a valid frame"
            self.close(follower.problem, frames.CLOSE_GOING_AWAY, reason)

    def pause_writing(self) -> None:
        """The client is slow."""
        if self._call is not None:
            self._upstream_paused = True
            self._call.pause_reading()

    def resume_writing(self) -> None:
        """The client keeps up again."""
        if self._call is not None:
            self._upstream_paused = False
            self._call.resume_reading()

    # --- from the upstream ---

    def upstream_sent(self, data: bytes) -> None:
        """Bytes from the upstream."""
        follower = self._from_upstream
        if self._is_over or follower.is_over():
            return
        self._upstream_silent = 0
        passed = follower.feed(data)
        if passed:
            self._exchange.bytes_out += len(passed)
            self._transport.write(passed)
        if self._to_client and follower.between_frames:
            self._flush_to_client()
        if follower.closed_with is not None:
            self._said_close()
        elif follower.problem and not self._is_closing:
            self._exchange.error = self._exchange.error or ErrorKind.UPSTREAM_PROTOCOL
            self.close(frames.CLOSE_BAD_GATEWAY, follower.problem, "upstream broke the protocol")

    def upstream_gone(self, kind: str) -> None:
        """The upstream's connection is over; ``kind`` is why if it did not close in order."""
        self._call = None
        self.upstream_blocked(blocked=False)  # whether it reads or not no longer matters, what the client says does
        if self._is_over or self._is_closing:
            return
        if self._from_client.closed_with is not None:
            self._end()
        elif self._from_upstream.closed_with is None:
            self._exchange.error = self._exchange.error or kind
            self.close(frames.CLOSE_BAD_GATEWAY, frames.CLOSE_GOING_AWAY, "upstream connection lost")

    def upstream_blocked(self, *, blocked: bool) -> None:
        """The upstream is slow, or keeps up again."""
        if self._is_over or self._client_paused is blocked:
            return
        self._client_paused = blocked
        if blocked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- the end ---

    def close(self, client_code: int, upstream_code: int, reason: str) -> None:
        """Close both sides with these codes, each as soon as the frame under way to it is whole."""
        if self._is_over or self._is_closing:
            return
        self._is_closing = True
        if self._from_upstream.closed_with is None:
            self._to_client = frames.close_frame(client_code, reason)
            self._from_upstream.mute()
            if self._from_upstream.between_frames:
                self._flush_to_client()
        if self._from_client.closed_with is None and self._call is not None:
            self._to_upstream = frames.close_frame(upstream_code, reason, mask=os.urandom(4))
            self._from_client.mute()
            if self._from_client.between_frames:
                self._flush_to_upstream(self._call)
        if self._to_client and self._call is None:
            self.cut()  # the rest of the frame never comes: a close frame would be read as a part of it
        elif self._from_client.problem:
            self._end()  # what else it says cannot be followed
        else:
            self._await_close()

    def cut(self) -> None:
        """End both sides now. Idempotent."""
        self._over()
        self._transport.abort()

    def _restart(self) -> None:
        self.close(frames.CLOSE_RESTART, frames.CLOSE_GOING_AWAY, "service restart")

    def _flush_to_client(self) -> None:
        self._transport.write(self._to_client)
        self._to_client = b""

    def _flush_to_upstream(self, call: Call) -> None:
        call.write(self._to_upstream)
        self._to_upstream = b""

    def _said_close(self) -> None:
        """One side has closed: the end, if the other has too, or was told to by us and now answered."""
        client_closed = self._from_client.closed_with is not None
        if client_closed and (self._is_closing or self._call is None or self._from_upstream.closed_with is not None):
            self._end()
        elif not self._is_closing:
            self._await_close()

    def _await_close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_WAIT_S, self._end)

    def _end(self) -> None:
        """Close both sides when what was written has gone out."""
        if self._is_over:
            return
        if self._to_client:
            self.cut()
            return
        self._over()
        self._transport.close()
        self._timer = self._loop.call_later(CLOSE_WAIT_S, self._transport.abort)

    def _over(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        call, self._call = self._call, None
        if call is not None:
            call.finish()

    # --- signs of life ---

    def _tick(self) -> None:
        """Ping whoever was silent since the last tick; give up whoever stays silent."""
        self._timer = self._loop.call_later(self._tick_s, self._tick)
        call = self._call
        if self._is_over or call is None:
            return
        # Whoever takes a long frame has nothing to say meanwhile, and cannot be pinged within it either.
        if not self._client_paused and (self._from_upstream.between_frames or self._upstream_silent):
            self._client_silent += 1
        if not self._upstream_paused and (self._from_client.between_frames or self._client_silent > 1):
            self._upstream_silent += 1
        if self._client_silent > TICKS_OF_IDLE:
            self._exchange.error = self._exchange.error or ErrorKind.CLIENT_GONE
            self.close(frames.CLOSE_GOING_AWAY, frames.CLOSE_GOING_AWAY, "no sign of life")
            self.cut()
        elif self._upstream_silent > TICKS_OF_IDLE:
            self._exchange.error = self._exchange.error or ErrorKind.UPSTREAM_TIMEOUT
            self.close(frames.CLOSE_BAD_GATEWAY, frames.CLOSE_GOING_AWAY, "upstream does not answer")
        else:
            self._ping(call)

    def _ping(self, call: Call) -> None:
        if self._client_silent > 1 and self._from_upstream.between_frames:
            self._from_client.await_pong(self._token)
            self._transport.write(frames.ping_frame(self._token))
        if self._upstream_silent > 1 and self._from_client.between_frames:
            self._from_upstream.await_pong(self._token)
            call.write(frames.ping_frame(self._token, mask=os.urandom(4)))


def _nothing() -> None:
    """Nobody is to be told."""
