"""A client's connection over several requests: kept, queued, and closed when it stays idle."""

from __future__ import annotations

import time

import pytest

from gateway.domain.forwarding import UpstreamFailure
from gateway.domain.traffic import RequestRecord
from gateway.edge import server_protocol
from tests.integration.edge import edge_world
from tests.integration.edge.edge_world import FakeForwarder, Wire, wait_for
from tests.unit.edge.edge_values import Rows, steps

GET = b"GET /orders/1 HTTP/1.1\r\nhost: shop.example\r\n\r\n"


def answering(call) -> None:
    call.loop.call_soon(call.answer)


def test_an_idle_connection_is_closed_after_its_keep_alive_and_not_before(driver):
    with driver(steps(), FakeForwarder(answering), timeout_keep_alive=1) as port:
        wire = Wire(port)
        for _ in range(3):
            wire.send(GET)
            assert wire.answer()[0] == 200
            time.sleep(0.4)  # each request begins the time anew
        began = time.monotonic()
        assert wire.until_closed() == b""
        assert time.monotonic() - began > 0.2


def test_a_connection_whose_answer_takes_longer_than_the_keep_alive_is_kept(driver):
    forwarder = FakeForwarder(lambda call: call.loop.call_later(1.5, call.answer))
    with driver(steps(), forwarder, timeout_keep_alive=1) as port:
        wire = Wire(port)
        wire.send(GET)
        assert wire.answer()[0] == 200
        wire.send(GET)
        assert wire.answer()[0] == 200
        wire.close()


def test_pipelined_requests_are_answered_in_their_order(driver):
    def script(call):
        # The first takes longest: answers must wait for it all the same.
        wait_s = 0.2 if call.outbound.path.endswith(b"/1") else 0.0
        call.loop.call_later(wait_s, lambda: call.answer(call.outbound.path))

    with driver(steps(), FakeForwarder(script)) as port:
        wire = Wire(port)
        wire.send(b"".join(GET.replace(b"/1 ", b"/%d " % number) for number in (1, 2, 3)))
        assert [wire.answer()[2] for _ in range(3)] == [b"/orders/1", b"/orders/2", b"/orders/3"]
        wire.close()


def test_many_pipelined_requests_are_all_answered_and_none_before_its_turn(driver):
    seen = []

    def script(call):
        seen.append(call.outbound.path)
        call.loop.call_soon(lambda: call.answer(call.outbound.path))

    count = 300
    with driver(steps(), FakeForwarder(script)) as port:
        wire = Wire(port)
        wire.send(b"".join(GET.replace(b"/1 ", b"/%d " % number) for number in range(count)))
        assert [wire.answer()[2] for _ in range(count)] == [b"/orders/%d" % number for number in range(count)]
        wire.close()
    assert len(seen) == count


def test_an_answer_of_unknown_length_is_framed_by_the_version_of_its_request(driver):
    def script(call):
        call.sink.head(200, [])
        call.sink.body(b"some")
        call.sink.body(b"thing")
        call.sink.end()

    with driver(steps(), FakeForwarder(script)) as port:
        wire = Wire(port)
        wire.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        _, fields = wire.head()
        assert (b"transfer-encoding" in fields, fields[b"connection"]) == (False, b"close")
        assert wire.until_closed() == b"something"
        wire = Wire(port)
        wire.send(GET)
        assert wire.head()[1][b"transfer-encoding"] == b"chunked"
        wire.close()


def test_an_answer_for_http_1_0_that_breaks_off_ends_in_a_reset_and_not_in_a_clean_end(driver):
    def script(call):
        def fail():
            call.sink.head(200, [])
            call.sink.body(b"half")
            call.loop.call_later(0.05, call.sink.failed, UpstreamFailure("upstream_truncated", 502, "It broke off."))

        call.loop.call_soon(fail)

    with driver(steps(), FakeForwarder(script)) as port:
        wire = Wire(port)
        wire.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.head()[0] == 200
        while len(wire.rest) < len(b"half"):
            wire.rest += wire.socket.recv(65536)
        with pytest.raises(ConnectionResetError):
            wire.socket.recv(65536)
        wire.close()


def test_an_answer_that_comes_before_the_body_leaves_the_connection_in_order(driver):
    with driver(steps(), FakeForwarder(lambda call: None)) as port:
        wire = Wire(port)
        wire.send(b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        assert wire.answer()[0] == 404
        wire.send(b"defghij" + GET.replace(b"/orders/1", b"/elsewhere"))
        assert wire.answer()[0] == 404
        wire.close()


def test_the_head_of_an_answer_does_not_wait_for_its_body(driver):
    def script(call):
        call.loop.call_soon(call.sink.head, 200, [(b"content-length", b"4")])
        call.loop.call_later(2.0, call.sink.body, b"late")

    with driver(steps(), FakeForwarder(script)) as port:
        wire = Wire(port)
        wire.socket.settimeout(1.0)
        wire.send(GET)
        assert wire.head()[0] == 200
        assert wire.rest == b""
        wire.close()


def test_a_client_that_takes_nothing_of_a_long_answer_is_given_up(driver, monkeypatch):
    monkeypatch.setattr(server_protocol, "SEND_IDLE_S", 0.3)

    def script(call):
        def pump():
            if not call.cancelled:
                if not call.reading_paused:
                    call.sink.body(b"z" * 65536)
                call.loop.call_later(0.001, pump)

        call.sink.head(200, [])
        pump()

    forwarder = FakeForwarder(script)
    with driver(steps(), forwarder) as port:
        wire = Wire(port)
        wire.send(GET)
        wait_for(lambda: forwarder.calls and forwarder.calls[0].cancelled)
        wire.close()


def test_stopping_closes_idle_connections_within_a_moment_and_lets_busy_ones_finish(driver):
    forwarder = FakeForwarder(lambda call: None)
    with driver(steps(), forwarder, timeout_graceful_shutdown=5) as port:
        idle, busy = Wire(port), Wire(port)
        busy.send(GET)
        wait_for(lambda: forwarder.calls)
        call = forwarder.calls[0]
        began = time.monotonic()
        edge_world.running[port][0].should_exit = True
        assert idle.until_closed() == b""
        call.loop.call_soon_threadsafe(call.answer)
        status, _, body = busy.answer()
        assert (status, body) == (200, b"hello")
        assert busy.until_closed() == b""
        edge_world.running[port][1].join(5)
        assert not edge_world.running[port][1].is_alive()
        assert time.monotonic() - began < 4


def test_a_request_that_was_on_its_way_when_the_server_stopped_is_answered_as_the_last_one(driver):
    with driver(steps(), FakeForwarder(lambda call: call.answer()), timeout_graceful_shutdown=5, linger_s=1.0) as port:
        server, _ = edge_world.running[port]
        used, fresh = Wire(port), Wire(port)
        used.send(GET)
        assert used.answer()[0] == 200
        server.should_exit = True
        wait_for(lambda: not server.servers or not server.servers[0].is_serving())
        for wire in (used, fresh):
            wire.send(GET)
            status, headers, _ = wire.answer()
            assert (status, headers[b"connection"]) == (200, b"close")
            assert wire.until_closed() == b""


def test_what_is_still_under_way_at_the_deadline_of_a_stop_is_ended_and_recorded(driver):
    rows, forwarder = Rows(), FakeForwarder(lambda call: None)
    with driver(steps(records=rows), forwarder, timeout_graceful_shutdown=1) as port:
        wire = Wire(port)
        wire.send(GET)
        wait_for(lambda: forwarder.calls)
        edge_world.running[port][0].should_exit = True
        wait_for(lambda: rows.rows)
        wire.close()
    record = RequestRecord(*rows.rows[0])
    assert (record.status, record.error) == (503, "internal")
    assert forwarder.calls[0].cancelled
