"""Nothing hides behind an upgrade: handshakes that are not exactly one, upgrades that are not taken, and false 101s."""

from __future__ import annotations

import pytest

from gateway.domain.traffic import RequestRecord
from gateway.domain.websocket import accept_of
from tests.integration.edge import edge_world
from tests.integration.edge.edge_world import FakeForwarder, Wire, wait_for
from tests.integration.edge.websocket_world import world
from tests.unit.edge.edge_values import Rows, steps

HIDDEN = b"GET /orders/hidden HTTP/1.1\r\nhost: a\r\n\r\n"
UP = b"HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
BASE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(params=["asgi", "lane"])
def driver(request):
    return {"asgi": edge_world.asgi, "lane": edge_world.lane}[request.param]


def handshake(*, line: str = "GET /orders/live HTTP/1.1", more: str = "", **changes: str) -> bytes:
    fields = {**BASE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [line, "host: shop.example", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (handshake(sec_websocket_version="12"), 426),
        (handshake(sec_websocket_version=""), 426),
        (handshake(more="sec-websocket-version: 13\r\n"), 426),
        (handshake(sec_websocket_key="eA=="), 400),
        (handshake(sec_websocket_key=""), 400),
        (handshake(sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ"), 400),
        (handshake(more="sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
        (handshake(more="upgrade: h2c\r\n"), 400),
        (handshake(line="POST /orders/live HTTP/1.1"), 400),
        (handshake(line="GET /orders/live HTTP/1.0"), 400),
        (handshake(more="content-length: 40\r\n"), 400),
        (handshake(more="transfer-encoding: chunked\r\n"), 400),
        (handshake(connection="keep-alive"), 501),
        (handshake(upgrade="h2c", more=f"content-length: {len(HIDDEN)}\r\n", line="POST /orders HTTP/1.1"), 501),
        (handshake(upgrade="h2c", more="transfer-encoding: chunked\r\n", line="POST /orders HTTP/1.1"), 501),
        (b"CONNECT /orders HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ],
)
def test_a_handshake_that_is_not_exactly_one_is_refused_and_nothing_behind_it_is_read(driver, request_bytes, status):
    rows, forwarder = Rows(), FakeForwarder()
    with driver(steps(records=rows), forwarder) as port:
        wire = Wire(port)
        wire.send(request_bytes + HIDDEN)
        answered, _, _ = wire.answer()
        wire.socket.settimeout(5)
        rest = wire.until_closed()
    assert (answered, rest) == (status, b"")
    assert forwarder.calls == []
    assert len(rows.rows) == 1


def test_a_wrong_version_is_told_the_right_one(driver):
    with driver(steps(), FakeForwarder()) as port:
        wire = Wire(port)
        wire.send(handshake(sec_websocket_version="8"))
        _, fields, _ = wire.answer()
        wire.close()
    assert fields[b"sec-websocket-version"] == b"13"


def test_any_other_upgrade_is_ignored_and_the_next_request_is_answered(driver):
    forwarder = FakeForwarder()
    with driver(steps(), forwarder) as port:
        wire = Wire(port)
        wire.send(handshake(upgrade="h2c", more="http2-settings: AAMAAABk\r\n") + HIDDEN.replace(b"hidden", b"next"))
        assert [wire.answer()[0], wire.answer()[0]] == [200, 200]
        wire.close()
    assert [call.outbound.path for call in forwarder.calls] == [b"/orders/live", b"/orders/next"]
    assert [call.outbound.websocket_key for call in forwarder.calls] == [b"", b""]


@pytest.mark.parametrize(
    "answer",
    [
        UP + b"\r\n",
        UP + b"sec-websocket-accept: CLIENTS\r\n\r\n",
        UP + b"sec-websocket-accept: OURS\r\nsec-websocket-accept: OURS\r\n\r\n",
        b"HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: h2c\r\nsec-websocket-accept: OURS\r\n\r\n",
        b"HTTP/1.1 101 Up\r\nsec-websocket-accept: OURS\r\n\r\n",
        UP + b"sec-websocket-accept: OURS\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
def test_a_101_without_proof_is_502_and_no_byte_of_the_client_reaches_that_upstream(driver, answer):
    with world(driver) as gateway:
        wire = gateway.ask(behind=HIDDEN)
        origin = gateway.origin.connection()
        _, headers = origin.request()
        ours, clients = accept_of(headers[b"sec-websocket-key"]), accept_of(BASE["sec-websocket-key"].encode())
        origin.send(answer.replace(b"OURS", ours).replace(b"CLIENTS", clients))
        assert wire.answer()[0] == 502
        assert wire.until_closed() == b""
        assert origin.until_closed() == b""
        wait_for(lambda: gateway.rows.rows)
        assert [RequestRecord(*row).error for row in gateway.rows.rows] == ["upstream_protocol"]
        assert gateway.origin.untouched()


def test_a_client_that_floods_a_handshake_that_is_not_answered_is_cut_off(driver):
    with world(driver) as gateway:
        wire = gateway.ask()
        gateway.origin.connection().request()
        wire.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += wire.socket.send(b"x" * 65536)
        except OSError:
            pass
        assert sent < 50_000_000
