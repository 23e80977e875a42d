"""uvicorn's HTTP protocol with what ASGI does not pass on, and with bounds on a head that does not end.

uvicorn joins a request's head without any limit of size or time, hands over a path that has lost the form it was sent
in, and answers what is no HTTP by itself. This subclass cuts off heads that are too large or too slow, answers and
records what never became a request, and adds two keys to the scope: ``sentinel.target`` (the request target as
received, so that absolute-form and fragments can be refused) and ``sentinel.started_at`` (monotonic microseconds at the
first byte).

What every request passes through is written anew here, because it costs less: the scope is built once and whole, the
answer is :class:`gateway.edge.server_cycle.Cycle`'s, and the keep-alive timeout is watched by the connection's one
timer instead of a timer per request. All this leans on uvicorn's internals, so its minor version is pinned, and a test
holds it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.domain.traffic import ErrorKind
from gateway.edge.exchange import Refusal, now_us
from gateway.edge.server_cycle import Cycle

if TYPE_CHECKING:
    import asyncio

    from gateway.edge.steps import Steps

# Above what policy.max_header_bytes usually is, because the rules answer such heads with the request's own id and path.
# What is larger still is not collected at all.
MAX_HEAD_BYTES = 256 * 1024
HEAD_TIMEOUT_S = 10.0  # from a connection's or a request's first moment to the end of the head
MIN_PAUSE_S = 0.1  # between two looks at a connection, however short the timeouts are

# Origin form without a fragment, of visible ASCII: what needs no parser to be taken apart.
_PLAIN_TARGET = re.compile(rb"/[!-\"$-~]*")

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

    certificate = b""  # DER of the client's, verified; empty when it showed none
    _begun_at = 0  # monotonic µs; of the connection until a request has begun on it
    _idle_since = 0  # monotonic µs since the last answer was whole, 0 while a request is under way
    _in_head = True
    _began_in_this_read = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected. One timer serves the connection for as long as it lives."""
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self.certificate = ssl_object.getpeercert(binary_form=True) or b""
        self._begun_at = now_us()
        self._asgi = {"version": self.asgi_version, "spec_version": "2.3"}
        self._timer = self.loop.call_later(self._pause_s(), self._look)

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
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = self._began_in_this_read = True
        self._head_bytes = self._idle_since = 0
        self._begun_at = now_us()

    def on_headers_complete(self) -> None:
        """The head is whole: the request goes to the application, or into the queue behind the one under way."""
        self._in_head = False
        version = self.parser.get_http_version()
        scope = self._make_scope(version)
        self.scope = scope  # type: ignore[assignment]  # uvicorn's typed dictionaries know no keys of ours
        if self.parser.should_upgrade() and self._should_upgrade():
            return
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
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
        )
        self.cycle = cycle  # type: ignore[assignment]  # in place of uvicorn's own
        if before is None or before.response_complete:
            self._start(cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))  # type: ignore[arg-type]  # in place of uvicorn's own

    def on_response_complete(self) -> None:
        """An answer is whole: the next request of the queue has its turn, or the connection is idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start(cast("Cycle", cycle), app)
        else:
            self._idle_since = now_us()

    @property
    def _cycle(self) -> Cycle | None:
        return cast("Cycle | None", self.cycle)  # None until the first request; uvicorn's type does not say so

    def _start(self, cycle: Cycle, app: Any) -> None:
        task = cycle.task = self.loop.create_task(cycle.run_asgi(app, self.tasks))
        self.tasks.add(task)

    def _make_scope(self, version: str) -> dict[str, Any]:
        url = self.url
        if _PLAIN_TARGET.fullmatch(url):
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

    def _pause_s(self) -> float:
        """How long the timer may sleep and still be in time for what begins meanwhile."""
        return max(MIN_PAUSE_S, min(HEAD_TIMEOUT_S, self.timeout_keep_alive))

    def _look(self) -> None:
        now = now_us()
        left_s = pause_s = self._pause_s()
        if self._in_head:
            left_s = HEAD_TIMEOUT_S - (now - self._begun_at) / 1e6
            if left_s <= 0:
                self._cut(_TOO_SLOW)
                return
        elif self._idle_since:
            left_s = self.timeout_keep_alive - (now - self._idle_since) / 1e6
            if left_s <= 0:
                self.transport.close()
                return
        self._timer = self.loop.call_later(min(pause_s, max(left_s, 0.001)), self._look)

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
        cycle = self._cycle
        is_idle = cycle is None or cycle.response_complete
        if is_idle or (cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline):
            peer = self.client[0] if self.client else ""
            headers, body = self.steps.reject(peer, why, self._begun_at, is_new=is_idle)
            lines = [b"HTTP/1.1 %d %s\r\n" % (why.status, HTTPStatus(why.status).phrase.encode("ascii"))]
            lines += [b"%s: %s\r\n" % field for field in headers]
            self.transport.write(b"".join([*lines, b"\r\n", body]))
        self.transport.close()
