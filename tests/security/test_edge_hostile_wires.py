"""Smuggling, path tricks and forged identity on raw sockets: refused, or one unambiguous message upstream."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import re
import time
import tomllib
from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.domain.traffic import RequestRecord
from gateway.edge import server_protocol
from gateway.edge.server_cycle import Cycle
from tests.integration.edge import edge_world
from tests.integration.edge.edge_world import FakeForwarder, Wire, get, wait_for
from tests.unit.edge.edge_values import Rows, route, snapshot, steps

HOST = b"host: shop.example\r\n"


@pytest.fixture(scope="module", params=["asgi", "lane"])
def driver(request):
    return getattr(edge_world, request.param)


@pytest.fixture(scope="module")
def shared_world(driver):
    rows, forwarder = Rows(), FakeForwarder(lambda call: call.answer())
    with driver(steps(snapshot(route(path="/*", name="all")), records=rows), forwarder) as port:
        yield port, forwarder, rows


@pytest.fixture
def world(shared_world):
    _, forwarder, rows = shared_world
    forwarder.calls.clear()
    rows.rows.clear()
    return shared_world


def exchange(port: int, head: bytes, body: bytes = b"") -> bytes:
    """Everything the gateway says on one connection until it closes it."""
    wire = Wire(port)
    wire.send(head + b"\r\n" + body)
    return wire.until_closed()


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4\r\ncontent-length: 5\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4\r\ncontent-length: 4\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4, 4\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: +4\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 0x4\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length : 4\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip, chunked\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: identity\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: xchunked\r\n",
        b"POST / HTTP/1.0\r\n" + HOST + b"transfer-encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"x: a\r\n folded\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"x: a\x00b\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\nhost: a\n",
        b"CONNECT shop.example:443 HTTP/1.1\r\n" + HOST,
        b"OPTIONS * HTTP/1.1\r\n" + HOST,
        b"GET http://evil.example/ HTTP/1.1\r\n" + HOST,
        b"GET /a#b HTTP/1.1\r\n" + HOST,
        b"GET /a\\b HTTP/1.1\r\n" + HOST,
    ],
)
def test_a_message_that_can_be_read_in_two_ways_is_400_and_the_connection_is_closed(world, head):
    port, forwarder, _ = world
    # After the first refusal nothing that follows on the connection may be answered as a request of its own.
    said = exchange(port, head, b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert forwarder.calls == []


@pytest.mark.parametrize(
    "body", [b"zz\r\nabc\r\n", b"-1\r\n", b"3;a=\x00\r\nabc\r\n", b"3\r\nabcd\r\n", b"3\nabc\n0\n\n"]
)
def test_bad_chunks_never_reach_the_upstream_as_a_whole_body(world, body):
    port, forwarder, _ = world
    said = exchange(port, b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n", body)
    assert b"HTTP/1.1 400" in said or said == b""
    wait_for(lambda: all(call.cancelled or not call.finished for call in forwarder.calls))


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b",
        "/a/%2e%2e/b",
        "/a%2fb",
        "/a%5Cb",
        "//a",
        "/a//b",
        "/%61dmin",
        "/a%00",
        "/a%0d%0ax:y",
        "/a/..;/b",
        "/.",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_400_and_recorded(world, path):
    port, forwarder, rows = world
    status, _, body = get(port, path)
    assert status == 400
    assert path.encode() not in body
    wait_for(lambda: path in [row[3] for row in rows.rows])  # the test before may have left a record late
    assert forwarder.calls == []


@pytest.mark.parametrize("path", ["/a;b=c/d", "/a/.hidden", "/a..b", "/%E2%82%AC", "/a?x=../..&y=//"])
def test_the_path_that_is_routed_is_the_path_that_is_forwarded(world, path):
    port, forwarder, _ = world
    assert get(port, path)[0] == 200
    outbound = forwarder.calls[0].outbound
    assert outbound.path + (b"?" + outbound.query if outbound.query else b"") == path.encode()


def test_a_large_head_is_431_with_a_record_and_an_endless_one_is_cut_off(world):
    port, forwarder, rows = world
    status, _, _ = get(port, fields="x: " + "y" * 20_000 + "\r\n")
    assert status == 431
    wait_for(lambda: 431 in [row[5] for row in rows.rows])
    wire = Wire(port)
    wire.send(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
    try:
        for _ in range(200):
            wire.send(b"y" * 65536)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert wire.until_closed()[:12] in {b"HTTP/1.1 431", b""}
    assert forwarder.calls == []


def test_a_head_that_drips_and_a_connection_that_says_nothing_are_closed_in_time(driver, monkeypatch):
    monkeypatch.setattr(server_protocol, "HEAD_TIMEOUT_S", 0.2)
    with driver(steps(), FakeForwarder()) as port:
        silent, dripping = Wire(port), Wire(port)
        dripping.send(b"GET / HTTP/1.1\r\nhost: a\r\nx")
        assert silent.until_closed().startswith(b"HTTP/1.1 408")
        assert dripping.until_closed().startswith(b"HTTP/1.1 408")


def test_a_slow_answer_is_not_taken_for_a_slow_head(driver, monkeypatch):
    monkeypatch.setattr(server_protocol, "HEAD_TIMEOUT_S", 0.1)
    with driver(steps(), FakeForwarder(lambda call: call.loop.call_later(0.4, call.answer))) as port:
        assert get(port)[0] == 200


def test_trailers_and_chunk_extensions_without_end_are_cut_off(world):
    port, forwarder, _ = world
    slow = forwarder.script
    forwarder.script = lambda call: None
    try:
        for endless in (b"1;" + b"x" * 16384, b"1\r\nx\r\n0\r\nx: " + b"y" * 16384):
            wire = Wire(port)
            wire.send(b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n")
            try:
                wire.send(endless)
                for _ in range(20):
                    wire.send(b"y" * 16384)
                    time.sleep(0.002)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert wire.until_closed()[:12] in {b"HTTP/1.1 400", b""}
    finally:
        forwarder.script = slow


def test_what_is_no_http_gets_a_problem_document_and_a_record(world):
    port, _, rows = world
    said = exchange(port, b"\x16\x03\x01 not http at all\r\n")
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(body)["detail"] == "The request is not valid HTTP/1.1."
    wait_for(lambda: "" in [row[3] for row in rows.rows])
    record = next(RequestRecord(*row) for row in rows.rows if row[3] == "")
    assert (record.status, record.error, record.client, record.path) == (400, "bad_request", "127.0.0.1", "")
    assert record.id.encode() in head


def test_garbage_behind_a_request_never_lands_inside_its_answer(world):
    port, forwarder, _ = world
    slow = forwarder.script
    forwarder.script = lambda call: call.loop.call_later(0.05, call.answer)
    try:
        said = exchange(port, b"GET / HTTP/1.1\r\n" + HOST, b"\x00garbage\r\n\r\n")
    finally:
        forwarder.script = slow
    # Either nobody is answered, or the garbage is refused behind the whole answer to what stood before it.
    answered, _, behind = said.partition(b"hello")
    assert b"HTTP/1.1 400" not in answered
    assert behind.count(b"HTTP/1.1 ") <= 1


def test_a_websocket_handshake_whose_key_is_none_is_400(world):
    port, forwarder, _ = world
    upgrade = "connection: Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
    assert get(port, fields=upgrade)[0] == 400
    assert forwarder.calls == []


def test_the_minor_version_of_uvicorn_is_pinned_and_its_internals_are_as_we_lean_on_them():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    uvicorn = next(line for line in project["project"]["dependencies"] if line.startswith("uvicorn"))
    assert re.search(r",<\d+\.\d+$", uvicorn)
    assert importlib.metadata.version("uvicorn").split(".")[:2] == ["0", "54"]
    for name in (
        *("connection_made", "connection_lost", "data_received", "on_message_begin", "on_headers_complete"),
        *("on_response_complete", "_should_upgrade"),
    ):
        assert name in vars(HttpToolsProtocol)


def test_our_cycle_has_whatever_uvicorns_protocol_asks_of_one():
    asked = set(re.findall(r"self\.cycle\.(\w+)", inspect.getsource(HttpToolsProtocol)))
    assert {"response_complete", "message_event", "keep_alive", "body"} <= asked
    assert asked <= set(Cycle.__slots__)
    assert set(re.findall(r"cycle\.message_event\.(\w+)", inspect.getsource(HttpToolsProtocol))) == {"set"}
