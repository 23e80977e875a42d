"""WebSockets through the gateway, over both drivers: the handshake, both ways, and how each end is heard of."""

from __future__ import annotations

import gc
import os
import ssl

import pytest

from gateway.domain.limits import ConcurrencyLimit, Scope
from gateway.domain.traffic import RequestRecord
from gateway.domain.upstreams import Balance, Breaker, Outlier
from gateway.domain.websocket import accept_of
from gateway.edge.exchange import WebSocketExchange
from gateway.edge.server_protocol import StrictHttpProtocol
from gateway.edge.websocket_forward import WebSocketForward
from gateway.edge.websocket_tunnel import Tunnel
from gateway.proxy.connection import UpstreamConnection
from tests.certificates import Authority
from tests.integration.edge.edge_world import Wire, wait_for
from tests.integration.edge.websocket_world import BINARY, CLOSE, PING, PONG, TEXT, Peer, closing, flood, frame, world
from tests.unit.edge.edge_values import ORDERS, route, snapshot


def record(rows) -> RequestRecord:
    """The one record."""
    wait_for(lambda: rows.rows)
    assert len(rows.rows) == 1
    return RequestRecord(*rows.rows[0])


def test_messages_pass_both_ways_byte_for_byte(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        for size in (0, 1, 125, 126, 65535, 65536, 300_000):
            payload = os.urandom(size)
            sent = frame(BINARY, payload, masked=True)
            client.wire.send(sent)
            assert upstream.receive() == (BINARY, payload)
            assert upstream.last == sent
            upstream.send(TEXT, payload)
            assert client.receive() == (TEXT, payload)


def test_frames_that_come_in_single_bytes_arrive_whole(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        for byte in (
            frame(TEXT, b"a", masked=True) + frame(PING, b"b", masked=True) + frame(BINARY, b"c" * 130, masked=True)
        ):
            client.wire.send(bytes((byte,)))
        assert [upstream.receive() for _ in range(3)] == [(TEXT, b"a"), (PING, b"b"), (BINARY, b"c" * 130)]


def test_the_handshake_passes_the_headers_that_are_the_clients_to_send_and_a_key_of_the_gateways_own(driver):
    fields = (
        "Origin: https://shop.example\r\nSec-WebSocket-Protocol: chat.v2, chat\r\nCookie: a=b\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\nX-Sentinel-Subject: root\r\n"
    )
    with world(driver) as gateway:
        wire = gateway.ask(fields=fields)
        _, seen = gateway.origin.take(fields=b"Sec-WebSocket-Protocol: chat\r\nSet-Cookie: c=d\r\n")
        status, answer = wire.head()
    assert status == 101
    assert answer[b"sec-websocket-protocol"] == b"chat"
    assert answer[b"set-cookie"] == b"c=d"
    assert answer[b"x-request-id"]
    assert seen[b"origin"] == b"https://shop.example"
    assert seen[b"sec-websocket-protocol"] == b"chat.v2, chat"
    assert seen[b"sec-websocket-extensions"] == b"permessage-deflate"
    assert seen[b"sec-websocket-version"] == b"13"
    assert seen[b"cookie"] == b"a=b"
    assert seen[b"upgrade"] == b"websocket"
    assert seen[b"sec-websocket-key"] != b"dGhlIHNhbXBsZSBub25jZQ=="
    assert b"x-sentinel-subject" not in seen


def test_what_the_client_sends_before_the_101_reaches_the_upstream_after_it(driver):
    with world(driver) as gateway:
        early = frame(TEXT, b"early", masked=True)
        wire = gateway.ask(behind=early)
        upstream, _ = gateway.origin.take()
        wire.head()
        assert upstream.receive() == (TEXT, b"early")


def test_what_the_upstream_sends_with_its_101_reaches_the_client(driver):
    with world(driver) as gateway:
        wire = gateway.ask()
        origin = gateway.origin.connection()
        _, headers = origin.request()
        origin.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-accept: "
            + accept_of(headers[b"sec-websocket-key"])
            + b"\r\n\r\n"
            + frame(TEXT, b"welcome", masked=False)
        )
        wire.head()
        assert wire.body(9) == frame(TEXT, b"welcome", masked=False)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_the_clients_close_reaches_the_upstream_and_its_answer_the_client(driver, code):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        client.close(code, b"bye")
        assert upstream.receive() == (CLOSE, code.to_bytes(2, "big") + b"bye")
        upstream.close(code)
        assert client.closed_with() == code
        assert client.is_cut_off()
        assert upstream.is_cut_off()
        finished = record(gateway.rows)
    assert (finished.status, finished.error) == (101, "")
    assert finished.bytes_in == 6 + 5
    assert finished.bytes_out == 4


def test_the_upstreams_close_reaches_the_client_and_its_answer_the_upstream(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        upstream.close(4001)
        assert client.closed_with() == 4001
        client.close(4001)
        assert upstream.closed_with() == 4001
        assert client.is_cut_off()
        assert record(gateway.rows).error == ""


def test_a_close_without_a_code_stays_without_one(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        client.send(CLOSE)
        assert upstream.closed_with() == 1005


def test_a_client_hears_1014_when_the_upstream_is_lost(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        upstream.wire.close()
        assert client.closed_with() == 1014
        client.close(1014)
        assert client.is_cut_off()
        assert record(gateway.rows).error == "upstream_truncated"


def test_a_client_is_cut_off_when_the_upstream_is_lost_within_a_frame(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        upstream.wire.send(frame(TEXT, b"x" * 100, masked=False)[:50])
        assert client.wire.body(50)
        upstream.wire.close()
        assert client.is_cut_off()
        assert record(gateway.rows).error == "upstream_truncated"


def test_an_upstream_hears_of_a_client_that_left_and_gets_what_it_had_sent(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        client.send(TEXT, b"last words")
        client.wire.close()
        assert upstream.receive() == (TEXT, b"last words")
        assert upstream.is_cut_off()
        finished = record(gateway.rows)
    assert (finished.status, finished.error) == (101, "client_gone")


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"404 Not Found", b"503 Service Unavailable", b"200 OK"])
def test_an_upstreams_refusal_of_the_handshake_is_relayed_as_it_is(driver, status):
    with world(driver) as gateway:
        wire = gateway.ask(behind=b"GET /orders/smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
        origin = gateway.origin.connection()
        origin.request()
        origin.send(b"HTTP/1.1 " + status + b"\r\nx-why: because\r\ncontent-length: 2\r\n\r\nno")
        answered, fields, body = wire.answer()
        assert answered == int(status[:3])
        assert fields[b"x-why"] == b"because"
        assert fields[b"connection"] == b"close"
        assert body == b"no"
        assert wire.until_closed() == b""
        assert gateway.origin.untouched()
        assert record(gateway.rows).status == answered


def test_a_handshake_nobody_takes_is_502(driver):
    with world(driver) as gateway:
        gateway.origin.close()
        wire = gateway.ask()
        assert wire.answer()[0] == 502
        assert record(gateway.rows).error == "upstream_unavailable"


def test_a_client_that_leaves_within_the_handshake_is_recorded_and_the_upstream_let_go(driver):
    with world(driver) as gateway:
        wire = gateway.ask()
        origin = gateway.origin.connection()
        origin.request()
        wire.close()
        assert origin.until_closed() == b""
        assert record(gateway.rows).error == "client_gone"


def test_a_slow_client_holds_the_upstream_back_and_gets_every_byte(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        payload = os.urandom(60_000)
        message = frame(BINARY, payload, masked=False)
        taken = flood(upstream.wire, message)
        assert taken < 20_000_000
        for _ in range(taken // len(message)):
            assert client.receive() == (BINARY, payload)
        upstream.wire.send(message[taken % len(message) :])
        assert client.receive() == (BINARY, payload)


def test_a_slow_upstream_holds_the_client_back(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        taken = flood(client.wire, frame(BINARY, b"x" * 60_000, masked=True))
        assert taken < 20_000_000
        upstream.wire.close()
        client.wire.close()
        assert record(gateway.rows).bytes_in <= taken


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"unmasked", masked=False), 1002),
        (frame(PING, b"x", masked=True, fin=False), 1002),
        (bytes((0x89, 0x80 | 126)) + b"\x00\x80" + b"mask" + b"x" * 128, 1002),
        (frame(BINARY, b"x" * 2001, masked=True), 1009),
        (frame(BINARY, b"x" * 1500, masked=True, fin=False) + frame(0, b"x" * 600, masked=True), 1009),
    ],
    ids=("unmasked", "fragmented ping", "long ping", "too big", "too big in parts"),
)
def test_a_client_that_breaks_the_rules_is_closed_with_the_code_that_says_so(driver, sent, code):
    with world(driver, route={"max_body_bytes": 2000}) as gateway:
        client, upstream = gateway.open()
        client.wire.send(sent)
        assert client.closed_with() == code
        opcode, payload = upstream.receive()
        while opcode != CLOSE:
            opcode, payload = upstream.receive()
        assert payload[:2] == (1001).to_bytes(2, "big")
        assert record(gateway.rows).error == "bad_request"


def test_messages_up_to_the_limit_pass_one_after_another(driver):
    with world(driver, route={"max_body_bytes": 2000}) as gateway:
        client, upstream = gateway.open()
        for _ in range(3):
            client.send(BINARY, b"x" * 2000)
            assert upstream.receive() == (BINARY, b"x" * 2000)


def test_an_upstream_that_breaks_the_rules_costs_the_client_a_1014(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        upstream.wire.send(frame(TEXT, b"masked", masked=True))
        assert client.closed_with() == 1014
        client.close(1014)
        assert record(gateway.rows).error == "upstream_protocol"


def test_nothing_passes_after_a_close(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        client.wire.send(closing(1000, masked=True) + frame(TEXT, b"after", masked=True) + b"GET / HTTP/1.1\r\n\r\n")
        assert upstream.closed_with() == 1000
        upstream.close(1000)
        assert client.closed_with() == 1000
        assert upstream.is_cut_off()


def test_quiet_sides_are_pinged_and_live_on_while_they_answer(driver):
    with world(driver, idle_s=0.3) as gateway:
        client, upstream = gateway.open()
        for _ in range(4):
            opcode, payload = client.receive()
            assert opcode == PING
            client.send(PONG, payload)
            opcode, payload = upstream.receive()
            assert opcode == PING
            upstream.send(PONG, payload)
        client.send(TEXT, b"still here")
        opcode, payload = upstream.receive()
        while opcode == PING:
            opcode, payload = upstream.receive()
        assert (opcode, payload) == (TEXT, b"still here")  # no pong of the other side came through


def test_pongs_that_are_not_the_gateways_pass(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        client.send(PING, b"mine")
        assert upstream.receive() == (PING, b"mine")
        upstream.send(PONG, b"mine")
        assert client.receive() == (PONG, b"mine")


def test_a_client_that_shows_no_sign_of_life_is_given_up(driver):
    with world(driver, idle_s=0.3) as gateway:
        _client, upstream = gateway.open()
        opcode, payload = upstream.receive()
        while opcode == PING:
            upstream.send(PONG, payload)
            opcode, payload = upstream.receive()
        assert (opcode, payload[:2]) == (CLOSE, (1001).to_bytes(2, "big"))
        assert record(gateway.rows).error == "client_gone"


def test_an_upstream_that_shows_no_sign_of_life_is_given_up(driver):
    with world(driver, idle_s=0.3) as gateway:
        client, _upstream = gateway.open()
        opcode, payload = client.receive()
        while opcode == PING:
            client.send(PONG, payload)
            opcode, payload = client.receive()
        assert (opcode, payload[:2]) == (CLOSE, (1014).to_bytes(2, "big"))
        client.close(1014)
        assert record(gateway.rows).error == "upstream_timeout"


def test_a_websocket_outlives_its_route_and_its_upstream(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        other = snapshot(route(path="/other/*"), upstreams=(ORDERS,))
        gateway.steps.apply(other)
        gateway.forwarder.apply(ORDERS)
        client.send(TEXT, b"still")
        assert upstream.receive() == (TEXT, b"still")
        upstream.send(TEXT, b"here")
        assert client.receive() == (TEXT, b"here")


def test_the_record_is_written_once_when_the_websocket_is_over(driver):
    with world(driver) as gateway:
        client, upstream = gateway.open()
        client.send(TEXT, b"hello")
        upstream.receive()
        assert gateway.rows.rows == []
        client.close(1000)
        upstream.closed_with()
        upstream.close(1000)
        finished = record(gateway.rows)
    assert (finished.status, finished.route, finished.upstream) == (101, "orders", "orders")
    assert finished.target == f"127.0.0.1:{gateway.origin.port}"
    assert finished.attempts == 1
    assert finished.duration_us >= finished.stream_us > 0


def test_a_concurrency_limit_counts_a_websocket_until_it_is_closed(driver):
    at_once = ConcurrencyLimit(name="live", at_once=1, scope=Scope.ROUTE)
    with world(driver, route={"concurrency": (at_once,)}) as gateway:
        client, upstream = gateway.open()
        assert gateway.ask().answer()[0] == 429
        client.close(1000)
        upstream.closed_with()
        upstream.close(1000)
        assert client.closed_with() == 1000
        wait_for(lambda: len(gateway.rows.rows) == 2)
        gateway.open()


@pytest.mark.parametrize("watched", [{"breaker": Breaker()}, {"outlier": Outlier()}, {"balance": Balance.EWMA}])
def test_upstreams_that_are_watched_carry_websockets_as_well(driver, watched):
    with world(driver, upstream=watched) as gateway:
        client, upstream = gateway.open()
        client.send(TEXT, b"up")
        assert upstream.receive() == (TEXT, b"up")
        upstream.send(TEXT, b"down")
        assert client.receive() == (TEXT, b"down")
        upstream.close(1001)
        assert client.closed_with() == 1001
        client.close(1001)
        assert upstream.closed_with() == 1001
        assert record(gateway.rows).error == ""


def test_a_handshake_that_is_not_taken_counts_against_its_target(driver):
    once = Outlier(consecutive=1, eject_s=60, max_ejected=1.0)
    with world(driver, upstream={"outlier": once, "breaker": Breaker(requests=1, errors=0.1)}) as gateway:
        wire = gateway.ask()
        origin = gateway.origin.connection()
        origin.request()
        origin.send(b"HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert wire.answer()[0] == 502
        assert gateway.ask().answer()[0] == 503
        wait_for(lambda: len(gateway.rows.rows) == 2)
        assert RequestRecord(*gateway.rows.rows[1]).error == "circuit_open"


def test_a_websocket_over_tls_is_one_as_well(driver, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.files("server")
    with world(driver, server={"ssl_certfile": certificate, "ssl_keyfile": key}) as gateway:
        context = ssl.create_default_context(cafile=str(authority.file))
        wire = Wire(gateway.port)
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        gateway.wires.append(wire)
        wire.send(
            b"GET /orders/live HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        upstream, seen = gateway.origin.take()
        assert wire.head()[0] == 101
        assert seen[b"x-forwarded-proto"] == b"https"
        client = Peer(wire, masks=True)
        payload = os.urandom(200_000)
        client.send(BINARY, payload)
        assert upstream.receive() == (BINARY, payload)
        upstream.send(BINARY, payload)
        assert client.receive() == (BINARY, payload)
        upstream.close(1000)
        assert client.closed_with() == 1000
        client.close(1000)
        assert upstream.closed_with() == 1000
        assert record(gateway.rows).error == ""


def test_a_websocket_leaves_nothing_for_the_garbage_collector(driver):
    def left() -> list[object]:
        kinds = Tunnel | WebSocketForward | WebSocketExchange | StrictHttpProtocol | UpstreamConnection
        return [thing for thing in gc.get_objects() if isinstance(thing, kinds) and id(thing) not in before]

    with world(driver) as gateway:
        gc.collect()
        gc.disable()
        before = {id(thing) for thing in gc.get_objects()}
        try:
            client, upstream = gateway.open()
            assert len(left()) >= 4
            client.close(1000)
            upstream.closed_with()
            upstream.close(1000)
            assert client.closed_with() == 1000
            assert client.is_cut_off()
            refused = gateway.ask()
            origin = gateway.origin.connection()
            origin.request()
            origin.send(b"HTTP/1.1 401 Who\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            assert refused.until_closed()
            wait_for(lambda: not left())
        finally:
            gc.enable()
