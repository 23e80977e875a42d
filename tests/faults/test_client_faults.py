"""Clients that leave in the middle, and clients that are slow on purpose, at the running program over both drivers."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import wires
from tests.faults.wires import Place, is_over, reset, rest, until
from tests.integration.edge.websocket_world import flood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

    from tests.integration.edge.edge_world import Wire
    from tests.integration.edge.websocket_world import ServerWire

GONE_S = 1.0  # a client that left is to be noticed upstream within this
MIB = 1024 * 1024

# Deadlines that are ten seconds to a minute, so that a test need not wait for them.
SHORT = """
if ROLE == "edge":
    import gateway.serving
    from gateway.edge import asgi_forward, server_protocol
    asgi_forward.BODY_IDLE_S = server_protocol.HEAD_TIMEOUT_S = server_protocol.SEND_IDLE_S = 1.0
    gateway.serving.KEEP_ALIVE_S = 1.0
"""
SHORT_S = 1.0
ONE = 'max_connections = 1\ntimeout = { header = "20s", idle = "20s" }\n'
UPSTREAMS = dict.fromkeys(("up", "down", "wait", "queue", "stop", "steady", "unread", "well", "pipe"), ONE) | {
    "many": "max_connections = 100\n"
}


@pytest.fixture(scope="module", params=wires.DRIVERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with wires.place(tmp_path_factory.mktemp("clients"), request.param, UPSTREAMS, before=SHORT) as made:
        yield made


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    yield shared
    shared.clear()


def worker(place: Place) -> psutil.Process:
    return place.gateway.child("worker 1")


LEAVING: dict[str, Callable[[Wire], None]] = {"close": lambda wire: wire.close(), "reset": reset}

# --- leaving ---


def gone(place: Place, path: str, upstream: ServerWire, name: str) -> None:
    """The upstream is told in time, there is one record that says so, and the only slot is free again."""
    assert is_over(upstream, GONE_S)
    record = place.record(path)
    assert (record["status"], record["error"]) == (499, "client_gone")
    place.works(f"{path}/after", name)


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_that_leaves_within_its_upload_is_gone_upstream_too(place: Place, framing: str, leave: str) -> None:
    path = f"/up/{framing}/{leave}"
    wire = place.wire()
    field, part = (
        ("content-length: 1000000", b"x" * 1000)
        if framing == "length"
        else ("transfer-encoding: chunked", b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    )
    wire.send(f"POST {path} HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n".encode() + part)
    upstream = place.origins["up"].connection()
    upstream.request()
    upstream.body(1000)
    LEAVING[leave](wire)
    gone(place, path, upstream, "up")


@pytest.mark.parametrize("leave", LEAVING)
def test_a_client_that_leaves_within_its_download_is_gone_upstream_too(place: Place, leave: str) -> None:
    path = f"/down/{leave}"
    wire = place.ask(path)
    upstream = place.serve("down", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nfour")
    assert wire.head()[0] == 200
    assert wire.body(4) == b"four"
    LEAVING[leave](wire)
    gone(place, path, upstream, "down")


@pytest.mark.parametrize("leave", LEAVING)
def test_a_client_that_leaves_before_its_answer_is_gone_upstream_too(place: Place, leave: str) -> None:
    path = f"/wait/{leave}"
    wire = place.ask(path)
    upstream = place.origins["wait"].connection()
    upstream.request()
    LEAVING[leave](wire)
    gone(place, path, upstream, "wait")


def test_a_client_that_leaves_the_queue_is_never_sent_on(place: Place) -> None:
    first = place.ask("/queue/first")
    upstream = place.origins["queue"].connection()
    upstream.request()
    second = place.ask("/queue/second")
    time.sleep(0.1)
    second.close()
    record = place.record("/queue/second")
    assert (record["status"], record["attempts"]) == (499, 0)
    upstream.send(wires.OK)
    assert first.answer()[0] == 200
    assert place.origins["queue"].untouched()
    place.works("/queue/after", "queue")


def test_many_clients_that_leave_anywhere_leave_nothing_behind(place: Place) -> None:
    place.works("/many/before", "many")
    files = worker(place).num_fds()
    upstreams = []
    for number in range(60):
        path = f"/many/{number % 3}"
        if number % 3 == 0:
            wire = place.ask(path, method="POST", fields="content-length: 1000000\r\n")
            wire.send(b"x" * 1000)
        else:
            wire = place.ask(path)
        upstream = place.origins["many"].connection()
        upstream.request()
        if number % 3 == 1:
            upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n")
            wire.head()
        upstreams.append(upstream)
    assert worker(place).num_fds() >= files + 110
    for number, wire in enumerate(place.wires):
        LEAVING["reset" if number % 2 else "close"](wire)
    assert all(is_over(upstream, GONE_S) for upstream in upstreams)
    until(lambda: worker(place).num_fds() <= files, 5, "nothing is open any more")

    def left() -> int:
        return sum(record["status"] == 499 for record in place.gateway.records() if record["path"][:6] == "/many/")

    until(lambda: left() >= 60, 5, "each has its record")
    assert left() == 60


# --- slow on purpose ---


def test_heads_that_do_not_come_are_408_and_nobody_else_notices(place: Place) -> None:
    silent, began, dripping = (place.wire() for _ in range(3))
    began.send(b"GET /well/x HTTP/1.1\r\nhost: a\r\nx")
    begun = time.monotonic()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for letter in b"GET /well/x HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 1000:
                dripping.send(bytes((letter,)))
                time.sleep(0.05)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    place.works("/well/meanwhile", "well")
    for wire in (silent, began, dripping):
        said, _ = rest(wire)
        assert said.startswith(b"HTTP/1.1 408 ")
    assert SHORT_S * 0.9 <= time.monotonic() - begun < SHORT_S + 3
    thread.join(5)


def test_hundreds_of_slow_heads_keep_nobody_from_being_served(place: Place) -> None:
    slow = [place.wire() for _ in range(300)]
    for number, wire in enumerate(slow):
        wire.send(b"GET /well/x HTTP/1.1\r\nhost: a\r\n"[: number % 30 + 1])
    place.works("/well/among-them", "well")
    assert all(rest(wire)[0].startswith(b"HTTP/1.1 408 ") for wire in slow)
    place.works("/well/after-them", "well")


def test_an_idle_connection_is_closed_without_a_word(place: Place) -> None:
    wire = place.ask("/well/idle")
    place.serve("well")
    assert wire.answer()[0] == 200
    assert rest(wire) == (b"", "closed")


@pytest.mark.parametrize("sent", [0, 1000])
def test_a_body_that_stops_coming_is_408_and_holds_nothing_upstream(place: Place, sent: int) -> None:
    path = f"/stop/{sent}"
    wire = place.ask(path, method="POST", fields="content-length: 5000\r\n")
    if sent:
        wire.send(b"x" * sent)
        upstream = place.origins["stop"].connection()
        upstream.request()
        assert is_over(upstream, SHORT_S + 3)
    assert wire.head()[0] == 408
    assert place.origins["stop"].untouched(), "no upstream is asked before the first of a body is there"
    assert place.record(path)["error"] == "bad_request"
    place.works(f"{path}/after", "stop")


def test_a_slow_but_steady_body_arrives_whole(place: Place) -> None:
    body = os.urandom(25)
    wire = place.ask("/steady/up", method="POST", fields="content-length: 25\r\n")
    for letter in body:
        wire.send(bytes((letter,)))
        time.sleep(SHORT_S / 15)  # in all longer than the pause that is allowed
    upstream = place.origins["steady"].connection()
    upstream.request()
    assert upstream.body(25) == body
    upstream.send(wires.OK)
    assert wire.answer()[0] == 200


def test_an_answer_nobody_reads_is_given_up_and_its_upstream_let_go(place: Place) -> None:
    size = 64 * MIB
    place.ask("/unread/x")
    upstream = place.serve("unread", b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
    memory = worker(place).memory_info().rss
    taken = flood(upstream, b"x" * 65536, at_most=size)
    assert taken < size / 2, "the upstream was held back"
    assert worker(place).memory_info().rss - memory < 4 * MIB
    assert is_over(upstream, 3 * SHORT_S + 3)
    record = place.record("/unread/x")
    assert (record["status"], record["error"]) == (499, "client_gone")
    place.works("/unread/after", "unread")


def test_a_slow_but_steady_reader_gets_everything(place: Place) -> None:
    body = os.urandom(MIB) * 8
    wire = place.ask("/steady/down")
    upstream = place.origins["steady"].connection()
    upstream.request()
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    sending = threading.Thread(target=lambda: upstream.send(answer + body), daemon=True)
    sending.start()
    wire.head()
    got = bytearray()
    while len(got) < len(body):
        got += wire.body(min(MIB // 2, len(body) - len(got)))
        time.sleep(SHORT_S / 10)
    assert got == body
    sending.join(5)
    assert place.record("/steady/down")["error"] == ""


def test_a_client_that_asks_without_end_and_reads_nothing_is_held_back_and_given_up(place: Place) -> None:
    memory = worker(place).memory_info().rss
    wire = place.wire()
    requests = b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n" * 500
    wire.socket.settimeout(0.2)
    sent, given_up_by = 0, time.monotonic() + 3 * SHORT_S + 5
    while time.monotonic() < given_up_by:
        try:
            sent += wire.socket.send(requests[sent % len(requests) :])
        except TimeoutError:  # held back
            assert worker(place).memory_info().rss - memory < 8 * MIB
        except ConnectionError:
            break
    else:
        pytest.fail("it was never given up")
    assert 0 < sent < 50 * MIB
    place.works("/pipe/after", "pipe")


@pytest.mark.parametrize("reads", ["at once", "later"])
def test_requests_sent_ahead_are_answered_in_their_order_however_many_they_are(place: Place, reads: str) -> None:
    count = 30_000 if reads == "later" else 3000  # answers that no buffer on the way can hold
    wire = place.wire()
    requests = b"".join(b"GET /nowhere/%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(count))
    threading.Thread(target=wire.send, args=(requests,), daemon=True).start()
    if reads == "later":
        time.sleep(SHORT_S / 2)
    for _ in range(count):
        assert wire.answer()[0] == 404
    wire.close()
