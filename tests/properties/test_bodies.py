"""Bodies arrive byte for byte, both ways, however they are framed and cut.

That they are held back instead of piled up, tests/integration/edge/test_streaming.py and test_edge_driver.py show.
"""

from __future__ import annotations

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.edge import edge_world
from tests.integration.edge.edge_world import Wire
from tests.properties.mutations import in_pieces
from tests.security.wire_world import HOST, OK, bounded, gateway

POST = b"POST /upload HTTP/1.1\r\n" + HOST


@pytest.fixture(scope="module", params=["asgi", "lane"])
def shared_front(request):
    with gateway(getattr(edge_world, request.param)) as made:
        yield made


@pytest.fixture
def front(shared_front):
    shared_front.clear()
    return shared_front


def chunked(pieces: list[bytes], extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(one), extension, one) for one in pieces if one) + b"0\r\n\r\n"


# Sizes around those of buffers and reads; contents that look like framing.
SIZES = st.one_of(st.integers(0, 40), st.sampled_from([4095, 4096, 16383, 16384, 16385, 65535, 65536, 65537, 200_000]))
SEEDS = st.sampled_from([b"\r\n0\r\n\r\n", b"5\r\nhello\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(range(256)), b"a"])
BODIES = st.builds(lambda size, seed: (seed * (size // len(seed) + 1))[:size], SIZES, SEEDS)
CUTS = st.lists(st.floats(0, 1, exclude_max=True), max_size=5)


def sent_in(wire: Wire, data: bytes, cuts: list[float]) -> None:
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in in_pieces(data, cuts):
        wire.send(piece)
        time.sleep(0.0005)


@given(body=BODIES, pieces=CUTS, cuts=CUTS, framing=st.sampled_from(["length", "chunks", "extended"]))
@bounded(60)
def test_what_a_client_uploads_is_what_the_origin_gets(front, body, pieces, cuts, framing):
    front.origin.messages.clear()
    if framing == "length":
        data = POST + b"content-length: %d\r\n\r\n" % len(body) + body
    else:
        extension = b";name=value" if framing == "extended" else b""
        data = POST + b"transfer-encoding: chunked\r\n\r\n" + chunked(in_pieces(body, pieces), extension)
    wire = Wire(front.port)
    sent_in(wire, data + b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n", cuts)
    assert [wire.answer()[0] for _ in range(2)] == [200, 200]
    wire.close()
    assert [(one.target, one.body) for one in front.messages] == [(b"/upload", body), (b"/next", b"")]


def answer_to(method_fields: bytes, wire: Wire) -> bytes:
    """The body of an answer as a client of HTTP/1.1 unwraps it."""
    wire.send(b"GET /download HTTP/1.1\r\n" + HOST + method_fields + b"\r\n")
    _, fields = wire.head()
    if b"content-length" in fields:
        return wire.body(int(fields[b"content-length"]))
    assert fields[b"transfer-encoding"] == b"chunked"
    body = b""
    while True:
        while b"\r\n" not in wire.rest:
            wire.rest += wire.socket.recv(65536)
        size, _, wire.rest = wire.rest.partition(b"\r\n")
        chunk = wire.body(int(size, 16) + 2)
        if not int(size, 16):
            return body
        body += chunk[:-2]


@given(body=BODIES, pieces=CUTS, framing=st.sampled_from(["length", "chunks", "extended", "close"]))
@bounded(60)
def test_what_an_origin_sends_is_what_the_client_gets(front, body, pieces, framing):
    head = b"HTTP/1.1 200 OK\r\n"
    if framing == "length":
        data = head + b"content-length: %d\r\n\r\n" % len(body) + body
    elif framing == "close":
        data = head + b"connection: close\r\n\r\n" + body
    else:
        extension = b";name=value" if framing == "extended" else b""
        data = head + b"transfer-encoding: chunked\r\n\r\n" + chunked(in_pieces(body, pieces), extension)
    front.origin.answer, front.origin.closes = (lambda _message: data), framing == "close"
    wire = Wire(front.port)
    assert answer_to(b"", wire) == body
    front.origin.answer, front.origin.closes = (lambda _message: OK), False
    assert answer_to(b"", wire) == b"ok"
    wire.close()


@given(body=BODIES.filter(len), cut=st.floats(0, 1, exclude_max=True), framing=st.sampled_from(["length", "chunks"]))
@bounded(40)
def test_a_body_that_breaks_off_anywhere_is_never_a_whole_one(front, body, cut, framing):
    head = b"HTTP/1.1 200 OK\r\n"
    whole = body if framing == "length" else chunked([body])
    framed = b"content-length: %d\r\n\r\n" % len(body) if framing == "length" else b"transfer-encoding: chunked\r\n\r\n"
    front.origin.answer, front.origin.closes = (lambda _message: head + framed + whole[: int(cut * len(whole))]), True
    wire = Wire(front.port)
    got = b""
    with pytest.raises((AssertionError, ConnectionResetError)):
        got = answer_to(b"", wire)
    wire.close()
    assert got == b""
