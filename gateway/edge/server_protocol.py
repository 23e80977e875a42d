"""uvicorn's HTTP protocol with what ASGI does not pass on, and with bounds on a head that does not end.

uvicorn joins a request's head without any limit of size or time, hands over a path that has lost the form it was sent
in, and answers what is no HTTP by itself. This subclass cuts off heads that are too large or too slow, answers and
records what never became a request, and adds two keys to the scope: ``sentinel.target`` (the request target as
received, so that absolute-form and fragments can be refused) and ``sentinel.started_at`` (monotonic microseconds at the
first byte).

What every request passes through is written anew here, because it costs less: the scope is built once and whole, the
answer is :class:`gateway.edge.server_cycle.Cycle`'s, and deadlines are plain numbers that one sweep over all of the
worker's connections looks at, instead of a timer per request. All this leans on uvicorn's internals, so its minor
version is pinned, and a test holds it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable

from gateway.domain.traffic import ErrorKind
from gateway.edge.clock import NEVER
from gateway.edge.exchange import Refusal, now_us
from gateway.edge.server_cycle import Cycle, reset
from gateway.edge.websocket_upgrade import UpgradingProtocol

if TYPE_CHECKING:
    import asyncio

    from gateway.edge.clock import Sweep
    from gateway.edge.steps import Steps

# Above what policy.max_header_bytes usually is, because the rules answer such heads with the request's own id and path.
# What is larger still is not collected at all.
MAX_HEAD_BYTES = 256 * 1024
MAX_SILENT_BYTES = 64 * 1024  # chunk extensions and trailers in a row without a byte of body
HEAD_TIMEOUT_S = 10.0  # from a connection's or a request's first moment to the end of the head
LINGER_S = 1.0  # when the server stops: for a request that is on its way to a connection at rest
SEND_IDLE_S = 60.0  # a client that takes nothing of its answer for so long is given up; nginx waits as long

# Origin form without a fragment, of visible ASCII: what needs no parser to be taken apart.
PLAIN_TARGET = re.compile(rb"/[!-\"$-~]*")

_TOO_LARGE = Refusal(
    431, ErrorKind.HEADERS_TOO_LARGE, f"The request line and header fields are over {MAX_HEAD_BYTES} bytes.", close=True
)
_TOO_SLOW = Refusal(408, ErrorKind.BAD_REQUEST, "The request line and header fields stopped coming.", close=True)
_TOO_SILENT = Refusal(400, ErrorKind.BAD_REQUEST, "The request body consists of chunk extensions.", close=True)
_NO_HTTP = Refusal(400, ErrorKind.BAD_REQUEST, "The request is not valid HTTP/1.1.", close=True)


class _Stall:
    """Watches one answer that waits for its client: given up when nothing of it goes out for SEND_IDLE_S."""

    __slots__ = ("_left", "_transport", "deadline")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = transport.get_write_buffer_size()
        self.deadline = now_us() + int(SEND_IDLE_S * 1e6)

    def expired(self, now: int) -> None:
        left = self._transport.get_write_buffer_size()
        if left >= self._left:
            reset(self._transport)
        self._left = left
        self.deadline = now + int(SEND_IDLE_S * 1e6)


class StrictHttpProtocol(UpgradingProtocol):
    """One client connection; made by a driver, which gives it the worker's steps."""

    steps: Steps
    sweep: Sweep
    deadline = NEVER  # monotonic µs, for the sweep

    linger_s = LINGER_S  # 0: close at once
    draining = False  # the server stops: the next answer is this connection's last
    certificate = b""  # DER of the client's, verified; empty when it showed none
    _begun_at = 0  # monotonic µs; of the connection until a request has begun on it
    _in_head = True
    _fresh = True  # not a byte has come
    _began_in_this_read = False
    _head_bytes = 0
    _silent_bytes = 0
    _stall: _Stall | None = None
    _wrong: Refusal | None = None  # what is said once those before it are answered; nothing more is read then

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected."""
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self.certificate = ssl_object.getpeercert(binary_form=True) or b""
        self._begun_at = now_us()
        self._keep_alive_us = int(self.timeout_keep_alive * 1e6)
        self._asgi = {"version": self.asgi_version, "spec_version": "2.3"}
        self.deadline = self._begun_at + int(HEAD_TIMEOUT_S * 1e6)
        self.sweep.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self.sweep.forget(self)
        self._flowing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what it asked for."""
        super().pause_writing()
        if self._stall is None:
            self._stall = _Stall(self.transport)
            self.sweep.watch(self._stall)

    def resume_writing(self) -> None:
        """The client takes it again."""
        self._flowing()
        super().resume_writing()

    def _flowing(self) -> None:
        stall, self._stall = self._stall, None
        if stall is not None:
            self.sweep.forget(stall)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._wrong is not None:
            return
        self._began_in_this_read = False
        super().data_received(data)
        # A field that is still incomplete is held by the parser and seen by no callback, so reads are counted, except
        # the one the head began in, which may hold the end of another message.
        if self._in_head:
            if not self._began_in_this_read:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._cut(_TOO_LARGE)
        elif self._silent_bytes < 0:
            self._silent_bytes = 0
        elif not self._began_in_this_read:
            self._silent_bytes += len(data)
            if self._silent_bytes > MAX_SILENT_BYTES:
                self._cut(_TOO_SILENT)

    def on_message_begin(self) -> None:
        """A request line begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = self._began_in_this_read = True
        self._fresh = False
        self._head_bytes = self._silent_bytes = 0
        self._begun_at = now_us()
        self.deadline = self._begun_at + int(HEAD_TIMEOUT_S * 1e6)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; trailers are dropped: nobody said they may be merged (RFC 9110 section 6.5.1)."""
        if self._in_head:  # what uvicorn's own does, in one call less for every field
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self._silent_bytes = -1  # this read is not a silent one
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head is whole: the request goes to the application, or into the queue behind the one under way."""
        self._in_head = False
        self.deadline = NEVER
        version = self.parser.get_http_version()
        scope = self._make_scope(version)
        self.scope = scope  # type: ignore[assignment]  # uvicorn's typed dictionaries know no keys of ours
        app: Any = self.app
        limit = self.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            app = service_unavailable
        before = self._cycle
        cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            self.on_response_complete,
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self.draining,
        )
        self.cycle = cycle  # type: ignore[assignment]  # in place of uvicorn's own
        if self.parser.should_upgrade():
            self.offer(scope, cycle)
        if before is None or before.response_complete:
            self._start(cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))  # type: ignore[arg-type]  # in place of uvicorn's own

    def on_response_complete(self) -> None:
        """An answer is whole: the next request of the queue has its turn, or the connection is idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._rest()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start(cast("Cycle", cycle), app)
        elif self._wrong is not None:
            self._cut(self._wrong)
        else:
            self._rest()

    def shutdown(self) -> None:
        """The server stops: what is under way is finished.

        A connection at rest stays a moment. Closed at once, it would reset a request that the client has just sent.
        """
        self.draining = True
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
        else:
            self._linger()

    def _linger(self) -> None:
        if not self.linger_s:
            self.transport.close()
        elif not self._in_head or self._fresh:
            self.deadline = min(self.deadline, now_us() + int(self.linger_s * 1e6))

    def let_go(self) -> None:
        """The connection has become a WebSocket, which watches itself."""
        self.sweep.forget(self)
        self._flowing()
        super().let_go()

    def _rest(self) -> None:
        """Nothing is under way: how long to wait for what comes next."""
        if self.transport.is_closing():
            self.deadline = now_us() + int(SEND_IDLE_S * 1e6)
        elif self._in_head:  # the next request has begun
            self.deadline = self._begun_at + int(HEAD_TIMEOUT_S * 1e6)
        else:
            self.deadline = monotonic_ns() // 1000 + self._keep_alive_us

    @property
    def _cycle(self) -> Cycle | None:
        return cast("Cycle | None", self.cycle)  # None until the first request; uvicorn's type does not say so

    def _start(self, cycle: Cycle, app: Any) -> None:
        task = cycle.task = self.loop.create_task(cycle.run_asgi(app, self.tasks))
        self.tasks.add(task)

    def _make_scope(self, version: str) -> dict[str, Any]:
        url = self.url
        if PLAIN_TARGET.fullmatch(url):
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        if self.root_path:
            path, raw_path = self.root_path + path, self.root_path.encode("ascii") + raw_path
        return {
            "type": "http",
            "asgi": self._asgi,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": self.parser.get_method().decode("ascii"),
            "root_path": self.root_path,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": dict(self.app_state),
            "sentinel.target": url,
            "sentinel.certificate": self.certificate,
            "sentinel.started_at": self._begun_at,
        }

    def expired(self, now: int) -> None:
        """The deadline passed: of a head, of a connection at rest, or of one that cannot get rid of its last bytes."""
        self.deadline = now + int(SEND_IDLE_S * 1e6)
        if self.transport.is_closing():
            reset(self.transport)
        elif self._in_head and not (self._fresh and self.draining):
            self._cut(_TOO_SLOW)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are replaced by ours
        """The parser gave up."""
        self._cut(_NO_HTTP)

    def _cut(self, why: Refusal) -> None:
        """End the connection: with an answer, unless that would land in the middle of another one.

        A request whose body went wrong is answered as long as its own answer has not begun; its record is written by
        the exchange it already is. Requests that stand whole before what is wrong are answered first.
        """
        if self.transport.is_closing():
            return
        cycle = self._cycle
        is_idle = cycle is None or cycle.response_complete
        if cycle is not None and not is_idle and self._behind is None and (self.pipeline or not cycle.more_body):
            if cycle.more_body:  # it is the last of those that wait, and will not be whole
                self.pipeline.popleft()
                cycle.response_complete = True
            self._refuse_later(why)
            return
        if is_idle or (cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline):
            peer = self.client[0] if self.client else ""
            headers, body = self.steps.reject(peer, why, self._begun_at, is_new=is_idle)
            lines = [b"HTTP/1.1 %d %s\r\n" % (why.status, HTTPStatus(why.status).phrase.encode("ascii"))]
            lines += [b"%s: %s\r\n" % field for field in headers]
            self.transport.write(b"".join([*lines, b"\r\n", body]))
        self.transport.close()

    def _refuse_later(self, why: Refusal) -> None:
        self._wrong = why
        self._in_head = False
        self.deadline = NEVER
