"""The real server classes on a transport in memory: what a client's bytes become is known exactly, without waiting.

Time stands still here: the loop turns until nothing moves any more, so there is no guess whether more would have come.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from gateway.edge.lane import lane_http
from gateway.edge.middleware import EdgeApp
from gateway.edge.queued_requests import strict_http
from gateway.proxy.headers import UnforwardableError, request_head
from gateway.proxy.router import Router
from tests.integration.edge.edge_world import FakeCall, FakeForwarder
from tests.security.strict_messages import Message, at_origin
from tests.unit.edge.edge_values import Rows, route, snapshot, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STILL_TURNS = 16  # turns of the loop without any change, after which there will be none
_OF_ITS_OWN = re.compile(rb"\r\n(?:x-request-id|traceparent): [^\r]*")  # differ from request to request
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r\n]*\r\n((?:[!-9;-~]+: [^\r\n]*\r\n)*)\r\n")
_ANSWER_LENGTH = re.compile(rb"content-length: ([0-9]+)\r\n")


class Transport(asyncio.Transport):
    """A client's connection: keeps what is written, and notes whether it is closed or read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.protocol: Any = None
        self.written = b""
        self.closing = self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        if not self.closing:
            self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class Outcome(NamedTuple):
    """What became of a client's bytes.

    ``whole`` are the requests that an origin would take for whole; of those that broke off it depends on the moment how
    much had gone on.
    """

    statuses: list[int]
    closed: bool
    whole: list[Message]
    said: bytes

    def usual(self) -> tuple[object, ...]:
        """What must not depend on the driver or the network: final statuses, the end, and the bytes at the origin."""
        classes = [status // 100 for status in self.statuses if status != 100]
        return classes, self.closed, [_OF_ITS_OWN.sub(b"", message.raw) for message in self.whole]


def _answer_when_whole(call: FakeCall) -> None:
    call.on_finish = lambda done: done.loop.call_soon(_answer, done)


def _answer(call: FakeCall) -> None:
    if not call.cancelled:
        call.answer(b"" if call.outbound.method == b"HEAD" else b"hello")


class InMemory:
    """One driver over an open route; ``driver`` is "asgi" or "lane"."""

    def __init__(self, driver: str, loop: asyncio.AbstractEventLoop, *routes: Any, **changes: Any) -> None:
        self.loop = loop
        self.rows = Rows()
        self.forwarder = FakeForwarder(_answer_when_whole)
        given = snapshot(*(routes or (route(path="/*", name="all"),)), **changes)
        judged = steps(given, records=self.rows, make_router=Router)
        app = EdgeApp(judged, self.forwarder)
        http = strict_http(judged) if driver == "asgi" else lane_http(judged, self.forwarder)
        self._config = uvicorn.Config(
            app,
            http=http,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
        )
        self._config.load()

    def told(self, *pieces: bytes) -> Outcome:
        """Send the pieces, one read each, and see what happens."""
        return self.loop.run_until_complete(self._told(pieces))

    async def _told(self, pieces: Iterable[bytes]) -> Outcome:
        calls = self.forwarder.calls
        self.rows.rows.clear()
        transport = Transport(self.loop)
        made = self._config.http_protocol_class(config=self._config, server_state=ServerState(), app_state={})
        transport.protocol = made
        made.connection_made(transport)

        def state() -> tuple[object, ...]:
            return len(transport.written), transport.closing, transport.paused, [len(call.body) for call in calls]

        await _still(state)
        for piece in pieces:
            if transport.closing:
                break
            assert not transport.paused, "nothing here is slow, so reading goes on"
            transport.protocol.data_received(piece)
            await _still(state)
        closed = transport.closing
        said = transport.written
        outcome = Outcome(_statuses(said), closed, _at_upstream(calls), said)
        if not closed:
            transport.close()
        await _still(state)
        calls.clear()
        return outcome


async def _still(state: Callable[[], tuple[object, ...]]) -> None:
    before, turns = state(), 0
    while turns < STILL_TURNS:
        await asyncio.sleep(0)
        now = state()
        turns = turns + 1 if now == before else 0
        before = now


def _statuses(said: bytes) -> list[int]:
    """The statuses of what a client was told, which must be whole answers by the letter, one behind the other."""
    statuses: list[int] = []
    while said:
        head = _STATUS.match(said)
        assert head is not None, said[:300]
        statuses.append(int(head[1]))
        said = said[head.end() :]
        length = _ANSWER_LENGTH.search(head[2])
        if (
            length is not None and said and not said.startswith(b"HTTP/1.1 ")
        ):  # an answer to HEAD has none of its length
            assert len(said) >= int(length[1])
            said = said[int(length[1]) :]
    return statuses


def _at_upstream(calls: list[FakeCall]) -> list[Message]:
    whole = []
    for call in calls:
        try:
            raw = request_head(call.outbound)
        except UnforwardableError:
            continue
        body = bytes(call.body)
        if call.outbound.content_length < 0:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if call.finished else b"")
        message, rest = at_origin(raw + body)
        assert message is None or not rest, (message, rest)
        if message is not None:
            whole.append(message)
    return whole
