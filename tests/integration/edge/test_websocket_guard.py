"""WebSockets of somebody's own application behind the middleware, with a server and a client as they come."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import websocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from gateway.domain.access import AuthMode
from gateway.domain.limits import Limit, Scope
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import RequestRecord
from gateway.edge.middleware import EdgeApp, SentinelMiddleware
from gateway.metrics import WorkerCounters
from tests.integration.edge.edge_world import serving, wait_for
from tests.unit.edge.edge_values import Rows, route, snapshot, steps


async def echo(socket):
    await socket.accept(headers=[(b"x-app", b"yes")])
    await socket.send_json(
        {
            "id": socket.state.request_id,
            "who": socket.state.principal.kind,
            "names": [name.decode() for name, _ in socket.headers.raw],
        }
    )
    async for text in socket.iter_text():
        await socket.send_text(text)


async def refuse(socket):
    await socket.close(1008)


async def leave(socket):
    await socket.accept()
    await socket.close(4003, "enough")


async def crash(socket):
    await socket.accept()
    raise RuntimeError("boom")


APP = Starlette(
    routes=[
        WebSocketRoute("/chat/echo", echo),
        WebSocketRoute("/chat/refuse", refuse),
        WebSocketRoute("/chat/leave", leave),
        WebSocketRoute("/chat/crash", crash),
        WebSocketRoute("/closed", echo),
    ]
)
ONCE = Limit(name="once", rate=0.001, burst=1, scope=Scope.CLIENT)
GUARDED = snapshot(
    route(name="chat", path="/chat/*", upstream=""),
    route(name="closed", path="/closed", upstream="", auth=AuthMode.JWT),
    route(name="once", path="/chat/once/*", upstream="", limits=(ONCE,)),
    route(name="away", path="/away"),
    policy=EdgePolicy(max_body_bytes=1000),
)


@contextmanager
def guarded(app=APP, counters=None):
    rows = Rows()
    inner = steps(GUARDED, records=rows, counters=counters or WorkerCounters())
    wrapped = SentinelMiddleware(app, inner) if app else EdgeApp(inner, None)
    with serving(wrapped, http="httptools", ws="wsproto") as port:
        yield port, rows


def connect(port, path, **options):
    return websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=5, **options)


def record(rows) -> RequestRecord:
    wait_for(lambda: rows.rows)
    return RequestRecord(*rows.rows[-1])


def test_the_app_gets_messages_and_knows_who_asks():
    with guarded() as (port, rows):
        client = connect(port, "/chat/echo", header=["X-Request-Id: r-1", "X_Sentinel.Subject: root"])
        assert '"id":"r-1"' in client.recv().replace(" ", "")
        assert client.headers["x-request-id"] == "r-1"
        assert client.headers["x-app"] == "yes"
        client.send("hällo")
        assert client.recv() == "hällo"
        assert rows.rows == []
        client.close()
        finished = record(rows)
    assert (finished.status, finished.route, finished.error, finished.bytes_in) == (101, "chat", "", 6)
    assert finished.bytes_out > 6


def test_those_that_are_open_are_counted_however_they_end():
    counters = WorkerCounters()
    with guarded(counters=counters) as (port, rows):
        first, second = connect(port, "/chat/echo"), connect(port, "/chat/echo")
        wait_for(lambda: counters.levels() == {"sentinel_websockets_open|chat": 2.0}, 30)
        first.close()
        wait_for(lambda: counters.levels() == {"sentinel_websockets_open|chat": 1.0}, 30)
        second.shutdown()  # lost
        connect(port, "/chat/leave").close()
        wait_for(lambda: len(rows.rows) == 3, 30)
        assert counters.levels() == {}


def test_identity_that_a_client_made_up_does_not_reach_the_app():
    with guarded() as (port, _):
        client = connect(port, "/chat/echo", header=["X_Sentinel.Subject: root"])
        assert "entinel" not in client.recv()
        client.close()


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/closed", 401, "unauthenticated"),
        ("/nowhere", 404, "no_route"),
        ("/away", 501, "bad_request"),
        ("/chat/refuse", 403, ""),
    ],
)
def test_a_refused_handshake_is_answered_and_recorded(path, status, error):
    with guarded() as (port, rows):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            connect(port, path)
        refused.value.__traceback__ = None
        assert refused.value.status_code == status
        assert (record(rows).status, record(rows).error) == (status, error)


def test_a_limit_counts_handshakes():
    with guarded() as (port, rows):
        for expected in (403, 429):
            with pytest.raises(websocket.WebSocketBadStatusException) as refused:
                connect(port, "/chat/once/x")
            assert refused.value.status_code == expected
        assert record(rows).error == "rate_limited"


def test_without_an_application_there_is_nothing_to_open():
    with guarded(app=None) as (port, rows):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            connect(port, "/chat/echo")
        assert refused.value.status_code == 501
        assert len(rows.rows) == 1


def test_a_message_over_the_limit_closes_with_1009():
    with guarded() as (port, rows):
        client = connect(port, "/chat/echo")
        client.recv()
        client.send("x" * 1001)
        opcode, payload = client.recv_data()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (8, 1009)
        client.shutdown()
        assert record(rows).error == "bad_request"


def test_the_apps_own_close_is_no_error():
    with guarded() as (port, rows):
        client = connect(port, "/chat/leave")
        _, payload = client.recv_data()
        assert int.from_bytes(payload[:2], "big") == 4003
        client.shutdown()
        assert (record(rows).status, record(rows).error) == (101, "")


def test_an_app_that_crashes_is_recorded():
    with guarded() as (port, rows):
        client = connect(port, "/chat/crash")
        client.shutdown()
        assert (record(rows).status, record(rows).error) == (101, "app_failed")


SCOPE = {"type": "websocket", "path": "/closed", "query_string": b"", "headers": [(b"host", b"a")], "scheme": "wss"}


@pytest.mark.anyio
async def test_a_client_that_vanishes_is_recorded():
    rows, sent = Rows(), []
    came = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])

    async def receive():
        return next(came)

    async def send(message):
        sent.append(message["type"])

    scope = SCOPE | {"path": "/chat/echo", "subprotocols": []}
    await SentinelMiddleware(APP, steps(GUARDED, records=rows))(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.send"]
    assert (record(rows).status, record(rows).error) == (101, "client_gone")


@pytest.mark.anyio
async def test_a_server_that_cannot_answer_a_handshake_closes_it_with_1008():
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await SentinelMiddleware(APP, steps(GUARDED))(SCOPE, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
