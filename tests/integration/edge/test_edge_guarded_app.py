"""Somebody's own Starlette application behind the same steps."""

from __future__ import annotations

import json
from contextlib import contextmanager

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route as Path

from gateway.domain.routing import HeaderRules
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import RequestRecord
from gateway.edge.middleware import EdgeApp, SentinelMiddleware
from tests.integration.edge.edge_world import FakeForwarder, Wire, get, serving, wait_for
from tests.unit.edge.edge_values import PER_CLIENT, Rows, route, snapshot, steps


async def show(request):
    body = await request.body()
    return JSONResponse(
        {
            "id": request.state.request_id,
            "kind": request.state.principal.kind,
            "headers": repr([name for name, _ in request.headers.raw]),
            "body": len(body),
        }
    )


async def crash(request):
    raise RuntimeError("boom")


async def break_off(request):
    async def parts():
        yield b"half"
        raise RuntimeError("boom")

    return StreamingResponse(parts())


async def plain(request):
    return PlainTextResponse("plain")


APP = Starlette(
    routes=[
        Path("/orders/show", show, methods=["GET", "POST"]),
        Path("/orders/crash", crash),
        Path("/orders/break", break_off),
        Path("/limited", plain),
        Path("/hidden", plain),
    ]
)
GUARDED = snapshot(
    route(upstream=""),
    route(name="limited", path="/limited", upstream="", limits=(PER_CLIENT,)),
    route(name="elsewhere", path="/elsewhere"),
    policy=EdgePolicy(max_body_bytes=1000),
)


@contextmanager
def guarded(app=APP, forwarder=None):
    rows = Rows()
    with serving(SentinelMiddleware(app, steps(GUARDED, records=rows), forwarder)) as port:
        yield port, rows


def test_the_inner_app_answers_and_knows_who_asks():
    with guarded() as (port, rows):
        status, fields, body = get(port, "/orders/show", "x-request-id: r-1\r\nX_Sentinel.Subject: root\r\n")
        wait_for(lambda: rows.rows)
    shown = json.loads(body)
    assert (status, shown["id"], shown["kind"]) == (200, "r-1", "")
    assert "entinel" not in shown["headers"]
    assert fields[b"x-request-id"] == b"r-1"
    record = RequestRecord(*rows.rows[0])
    assert (record.status, record.route, record.upstream, record.bytes_out) == (200, "orders", "", len(body))


def test_limits_hold_and_what_no_route_names_is_not_reachable():
    with guarded() as (port, _):
        assert [get(port, "/limited")[0] for _ in range(3)] == [200, 200, 429]
        assert get(port, "/hidden")[0] == 404


def test_routes_with_an_upstream_are_forwarded():
    forwarder = FakeForwarder()
    with guarded(forwarder=forwarder) as (port, _):
        assert get(port, "/elsewhere")[::2] == (200, b"hello")
    with guarded() as (port, _):
        assert get(port, "/elsewhere")[0] == 503


def test_a_crash_of_the_inner_app_is_recorded_and_a_broken_answer_never_looks_whole():
    with guarded() as (port, rows):
        assert get(port, "/orders/crash")[0] == 500
        wire = Wire(port)
        wire.send(b"GET /orders/break HTTP/1.1\r\nhost: a\r\n\r\n")
        assert not wire.until_closed().endswith(b"0\r\n\r\n")
        wait_for(lambda: len(rows.rows) == 2)
    assert [RequestRecord(*row).error for row in rows.rows] == ["app_failed", "app_failed"]


@pytest.mark.parametrize("framing", ["content-length: 2000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n7d0\r\n"])
def test_a_body_over_the_limit_is_413_whatever_the_inner_app_makes_of_it(framing):
    with guarded() as (port, rows):
        wire = Wire(port)
        wire.send(f"POST /orders/show HTTP/1.1\r\nhost: a\r\n{framing}".encode() + b"x" * 2000 + b"\r\n")
        assert wire.answer()[0] == 413
        wire.close()
        wait_for(lambda: rows.rows)
    assert rows.rows[0][13] == "body_too_large"


@pytest.mark.anyio
async def test_lifespan_reaches_the_inner_app_and_is_answered_by_the_gateway():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await SentinelMiddleware(app, steps(GUARDED))({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(events)

    async def send(message):
        sent.append(message["type"])

    await EdgeApp(steps(), FakeForwarder())({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_inner_apps_answers_are_compressed_and_dressed_as_well():
    text = "It was the best of times. " * 200

    async def stream(request):
        return StreamingResponse(iter([text[:100].encode(), text[100:].encode()]), media_type="text/plain")

    rules = HeaderRules(set=(("x-a", "b"),))
    given = snapshot(route(upstream="", compress=True, response_headers=rules))
    inner = Starlette(routes=[Path("/orders/text", stream)])
    rows = Rows()
    with serving(SentinelMiddleware(inner, steps(given, records=rows))) as port:
        with httpx2.Client() as client:
            answer = client.get(f"http://127.0.0.1:{port}/orders/text", headers={"accept-encoding": "gzip"})
        wait_for(lambda: rows.rows)
    assert (answer.headers["content-encoding"], answer.headers["x-a"], answer.text) == ("gzip", "b", text)
    assert RequestRecord(*rows.rows[0]).bytes_out < len(text) // 4
