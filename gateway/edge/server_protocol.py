"""uvicorn's HTTP protocol with what ASGI does not pass on, and with bounds on a head that does not end.

uvicorn joins a request's head without any limit of size or time, hands over a path that has lost the form it was sent
in, and answers what is no HTTP by itself. This subclass cuts off heads that are too large or too slow, answers and
records what never became a request, and adds two keys to the scope: ``sentinel.target`` (the request target as
received, so that absolute-form and fragments can be refused) and ``sentinel.started_at`` (monotonic microseconds at the
first byte). It leans on uvicorn's internals, so its minor version is pinned, and a test holds it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.domain.traffic import ErrorKind
from gateway.edge.exchange import Refusal, now_us

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from gateway.edge.steps import Steps

# Above what policy.max_header_bytes usually is, because the rules answer such heads with the request's own id and path.
# What is larger still is not collected at all.
MAX_HEAD_BYTES = 256 * 1024
HEAD_TIMEOUT_S = 10.0  # from a connection's or a request's first moment to the end of the head

_TOO_LARGE = Refusal(
    431, ErrorKind.HEADERS_TOO_LARGE, f"The request line and header fields are over {MAX_HEAD_BYTES} bytes.", close=True
)
_TOO_SLOW = Refusal(408, ErrorKind.BAD_REQUEST, "The request line and header fields stopped coming.", close=True)
_NO_HTTP = Refusal(400, ErrorKind.BAD_REQUEST, "The request is not valid HTTP/1.1.", close=True)


def strict_http(steps: Steps) -> type[StrictHttpProtocol]:
    """The protocol class of one worker: ``uvicorn.Config(app, http=strict_http(steps))``."""
    return type("WorkerHttpProtocol", (StrictHttpProtocol,), {"steps": steps})


class StrictHttpProtocol(HttpToolsProtocol):
    """One client connection; made by :func:`strict_http`, which gives it the worker's steps."""

    steps: Steps

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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are replaced by ours
        """The parser gave up."""
        self._cut(_NO_HTTP)

    def _cut(self, why: Refusal) -> None:
        """End the connection: with an answer, unless that would land in the middle of another one.

        A request whose body went wrong is answered as long as its own answer has not begun; its record is written by
        the exchange it already is.
        """
        if self.transport.is_closing():
            return
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None until the first request; uvicorn does not say so
        is_idle = cycle is None or cycle.response_complete
        if is_idle or (cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline):
            peer = self.client[0] if self.client else ""
            headers, body = self.steps.reject(peer, why, self._begun_at, is_new=is_idle)
            lines = [b"HTTP/1.1 %d %s\r\n" % (why.status, HTTPStatus(why.status).phrase.encode("ascii"))]
            lines += [b"%s: %s\r\n" % field for field in headers]
            self.transport.write(b"".join([*lines, b"\r\n", body]))
        self.transport.close()
