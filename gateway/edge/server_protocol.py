"""uvicorn's HTTP protocol with what ASGI does not pass on, and with bounds on a head that does not end.

uvicorn joins a request's head without any limit of size or time and hands over a path that has lost the form it was
sent in. This subclass cuts off heads that are too large or too slow, and adds two keys to the scope:
``sentinel.target`` (the request target as received, so that absolute-form and fragments can be refused) and
``sentinel.started_at`` (monotonic microseconds at the first byte). It leans on uvicorn's internals, so the version
is pinned to the minor number and a test holds the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.edge.exchange import now_us

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# Above what policy.max_header_bytes usually is, because the rules answer such heads with a problem document and a
# record. What is larger still is not collected at all.
MAX_HEAD_BYTES = 256 * 1024
HEAD_TIMEOUT_S = 10.0  # from a connection's or a request's first moment to the end of the head

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class StrictHttpProtocol(HttpToolsProtocol):
    """Give to uvicorn as ``http=StrictHttpProtocol``."""

    _begun_at = 0  # monotonic µs; of the connection until a request has begun on it
    _in_head = True
    _began_in_this_read = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected. One timer serves the connection for as long as it lives."""
        super().connection_made(transport)
        self._begun_at = now_us()
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._began_in_this_read = False
        super().data_received(data)
        # A field that is still incomplete is held by the parser and seen by no callback, so reads are counted, except
        # the one the head began in, which may hold the end of another message.
        if self._in_head and not self._began_in_this_read:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._cut(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        self._in_head = self._began_in_this_read = True
        self._head_bytes = 0
        self._begun_at = now_us()
        cast("dict[str, Any]", self.scope)["sentinel.started_at"] = self._begun_at

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        cast("dict[str, Any]", self.scope)["sentinel.target"] = self.url
        super().on_headers_complete()

    def _look(self) -> None:
        left_s = HEAD_TIMEOUT_S - (now_us() - self._begun_at) / 1e6
        if self._in_head and left_s <= 0:
            self._cut(_TOO_SLOW)
            return
        # Between requests uvicorn's own keep-alive timer watches; a head that has time left is looked at in time.
        pause_s = max(left_s, 0.001) if self._in_head else HEAD_TIMEOUT_S
        self._timer = self.loop.call_later(pause_s, self._look)

    def _cut(self, answer: bytes) -> None:
        """End the connection; with an answer unless one to an earlier request is still being sent on it."""
        if self.transport.is_closing():
            return
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None until the first request; uvicorn does not say so
        if cycle is None or cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()
