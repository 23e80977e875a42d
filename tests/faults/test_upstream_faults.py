"""Upstreams that refuse, drip, stand still, break off and lie, under the running program over both drivers."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.retry import FLOOR_PER_S, WINDOW_S
from tests import running
from tests.faults import wires
from tests.faults.wires import Place, is_over, reset, rest

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_S = 0.5
BUDGET = 0.1
TIMES = 'timeout = { connect = "500ms", header = "800ms", idle = "800ms" }\n'
ONE = TIMES + "max_connections = 1\n"

UPSTREAMS = {
    "refused": 'targets = ["http://127.0.0.1:1"]\n' + TIMES,
    "full": 'targets = ["http://127.0.0.1:FULL"]\n' + TIMES,
    "next": 'targets = ["http://127.0.0.1:1", "http://TARGET_NEXT"]\n' + TIMES,
    "again": TIMES,
    "busy": 'targets = ["http://127.0.0.1:BUSY"]\n' + TIMES,
    "half": ONE,
    "drip": ONE,
    "pieces": ONE,
    "still": ONE,
    "deaf": ONE,
    "cut": ONE,
    "odd": ONE,
    "surplus": ONE,
}
ROUTES = {
    "again": 'retry = { attempts = 2, on = ["connect", "reset"], budget = 1.0 }',
    "busy": f'retry = {{ attempts = 1, on = ["503"], budget = {BUDGET} }}',
}

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module", params=wires.DRIVERS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Place, running.Origin]]:
    with ExitStack() as stack:
        full = stack.enter_context(wires.full_backlog())
        busy = stack.enter_context(running.origin())
        upstreams = {
            name: keys.replace("FULL", str(full)).replace("BUSY", str(busy.port)) for name, keys in UPSTREAMS.items()
        }
        behind = ("half", "drip", "pieces")
        folder = tmp_path_factory.mktemp("upstreams")
        yield stack.enter_context(wires.place(folder, request.param, upstreams, behind=behind, routes=ROUTES)), busy


@pytest.fixture
def place(shared: tuple[Place, running.Origin]) -> Iterator[Place]:
    made, _ = shared
    yield made
    made.clear()
    for network in made.networks.values():
        network.heal()


# --- refused ---


def test_an_upstream_that_refuses_is_502_and_recorded_with_its_target(place: Place) -> None:
    assert place.status("/refused/x") == 502
    record = place.record("/refused/x")
    assert (record["error"], record["target"], record["attempts"]) == ("upstream_unavailable", "127.0.0.1:1", 1)


def test_an_upstream_that_neither_takes_nor_refuses_is_502_when_the_connect_timeout_is_over(place: Place) -> None:
    begun = time.monotonic()
    assert place.status("/full/x") == 502
    assert CONNECT_S * 0.9 <= time.monotonic() - begun < CONNECT_S + 2
    assert place.record("/full/x")["error"] == "upstream_unavailable"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_next_target_is_asked_when_one_refuses_since_nothing_was_sent(place: Place, method: str) -> None:
    body = b"order" if method == "POST" else b""
    attempts = set()
    for number in range(4):
        path = f"/next/{method}/{number}"
        wire = place.ask(path, method=method, body=body)
        upstream = place.origins["next"].connection()
        upstream.request()
        assert upstream.body(len(body)) == body
        upstream.send(wires.OK)
        assert wire.answer()[0] == 200
        attempts.add(place.record(path)["attempts"])
    assert attempts == {1, 2}, "they take turns, so half of them met the closed port first"


def test_a_post_is_not_repeated_once_it_was_sent(place: Place) -> None:
    wire = place.ask("/again/post", method="POST", body=b"order")
    upstream = place.origins["again"].connection()
    upstream.request()
    assert upstream.body(5) == b"order"
    reset(upstream)
    assert wire.answer()[0] == 502
    assert place.record("/again/post")["attempts"] == 1
    assert place.origins["again"].untouched()


def test_a_get_is_repeated_where_the_route_says_so(place: Place) -> None:
    wire = place.ask("/again/get")
    upstream = place.origins["again"].connection()
    upstream.request()
    reset(upstream)
    place.serve("again")
    assert wire.answer()[0] == 200
    assert place.record("/again/get")["attempts"] == 2


def test_repetitions_stay_within_their_budget(shared: tuple[Place, running.Origin], place: Place) -> None:
    busy = shared[1]
    busy.answer = lambda _method, _path: (503, b"")
    count = 400
    wire = place.wire()
    for _ in range(count):
        wire.send(b"GET /busy/x HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 503
    assert count < len(busy.seen) <= count * (1 + BUDGET) + FLOOR_PER_S * WINDOW_S


# --- slow and silent ---


def test_a_half_open_upstream_is_504_and_its_slot_is_free_again(place: Place) -> None:
    place.networks["half"].faults.silent = True
    assert place.status("/half/silent") == 504
    record = place.record("/half/silent")
    assert (record["error"], record["attempts"]) == ("upstream_timeout", 1)
    place.networks["half"].heal()
    place.origins["half"].connection()  # which never got its request in time
    place.works("/half/after", "half")


def test_a_head_that_drips_is_504_however_steadily_it_comes(place: Place) -> None:
    faults = place.networks["drip"].faults
    faults.slice_bytes, faults.bytes_per_s = 1, 20  # a byte every 50 ms, about three seconds in all
    wire = place.ask("/drip/head")
    place.serve("drip")
    assert wire.answer()[0] == 504
    assert place.record("/drip/head")["error"] == "upstream_timeout"
    place.networks["drip"].heal()
    place.works("/drip/after", "drip")


def test_an_answer_in_single_bytes_arrives_as_it_was_sent(place: Place) -> None:
    place.networks["pieces"].faults.slice_bytes = 1
    body = os.urandom(2000)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 77]), body[at : at + 77]) for at in range(0, 2000, 77))
    wire = place.ask("/pieces/x", fields="connection: close\r\n")
    place.serve("pieces", HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    said, end = rest(wire)
    _, _, framed = said.partition(b"\r\n\r\n")
    assert (unchunked(framed), end) == (body, "closed")
    assert place.record("/pieces/x")["error"] == ""


def unchunked(framed: bytes) -> bytes:
    body = b""
    while framed:
        size, _, framed = framed.partition(b"\r\n")
        length = int(size, 16)
        body, framed = body + framed[:length], framed[length + 2 :]
        if length == 0:
            return body
    message = "no last chunk"
    raise AssertionError(message)


def test_a_body_that_stands_still_is_cut_off_and_its_slot_is_free_again(place: Place) -> None:
    wire = place.ask("/still/x")
    upstream = place.serve("still", HEAD + b"content-length: 10\r\n\r\nfour")
    said, end = rest(wire)
    assert said.endswith(b"four")
    assert end == "reset"
    assert is_over(upstream, 1)
    assert place.record("/still/x")["error"] == "upstream_truncated"
    place.works("/still/after", "still")


def test_an_upstream_that_takes_none_of_an_upload_is_504(place: Place) -> None:
    wire = place.wire()
    size = 50_000_000  # more than the buffers on the way

    def upload() -> None:
        with contextlib.suppress(OSError):
            wire.send(b"POST /deaf/x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))

    sending = threading.Thread(target=upload)
    sending.start()
    upstream = place.origins["deaf"].connection()  # and never reads
    record = place.record("/deaf/x")
    assert (record["status"], record["error"]) == (504, "upstream_timeout")
    assert record["bytes_in"] < size
    upstream.close()
    sending.join(5)
    assert not sending.is_alive(), "the client was not left waiting"
    place.works("/deaf/after", "deaf")


# --- broken off ---


SHORT = HEAD + b"content-length: 10\r\n\r\nfour"
NO_LAST_CHUNK = HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\nfour\r\n"
BROKEN_OFF = {
    "short, closed": (SHORT, "close"),
    "short, reset": (SHORT, "reset"),
    "no last chunk, closed": (NO_LAST_CHUNK, "close"),
    "no last chunk, reset": (NO_LAST_CHUNK, "reset"),
    "within a chunk, closed": (HEAD + b"transfer-encoding: chunked\r\n\r\n8\r\nfour", "close"),
    "until the close, reset": (HEAD + b"\r\nfour", "reset"),
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("case", BROKEN_OFF)
def test_an_answer_that_breaks_off_never_looks_whole(place: Place, case: str, version: str) -> None:
    answer, end = BROKEN_OFF[case]
    path = f"/cut/{version}/{answer.hex()[-20:]}/{end}"
    wire = place.wire()
    wire.send(f"GET {path} HTTP/{version}\r\nhost: a\r\n\r\n".encode())
    upstream = place.serve("cut", answer)
    assert wire.head()[0] == 200
    wire.body(4)
    if end == "reset":
        reset(upstream)
    else:
        upstream.close()
    said, ended = rest(wire)
    assert ended == "reset"
    assert b"0\r\n\r\n" not in said
    record = place.record(path)
    assert (record["status"], record["error"]) == (200, "upstream_truncated")


# --- lies ---

HOSTILE = {
    "a large head": HEAD + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
    "a thousand fields": HEAD + b"x: y\r\n" * 1000 + b"content-length: 0\r\n\r\n",
    "length and chunked": HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 4\r\ncontent-length: 5\r\n\r\nfour",
    "endless interim answers": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 50,
    "a switch nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "a space before the colon": HEAD + b"content-length : 4\r\n\r\nfour",
    "a folded field": HEAD + b"x: a\r\n b\r\ncontent-length: 4\r\n\r\nfour",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
}


@pytest.mark.parametrize("lie", HOSTILE)
def test_an_answer_that_breaks_the_protocol_is_502_and_its_connection_ends(place: Place, lie: str) -> None:
    path = f"/odd/{lie.replace(' ', '-')}"
    wire = place.ask(path)
    upstream = place.serve("odd", HOSTILE[lie])
    assert wire.answer()[0] == 502
    assert is_over(upstream, 1)
    assert place.record(path)["error"] == "upstream_protocol"
    place.works(f"{path}/after", "odd")


@pytest.mark.parametrize("chunk", [b"zz\r\nfour\r\n", b"-4\r\nfour\r\n", b"4\r\nfourX\r\n", b"fffffffffffffffff\r\n"])
def test_a_bad_chunk_never_becomes_an_end_and_its_connection_ends(place: Place, chunk: bytes) -> None:
    path = f"/odd/chunk/{chunk.partition(b'X')[0].hex()}"
    wire = place.ask(path)
    upstream = place.serve("odd", HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\ngood\r\n" + chunk + b"0\r\n\r\n")
    said, end = rest(wire)
    assert (end == "reset" and b"\r\n0\r\n\r\n" not in said) or said.startswith(b"HTTP/1.1 502 ")
    assert is_over(upstream, 1)
    assert place.record(path)["error"] == "upstream_protocol"


def test_what_stands_behind_an_answer_is_nobodys(place: Place) -> None:
    wire = place.ask("/surplus/first")
    evil = HEAD + b"content-length: 4\r\n\r\nevil"
    upstream = place.serve("surplus", HEAD + b"content-length: 4\r\n\r\nfine" + evil)
    assert wire.answer()[2] == b"fine"
    assert is_over(upstream, 1)
    place.works("/surplus/second", "surplus")


def test_bytes_nobody_asked_for_end_an_idle_connection(place: Place) -> None:
    wire = place.ask("/surplus/idle")
    upstream = place.serve("surplus", HEAD + b"content-length: 4\r\n\r\nfine")
    assert wire.answer()[2] == b"fine"
    upstream.send(HEAD + b"content-length: 4\r\n\r\nevil")
    assert is_over(upstream, 1)
    place.works("/surplus/third", "surplus")
