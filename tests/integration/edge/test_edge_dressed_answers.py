"""Over the wire: compressed bodies, preflights, security headers, limits of bodies by route, and the latency ledger."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager

import pytest

from gateway.domain.routing import Cors, HeaderRules
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import RequestRecord
from tests.integration.edge.edge_world import FakeForwarder, Wire, get, wait_for
from tests.unit.edge.edge_values import Rows, route, snapshot, steps

TEXT = b"It was the best of times, it was the worst of times. " * 400
ACCEPT = "Accept-Encoding: br;q=0.1, gzip\r\n"


@contextmanager
def gateway(driver, forwarder, *routes, **policy):
    rows = Rows()
    with driver(steps(snapshot(*routes, policy=EdgePolicy(**policy)), records=rows), forwarder) as port:
        yield port, rows


def texts(body=TEXT):
    return FakeForwarder(lambda call: call.loop.call_soon(call.answer, body, 200, [(b"content-type", b"text/plain")]))


def chunked(wire):
    """The body of a chunked answer."""
    body = b""
    while True:
        while b"\r\n" not in wire.rest:
            wire.rest += wire.socket.recv(65536)
        size, _, wire.rest = wire.rest.partition(b"\r\n")
        length = int(size, 16)
        chunk = wire.body(length + 2)[:-2]
        if not length:
            return body
        body += chunk


def ask(port, fields=ACCEPT, method="GET", path="/orders/1"):
    wire = Wire(port)
    wire.send(f"{method} {path} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n".encode())
    return wire, *wire.head()


def test_a_compressed_answer_is_whole_and_the_connection_goes_on(driver):
    with gateway(driver, texts(), route(compress=True)) as (port, rows):
        wire, status, fields = ask(port)
        assert (status, fields[b"content-encoding"]) == (200, b"gzip")
        sent = chunked(wire)
        assert gzip.decompress(sent) == TEXT and len(sent) < len(TEXT) // 4
        wire.send(b"GET /orders/1 HTTP/1.1\r\nhost: shop.example\r\n\r\n")
        assert wire.answer()[2] == TEXT
        wire.close()
        wait_for(lambda: len(rows.rows) == 2)
        assert RequestRecord(*rows.rows[0]).bytes_out == len(sent)


def test_a_large_body_is_compressed_as_it_comes(driver):
    def script(call):
        def pour():
            call.sink.connected("127.0.0.1:9000", attempt=1, reused=False)
            call.sink.head(200, [(b"content-type", b"text/plain"), (b"content-length", b"%d" % (len(TEXT) * 50))])
            for _ in range(50):
                call.sink.body(TEXT)
            call.sink.end()

        call.loop.call_soon(pour)

    with gateway(driver, FakeForwarder(script), route(compress=True)) as (port, _):
        wire, _, _ = ask(port)
        assert gzip.decompress(chunked(wire)) == TEXT * 50
        wire.close()


def test_parts_of_unknown_length_can_be_read_as_they_arrive(driver):
    def script(call):
        call.sink.connected("127.0.0.1:9000", attempt=1, reused=False)
        call.sink.head(200, [(b"content-type", b"application/x-ndjson")])
        call.sink.body(b"one\n")

    forwarder = FakeForwarder(lambda call: call.loop.call_soon(script, call))
    with gateway(driver, forwarder, route(compress=True)) as (port, _):
        wire, _, fields = ask(port)
        assert fields[b"content-encoding"] == b"gzip"
        reader, text = zlib.decompressobj(31), b""
        while text != b"one\n":  # the answer goes on, and yet this much is there
            while b"\r\n" not in wire.rest:
                wire.rest += wire.socket.recv(65536)
            size, _, wire.rest = wire.rest.partition(b"\r\n")
            text += reader.decompress(wire.body(int(size, 16) + 2)[:-2])
        call = forwarder.calls[0]
        call.loop.call_soon_threadsafe(call.sink.end)
        text += reader.decompress(chunked(wire))
        assert text == b"one\n" and reader.eof
        wire.close()


def test_head_of_a_compressed_answer_has_no_body(driver):
    def script(call):
        def answer():
            call.sink.connected("127.0.0.1:9000", attempt=1, reused=False)
            call.sink.head(200, [(b"content-type", b"text/plain"), (b"content-length", b"9000")])
            call.sink.end()

        call.loop.call_soon(answer)

    with gateway(driver, FakeForwarder(script), route(compress=True)) as (port, _):
        wire, status, fields = ask(port, method="HEAD")
        assert (status, fields[b"content-encoding"]) == (200, b"gzip") and b"content-length" not in fields
        wire.send(b"HEAD /orders/1 HTTP/1.1\r\nhost: shop.example\r\n\r\n")
        assert wire.head()[0] == 200  # no byte of a body stood between
        wire.close()


def test_http_1_0_gets_the_body_as_it_is(driver):
    with gateway(driver, texts(), route(compress=True)) as (port, _):
        wire = Wire(port)
        wire.send(f"GET /orders/1 HTTP/1.0\r\nhost: shop.example\r\n{ACCEPT}\r\n".encode())
        assert wire.until_closed().endswith(TEXT)


def test_a_preflight_and_the_request_behind_it(driver):
    cors = Cors(origins=("https://app.example",))
    forwarder = texts()
    with gateway(driver, forwarder, route(cors=cors)) as (port, rows):
        fields = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n"
        wire, status, got = ask(port, fields, method="OPTIONS")
        assert status == 204 and got[b"access-control-allow-origin"] == b"https://app.example"
        assert not forwarder.calls and b"x-request-id" in got
        wire.send(b"GET /orders/1 HTTP/1.1\r\nhost: shop.example\r\nOrigin: https://app.example\r\n\r\n")
        status, got, body = wire.answer()
        assert (status, body) == (200, TEXT) and got[b"access-control-allow-origin"] == b"https://app.example"
        wire.close()
        wait_for(lambda: len(rows.rows) == 2)
        record = RequestRecord(*rows.rows[0])
        assert (record.status, record.route, record.upstream, record.error) == (204, "orders", "", "")


def test_security_headers_and_rules_reach_the_client(driver):
    rules = HeaderRules(remove=("x-a",), add=(("x-b", "c"),))
    forwarder = FakeForwarder(lambda call: call.loop.call_soon(call.answer, b"hello", 200, [(b"x-a", b"secret")]))
    with gateway(driver, forwarder, route(response_headers=rules), security_headers=(("x-s", "t"),)) as (port, _):
        _, fields, body = get(port)
        assert (fields[b"x-b"], fields[b"x-s"], body) == (b"c", b"t", b"hello") and b"x-a" not in fields
        assert get(port, "/nowhere")[1][b"x-s"] == b"t"


def test_a_client_that_is_not_admitted_gets_403(driver):
    with gateway(driver, texts(), route(), deny=("127.0.0.0/8",)) as (port, _):
        assert get(port)[0] == 403


@pytest.mark.parametrize("announced", [True, False])
def test_a_route_may_take_longer_and_shorter_bodies_than_the_policy(driver, announced):
    small, large = route(name="small", path="/small", max_body_bytes=10), route(name="large", max_body_bytes=3000)
    forwarder = FakeForwarder()
    forwarder.script = lambda call: setattr(
        call, "on_finish", lambda call: call.loop.call_soon(call.answer, b"%d" % len(call.body))
    )

    def post(port, path, size):
        wire = Wire(port)
        framing, body = f"content-length: {size}", b"x" * size
        if not announced:
            framing, body = "transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        wire.send(f"POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n".encode() + body)
        status, _, answer = wire.answer()
        wire.close()
        return status, answer

    with gateway(driver, forwarder, small, large, max_body_bytes=100) as (port, _):
        assert post(port, "/orders/1", 2000) == (200, b"2000")
        assert post(port, "/orders/1", 3001)[0] == 413
        assert post(port, "/small", 11)[0] == 413
        assert post(port, "/small", 10) == (200, b"10")


def parts(record):
    return (
        record.wait_us, record.auth_us, record.limit_us, record.connect_us, record.upstream_us, record.stream_us
    )  # fmt: skip


def test_the_ledgers_parts_are_the_whole_and_a_slow_stream_is_the_streams(driver):
    def script(call):
        def rest():
            call.sink.body(b"x" * 50)
            call.sink.end()

        def begin():
            call.sink.connected("127.0.0.1:9000", attempt=1, reused=False)
            call.sink.head(200, [(b"content-length", b"100")])
            call.sink.body(b"x" * 50)
            call.loop.call_later(0.1, rest)

        call.loop.call_soon(begin)

    with gateway(driver, FakeForwarder(script), route(), server_timing=True) as (port, rows):
        status, fields, _ = get(port)
        assert status == 200
        wait_for(lambda: rows.rows)
        record = RequestRecord(*rows.rows[0])
        assert sum(parts(record)) == record.duration_us and min(parts(record)) >= 0
        assert record.stream_us >= 90_000 > record.upstream_us
        assert [part.split(b";")[0] for part in fields[b"server-timing"].split(b", ")] == [
            b"auth", b"limit", b"connect", b"upstream",
        ]  # fmt: skip
