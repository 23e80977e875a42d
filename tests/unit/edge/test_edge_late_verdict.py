"""A verdict that comes later sends the request on by itself, and nothing of a request outlives it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gateway.domain.traffic import RequestRecord
from gateway.edge import middleware
from gateway.edge.asgi_forward import AsgiForward
from gateway.edge.exchange import Exchange
from gateway.edge.limits import UNLIMITED, Verdict
from gateway.edge.middleware import EdgeApp
from tests.unit.edge.edge_values import PER_CLIENT, Rows, route, snapshot, steps

pytestmark = pytest.mark.anyio

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/orders",
    "raw_path": b"/orders",
    "query_string": b"",
    "headers": [(b"host", b"a")],
    "http_version": "1.1",
}


class LateLimiter:
    """Answers on the next tick, as one on Redis does; with ``answer`` None never."""

    def __init__(self, answer: Verdict | None) -> None:
        self._answer = answer
        self.callback = None

    def apply(self, policy) -> None:
        pass

    def take(self, exchange, then):
        if self._answer is None:
            self.callback = then
        else:
            asyncio.get_running_loop().call_soon(then, self._answer)


class Upstream:
    """A proxy whose call holds the sink, as the real one does."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.calls = 0

    def forward(self, outbound, sink):
        self.calls += 1
        if self._error is not None:
            raise self._error
        return Call(sink)


class Call:
    def __init__(self, sink) -> None:
        self.sink = sink
        asyncio.get_running_loop().call_soon(self.answer)

    def answer(self) -> None:
        self.sink.connected("t:1", attempt=1, reused=False)
        self.sink.head(200, [(b"content-length", b"2")])
        self.sink.body(b"ok")
        self.sink.end()

    def write(self, chunk: bytes) -> None:
        pass

    def finish(self) -> None:
        pass


async def ask(limiter: LateLimiter, upstream: Upstream, rows: Rows, receive=None, scope=SCOPE) -> list[dict]:
    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    async def nothing():
        await asyncio.Event().wait()

    given = steps(snapshot(route(limits=(PER_CLIENT,))), limiter=limiter, records=rows)
    await EdgeApp(given, upstream)(scope, receive or nothing, send)
    return sent


async def test_an_admitted_request_is_answered():
    rows, upstream = Rows(), Upstream()
    sent = await ask(LateLimiter(UNLIMITED), upstream, rows)
    assert sent[0]["status"] == 200 and sent[1]["body"] == b"ok"
    assert upstream.calls == 1
    assert RequestRecord(*rows.rows[0]).status == 200


async def test_a_refused_request_never_reaches_the_upstream():
    rows, upstream = Rows(), Upstream()
    sent = await ask(LateLimiter(Verdict(unavailable=True)), upstream, rows)
    assert (sent[0]["status"], upstream.calls) == (503, 0)
    assert RequestRecord(*rows.rows[0]).error == "limiter_unavailable"


async def test_a_crash_in_the_proxy_is_the_requests_own_and_not_the_limiters():
    rows = Rows()
    sent = await ask(LateLimiter(UNLIMITED), Upstream(NameError("typo")), rows)
    assert sent[0]["status"] == 500
    assert RequestRecord(*rows.rows[0]).error == "internal"


async def test_a_verdict_after_the_end_of_the_request_sends_nothing_on():
    limiter, upstream, rows = LateLimiter(None), Upstream(), Rows()
    task = asyncio.ensure_future(ask(limiter, upstream, rows))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    limiter.callback(UNLIMITED)
    assert upstream.calls == 0
    assert RequestRecord(*rows.rows[0]).status == 503


async def test_the_rest_of_a_body_is_read_even_if_its_beginning_was_slow(monkeypatch):
    monkeypatch.setattr(middleware, "SWEEP_S", 0.01)  # the client is watched before any upstream was asked
    chunks = iter([(0.1, b"ab", True), (0.0, b"cd", False)])
    written = []
    monkeypatch.setattr(Call, "write", lambda _self, chunk: written.append(chunk))

    async def receive():
        for pause, body, more in chunks:
            await asyncio.sleep(pause)
            return {"type": "http.request", "body": body, "more_body": more}
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(Call, "finish", lambda self: self.answer())
    monkeypatch.setattr(Call, "__init__", lambda self, sink: setattr(self, "sink", sink))
    scope = SCOPE | {"method": "POST", "headers": [(b"host", b"a"), (b"content-length", b"4")]}
    async with asyncio.timeout(5):
        sent = await ask(LateLimiter(UNLIMITED), Upstream(), Rows(), receive, scope)
    assert (sent[0]["status"], written) == (200, [b"ab", b"cd"])


async def test_a_request_leaves_nothing_for_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        before = _kept()  # by other tests of this process
        for _ in range(3):
            await ask(LateLimiter(UNLIMITED), Upstream(), Rows())
        left = _kept()
    finally:
        gc.enable()
    assert left == before


def _kept() -> int:
    return sum(isinstance(thing, AsgiForward | Exchange | Call) for thing in gc.get_objects())
