"""Requests through a driver on real sockets: what goes up, what comes down, what is written."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest

from gateway.domain.forwarding import RepeatedHeaders, UpstreamFailure
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import ErrorKind, RequestRecord
from gateway.domain.upstreams import Target, Upstream
from gateway.edge import asgi_forward
from tests.integration.edge import edge_world
from tests.integration.edge.edge_world import FakeForwarder, Wire, get, wait_for
from tests.unit.edge.edge_values import PER_CLIENT, Rows, route, snapshot, steps


@contextmanager
def gateway(driver, forwarder=None, given=None, **changes):
    rows = Rows()
    with driver(steps(given, records=rows), forwarder or FakeForwarder(), **changes) as port:
        yield port, rows


def only_record(rows: Rows) -> RequestRecord:
    wait_for(lambda: rows.rows)
    assert len(rows.rows) == 1
    return RequestRecord(*rows.rows[0])


def failing(kind: ErrorKind, status: int, after: bytes | None = None, length: int | None = 100):
    """A proxy that fails, before any answer or after the head and some bytes of the body."""

    def script(call):
        def fail():
            call.sink.connected("127.0.0.1:9000", attempt=2, reused=True)
            if after is not None:
                call.sink.head(200, [(b"content-length", b"%d" % length)] if length else [])
                call.sink.body(after)
            call.sink.failed(UpstreamFailure(kind, status, "The upstream broke off."))

        call.loop.call_soon(fail)

    return FakeForwarder(script)


def test_a_request_goes_up_as_it_came_and_the_answer_down_with_our_fields(driver):
    forwarder = FakeForwarder(lambda call: call.answer(b"hello", headers=[(b"x-a", b"b"), (b"x-request-id", b"no")]))
    with gateway(driver, forwarder) as (port, rows):
        path = "/orders/caf%C3%A9;v=1?q=%2F..&r"
        status, fields, body = get(port, path, "X-Request-Id: r-1\r\nUser-Agent: test\r\n")
    assert (status, body) == (200, b"hello")
    assert (fields[b"x-a"], fields[b"x-request-id"]) == (b"b", b"r-1")
    outbound = forwarder.calls[0].outbound
    assert (outbound.method, outbound.path, outbound.query) == (b"GET", b"/orders/caf%C3%A9;v=1", b"q=%2F..&r")
    assert (outbound.host, outbound.client, outbound.request_id) == (b"shop.example", b"127.0.0.1", b"r-1")
    assert outbound.content_length == 0 and forwarder.calls[0].finished
    record = only_record(rows)
    assert (record.id, record.status, record.path, record.user_agent) == ("r-1", 200, "/orders/caf%C3%A9;v=1", "test")
    assert (record.bytes_out, record.target, record.attempts, record.error) == (5, "127.0.0.1:9000", 1, "")


def test_a_connection_is_kept_for_the_next_request_also_when_pipelined(driver):
    with gateway(driver) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /orders/1 HTTP/1.1\r\nhost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 200
        assert wire.answer()[0] == 404
        wire.send(b"GET /orders/2 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 200
        wire.close()
        wait_for(lambda: len(rows.rows) == 3)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_arrives_whole_in_any_slices(driver, framing):
    body = bytes(range(256)) * 2000
    forwarder = FakeForwarder(lambda call: setattr(call, "on_finish", lambda done: done.answer()))
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        head = f"content-length: {len(body)}" if framing == "length" else "transfer-encoding: chunked"
        wire.send(f"POST /orders HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n".encode())
        for start in range(0, len(body), 70_001):
            part = body[start : start + 70_001]
            wire.send(part if framing == "length" else b"%x\r\n%s\r\n" % (len(part), part))
        if framing == "chunked":
            wire.send(b"0\r\n\r\n")
        assert wire.answer()[0] == 200
        wire.close()
    assert forwarder.calls[0].body == body
    assert forwarder.calls[0].outbound.content_length == (len(body) if framing == "length" else -1)
    assert only_record(rows).bytes_in == len(body)


def test_trailers_of_a_chunked_body_never_become_headers(driver):
    forwarder = FakeForwarder(lambda call: setattr(call, "on_finish", lambda done: done.answer()))
    with gateway(driver, forwarder) as (port, _):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        wait_for(lambda: forwarder.calls)
        wire.send(b"0\r\nx-sentinel-subject: root\r\n\r\n")
        assert wire.answer()[0] == 200
        wire.close()
    assert [name for name, _ in forwarder.calls[0].outbound.headers] == [b"host", b"transfer-encoding"]


def test_a_large_answer_waits_for_a_slow_client_instead_of_filling_memory(driver):
    chunk = b"x" * 65536
    sent = []

    def script(call):
        def pump():
            while not call.reading_paused and len(sent) < 400:
                call.sink.body(chunk)
                sent.append(1)
            if len(sent) == 400:
                call.sink.end()
            else:
                call.loop.call_later(0.001, pump)

        call.sink.connected("t", attempt=1, reused=False)
        call.sink.head(200, [])
        call.loop.call_soon(pump)

    forwarder = FakeForwarder(script)
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        wait_for(lambda: forwarder.calls and forwarder.calls[0].reading_paused)
        stalled_at = -1
        while stalled_at != len(sent):
            stalled_at = len(sent)
            threading.Event().wait(0.1)
        assert stalled_at < 200  # the rest of 26 MB stays upstream while the client does not read
        assert len(wire.until_closed()) > 400 * 65536
    assert only_record(rows).bytes_out == 400 * 65536


def test_a_slow_upstream_stops_the_reading_of_the_client(driver):
    def script(call):
        def full(call):
            if len(call.body) > 100_000:
                call.sink.pause()

        call.on_write = full
        call.on_finish = lambda done: done.answer()

    forwarder = FakeForwarder(script)
    body = b"y" * 30_000_000
    with gateway(driver, forwarder) as (port, _):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body))
        sender = threading.Thread(target=wire.send, args=(body,))
        sender.start()
        wait_for(lambda: forwarder.calls and len(forwarder.calls[0].body) > 100_000)
        threading.Event().wait(0.2)
        call = forwarder.calls[0]
        assert len(call.body) < 2_000_000
        call.on_write = lambda _call: None
        call.loop.call_soon_threadsafe(call.sink.resume)
        sender.join(10)
        assert wire.answer()[0] == 200
        wire.close()
    assert call.body == body


@pytest.mark.parametrize("kind", [(ErrorKind.UPSTREAM_UNAVAILABLE, 502), (ErrorKind.UPSTREAM_TIMEOUT, 504)])
def test_a_failure_before_the_answer_is_a_problem_document(driver, kind):
    given = snapshot(open_incidents={"orders": "inc-9"})
    with gateway(driver, failing(*kind), given) as (port, rows):
        status, fields, body = get(port)
    document = json.loads(body)
    assert (status, document["status"], document["incident"]) == (kind[1], kind[1], "inc-9")
    assert document["request_id"] == fields[b"x-request-id"].decode()
    record = only_record(rows)
    assert (record.status, record.error, record.attempts) == (kind[1], kind[0], 2)


@pytest.mark.parametrize(("body", "framed"), [(b"", b"0\r\n\r\n"), (b"hello", b"5\r\nhello\r\n0\r\n\r\n")])
def test_a_whole_answer_of_unsaid_length_is_sent_in_chunks(driver, body, framed):
    def script(call):
        call.sink.connected("127.0.0.1:9000", attempt=1, reused=True)
        call.sink.whole(200, RepeatedHeaders([(b"server", b"a")]), body)

    with gateway(driver, FakeForwarder(script)) as (port, rows):
        wire = Wire(port)
        for _ in range(2):
            wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
            status, fields = wire.head()
            assert (status, fields[b"transfer-encoding"], wire.body(len(framed))) == (200, b"chunked", framed)
        wire.close()
        wait_for(lambda: len(rows.rows) == 2)
    assert [RequestRecord(*row).bytes_out for row in rows.rows] == [len(body)] * 2


def test_a_small_body_goes_up_whole_with_its_request(driver):
    forwarder = FakeForwarder()
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        for _ in range(2):
            wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\norder")
            assert wire.answer()[0] == 200
        wire.close()
        wait_for(lambda: len(rows.rows) == 2)
    assert [(bytes(call.body), call.outbound.content_length) for call in forwarder.calls] == [(b"order", 5)] * 2
    assert [RequestRecord(*row).bytes_in for row in rows.rows] == [5, 5]


def test_a_body_over_the_limit_is_refused_also_where_it_is_there(driver):
    forwarder = FakeForwarder()
    with gateway(driver, forwarder, snapshot(policy=EdgePolicy(max_body_bytes=4))) as (port, rows):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\norder")
        assert wire.answer()[0] == 413
        assert wire.until_closed() == b""
        assert only_record(rows).error == "body_too_large"
    assert not forwarder.calls


@pytest.mark.parametrize("length", [100, None])
def test_an_answer_cut_short_aborts_the_connection_and_never_looks_whole(driver, length):
    with gateway(driver, failing(ErrorKind.UPSTREAM_TRUNCATED, 502, b"half", length)) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
        status, fields = wire.head()
        rest = wire.until_closed()
    assert status == 200
    if length:
        assert len(rest) < int(fields[b"content-length"])
    else:
        assert fields[b"transfer-encoding"] == b"chunked"
        assert not rest.endswith(b"0\r\n\r\n")
    record = only_record(rows)
    assert (record.status, record.error) == (200, "upstream_truncated")


def test_a_client_that_leaves_while_waiting_cancels_the_call_within_a_second(driver):
    forwarder = FakeForwarder(lambda call: None)
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_for(lambda: forwarder.calls)
        wire.close()
        wait_for(lambda: forwarder.calls[0].cancelled, within_s=1.0)
        record = only_record(rows)
    assert (record.status, record.error) == (499, "client_gone")


def test_a_client_that_leaves_in_the_middle_of_its_body_cancels_the_call(driver):
    forwarder = FakeForwarder(lambda call: None)
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        wait_for(lambda: forwarder.calls)
        wire.close()
        wait_for(lambda: forwarder.calls[0].cancelled, within_s=1.0)
        record = only_record(rows)
    assert (record.status, record.bytes_in) == (499, 3)
    assert not forwarder.calls[0].finished


def test_a_client_that_leaves_before_its_body_began_costs_no_upstream(driver):
    forwarder = FakeForwarder()
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n")
        threading.Event().wait(0.05)
        wire.close()
        assert only_record(rows).status == 499
    assert forwarder.calls == []


def test_a_client_that_stalls_and_leaves_in_the_middle_of_the_answer_cancels_the_call(driver):
    def script(call):
        def pump():
            if not call.cancelled:
                if not call.reading_paused:
                    call.sink.body(b"z" * 65536)
                call.loop.call_later(0.001, pump)

        call.sink.head(200, [])
        pump()

    forwarder = FakeForwarder(script)
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_for(lambda: forwarder.calls and forwarder.calls[0].reading_paused)
        wire.close()
        wait_for(lambda: forwarder.calls[0].cancelled, within_s=1.0)
        assert only_record(rows).status == 499


def test_a_body_over_the_limit_is_413_announced_or_not(driver):
    forwarder = FakeForwarder(lambda call: None)
    given = snapshot(policy=EdgePolicy(max_body_bytes=10))
    with gateway(driver, forwarder, given) as (port, rows):
        for framing in (b"content-length: 11\r\n\r\n12345678901", b"transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n"):
            wire = Wire(port)
            wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\n" + framing)
            if b"chunked" in framing:
                wait_for(lambda: forwarder.calls)
                wire.send(b"6\r\n678901\r\n")
            status, fields, body = wire.answer()
            assert (status, fields[b"connection"]) == (413, b"close")
            assert json.loads(body)["type"] == "urn:sentinel:problem:body_too_large"
            assert wire.until_closed() == b""
        wait_for(lambda: len(rows.rows) == 2)
    assert len(forwarder.calls) == 1
    assert forwarder.calls[0].cancelled and len(forwarder.calls[0].body) <= 10


@pytest.mark.parametrize("sent", [b"", b"abc"])
def test_a_body_that_stops_coming_is_408_and_the_call_cancelled(driver, sent, monkeypatch):
    monkeypatch.setattr(asgi_forward, "BODY_IDLE_S", 0.1)
    forwarder = FakeForwarder(lambda call: None)
    with gateway(driver, forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n" + sent)
        assert wire.answer()[0] == 408
        wire.close()
        assert only_record(rows).status == 408
    assert all(call.cancelled for call in forwarder.calls)


@pytest.mark.parametrize(("status", "method"), [(204, "GET"), (304, "GET"), (200, "HEAD")])
def test_answers_without_a_body_leave_the_connection_in_order(driver, status, method):
    def script(call):
        call.sink.head(status, [(b"content-length", b"7"), (b"etag", b'"e"')])
        call.sink.end()

    with gateway(driver, FakeForwarder(script)) as (port, _):
        wire = Wire(port)
        for _ in range(2):
            wire.send(f"{method} /orders HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            got, fields = wire.head()
            assert (got, fields[b"etag"]) == (status, b'"e"')
        assert wire.rest == b""
        wire.close()


def test_a_problem_answers_head_without_a_body(driver):
    with gateway(driver) as (port, _):
        wire = Wire(port)
        wire.send(b"HEAD /nowhere HTTP/1.1\r\nhost: a\r\n\r\nGET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
        status, fields = wire.head()
        assert (status, fields[b"content-type"]) == (404, b"application/problem+json")
        assert wire.answer()[::2] == (200, b"hello")
        wire.close()


def test_limited_routes_carry_rate_limit_fields_and_end_in_429(driver):
    given = snapshot(route(limits=(PER_CLIENT,)), policy=EdgePolicy(server_timing=True))
    with gateway(driver, given=given) as (port, rows):
        answers = [get(port) for _ in range(3)]
        wait_for(lambda: len(rows.rows) == 3)
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert answers[0][1][b"ratelimit"] == b'"orders";r=1;t=1'
    assert answers[0][1][b"ratelimit-policy"] == b'"orders";q=1;w=1'
    assert b"upstream;dur=" in answers[0][1][b"server-timing"]
    assert answers[2][1][b"retry-after"] == b"1"
    assert RequestRecord(*rows.rows[2]).error == "rate_limited"


def test_a_client_that_waits_for_100_continue_gets_it_once_it_is_admitted(driver):
    forwarder = FakeForwarder(lambda call: setattr(call, "on_finish", lambda done: done.answer()))
    with gateway(driver, forwarder) as (port, _):
        wire = Wire(port)
        wire.send(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
        assert wire.head()[0] == 100
        wire.send(b"abc")
        assert wire.answer()[0] == 200
        wire.send(b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
        assert wire.head()[0] == 404
        wire.close()


def test_admin_paths_go_to_control_without_steps_or_record_in_shared_mode_only(driver):
    control = Upstream(name="control", targets=(Target(name="control", host="unix:/run/x.sock", port=0),))
    policy = EdgePolicy(admin_prefixes=("/dashboard", "/"))
    forwarder = FakeForwarder(lambda call: call.answer())
    with gateway(driver, forwarder, snapshot(policy=policy), admin=control) as (port, rows):
        for path in ("/dashboard", "/dashboard/incidents?x=1", "/"):
            assert get(port, path)[0] == 200
        assert get(port, "/dashboards")[0] == 404
        assert len(rows.rows) == 1
    assert [call.outbound.upstream for call in forwarder.calls] == [control] * 3
    with gateway(driver, forwarder) as (port, _):
        assert get(port, "/dashboard")[0] == 404


def test_pipelined_requests_for_control_and_for_services_are_answered_in_their_order(driver):
    control = Upstream(name="control", targets=(Target(name="control", host="unix:/run/x.sock", port=0),))

    def script(call):
        call.loop.call_later(0.05 if call.outbound.path == b"/dashboard" else 0.0, call.answer, call.outbound.path)

    given = snapshot(policy=EdgePolicy(admin_prefixes=("/dashboard",)))
    paths = [b"/orders/1", b"/dashboard", b"/orders/2", b"/nowhere", b"/dashboard", b"/orders/3"]
    with gateway(driver, FakeForwarder(script), given, admin=control) as (port, _):
        wire = Wire(port)
        wire.send(b"".join(b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % path for path in paths))
        answers = [wire.answer() for _ in paths]
        wire.close()
    assert [body for status, _, body in answers if status == 200] == [path for path in paths if path != b"/nowhere"]
    assert answers[3][0] == 404


def test_an_idle_connection_holds_on_to_no_request(driver):
    with gateway(driver) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /orders/1 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 200
        wait_for(lambda: rows.rows)
        (protocol,) = edge_world.running[port][0].server_state.connections
        assert getattr(protocol, "_active", None) is None
        wire.close()


def test_a_reload_between_two_requests_of_one_connection_counts_for_the_second(driver):
    rows = Rows()
    wired = steps(records=rows)
    with driver(wired, FakeForwarder()) as port:
        wire = Wire(port)
        wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 200
        wired.apply(snapshot(route(path="/other")))
        wire.send(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 404
        wire.close()


def test_a_proxy_that_breaks_its_word_is_a_500_and_logged_not_a_hang(driver, capsys):
    def script(call):
        raise RuntimeError("boom")

    with gateway(driver, FakeForwarder(script)) as (port, rows):
        status, _, body = get(port)
    assert (status, json.loads(body)["detail"]) == (500, "The gateway failed.")
    assert only_record(rows).error == "internal"


@pytest.mark.parametrize("request_", ["", "Content-Length: 5\r\n\r\nhello"], ids=["get", "post"])
def test_an_open_circuit_is_a_503_that_says_when_to_come_back(driver, request_):
    """The proxy says so before it returns the call."""

    def script(call):
        call.sink.failed(UpstreamFailure(ErrorKind.CIRCUIT_OPEN, 503, "Left alone.", retry_after_s=7))

    with gateway(driver, FakeForwarder(script)) as (port, rows):
        wire = Wire(port)
        head = request_ or "\r\n"
        wire.send(f"{'POST' if request_ else 'GET'} /orders/1 HTTP/1.1\r\nHost: shop.example\r\n{head}".encode())
        status, fields, body = wire.answer()
        record = only_record(rows)
        wire.close()
    assert (status, fields[b"retry-after"]) == (503, b"7")
    assert json.loads(body)["detail"] == "Left alone."
    assert (record.status, record.error, record.target, record.attempts) == (503, "circuit_open", "", 0)
