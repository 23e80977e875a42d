"""Answers of a hostile origin, on the client's own wire: whole and clean, refused, or visibly broken off."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.edge.edge_world import Wire
from tests.security.wire_world import HOST, OK, bounded

GET = b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n"
_ID = re.compile(rb"x-request-id: [^\r]*\r\n")


def answered(front, answer: bytes, *, closes: bool = True, method: bytes = b"GET") -> bytes:
    """What a client hears that asks for this, on a connection that is closed behind it."""
    front.origin.answer, front.origin.closes = (lambda _message: answer), closes
    wire = Wire(front.port)
    wire.send(method + b" /first HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    return wire.until_closed()


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"a\r\nset-cookie: evil=1",
            b"a\nset-cookie: evil=1",
            b"a\rset-cookie: evil=1",
            b"a\r\n\r\n<html>evil</html>",
        ),
        *(b"a\x00b", b"a\r\n evil: 1", b"a\r\n\tevil: 1", b"a\x0bb", b"a\x1b[31m"),
    ],
)
def test_a_value_of_an_origin_begins_no_line_of_its_own(front, value):
    said = answered(front, b"HTTP/1.1 200 OK\r\nlocation: " + value + b"\r\ncontent-length: 2\r\n\r\nok")
    head = said.partition(b"\r\n\r\n")[0]
    if said.startswith(b"HTTP/1.1 502 "):
        assert b"evil" not in said
    else:  # two fields to every reader, or one whose value is harmless on a line
        assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r")
        assert b"\0" not in head
        names = [line.split(b":")[0] for line in head.split(b"\r\n")[1:]]
        assert names.count(b"set-cookie") == value.startswith(b"a\r\nset-cookie")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n: 5\r\n\r\nhello",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 600 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 2000 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 abc No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"<html>no http</html>\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + OK,
    ],
)
def test_an_answer_that_can_be_read_in_two_ways_or_none_is_502(front, answer):
    said = answered(front, answer)
    assert said.startswith(b"HTTP/1.1 502 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"hello" not in said


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0x0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_body_that_breaks_off_never_looks_whole_to_the_client(front, answer):
    said = answered(front, answer)
    if said.startswith(b"HTTP/1.1 200 "):
        head, _, body = said.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head:
            assert not body.endswith(b"0\r\n\r\n")
        else:
            assert len(body) < 50
    else:
        assert said == b"" or said.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "forged",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
        b"HTTP/1.1 200 OK\r\nx-forged: ",
        b"HTTP/1.1 200 OK\r\n",
        b"H",
    ],
)
def test_an_answer_behind_an_answer_is_nobodys(front, method, forged):
    front.origin.answer = lambda _message: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + forged
    wire = Wire(front.port)
    wire.send(method + b" /first HTTP/1.1\r\n" + HOST + b"\r\n")
    assert wire.head()[0] == 200
    front.origin.answer = lambda _message: OK
    wire.send(GET)
    status, fields, body = wire.answer()
    assert (status, body) == (200, b"ok")
    assert b"x-forged" not in fields
    wire.close()


def test_a_body_to_head_and_204_and_304_is_not_passed_on(front):
    for method, status in ((b"HEAD", b"200 OK"), (b"GET", b"204 No Content"), (b"GET", b"304 Not Modified")):
        said = answered(front, b"HTTP/1.1 " + status + b"\r\ncontent-length: 4\r\n\r\nevil", method=method)
        assert said.startswith(b"HTTP/1.1 " + status[:3])
        assert said.endswith(b"\r\n\r\n")


def test_fields_of_one_hop_and_nominated_ones_end_here(front):
    fields = (
        b"connection: x-inner, keep-alive\r\nx-inner: 1\r\nkeep-alive: 5\r\nproxy-authenticate: a\r\ntrailer: x\r\n"
    )
    said = answered(
        front, b"HTTP/1.1 200 OK\r\n" + fields + b"upgrade: h2c\r\nx-outer: 2\r\ncontent-length: 2\r\n\r\nok"
    )
    head = said.partition(b"\r\n\r\n")[0].lower()
    names = {line.split(b":")[0] for line in head.split(b"\r\n")[1:]}
    assert names == {b"connection", b"x-outer", b"content-length", b"x-request-id"}
    assert b"connection: close" in head


def test_an_origin_names_no_request_id_for_the_gateway(front):
    said = answered(front, b"HTTP/1.1 200 OK\r\nx-request-id: forged\r\ncontent-length: 2\r\n\r\nok")
    assert b"forged" not in said
    assert said.count(b"x-request-id: ") == 1


GOOD = [
    OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello world",
    b"HTTP/1.1 204 No Content\r\nETag: a\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
]
PUT_IN = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"0",
    b"5",
    b"-",
    b"content-length: 3\r\n",
    b"transfer-encoding: chunked\r\n",
]
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.sampled_from([b"", *PUT_IN])),
    min_size=1,
    max_size=3,
)


def changed(answer: bytes, changes) -> bytes:
    for where, cut, put in changes:
        at = int(where * len(answer))
        answer = answer[:at] + put + answer[at + cut :]
    return answer


INTERIM = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2} [^\r\n]*\r\n([!-9;-~]+: ?[^\r\n]*\r\n)*\r\n")
STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})( [^\r\n]*)?")  # the phrase is for nobody, and not passed on
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")
TRAILERS = re.compile(rb"([!-9;-~]+:[\t -~\x80-\xff]*\r\n)*\r\n")
BODILESS = {b"204", b"304"}


def by_the_letter(answer: bytes) -> tuple[bytes, bytes] | None:
    """Status and body of an answer that every reader reads the same, its connection closed behind it; else None."""
    answer = answer.lstrip(b"\r\n")
    while (interim := INTERIM.match(answer)) is not None:
        answer = answer[interim.end() :].lstrip(b"\r\n")
    head, found, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = STATUS.fullmatch(first)
    fields = [FIELD.fullmatch(line) for line in lines]
    if not found or status is None or None in fields:
        return None
    given = [(field[1].lower(), field[2].strip(b" \t")) for field in fields if field is not None]
    lengths = [value for name, value in given if name == b"content-length"]
    codings = [value.lower() for name, value in given if name == b"transfer-encoding"]
    content = b"" if status[1] in BODILESS else _content(body, lengths, codings)
    return None if content is None else (status[1], content)


def _content(body: bytes, lengths: list[bytes], codings: list[bytes]) -> bytes | None:
    if codings:
        return _unchunked(body)[0] if codings == [b"chunked"] and not lengths else None
    if not lengths:
        return body
    is_good = len(lengths) == 1 and re.fullmatch(rb"[0-9]{1,15}", lengths[0]) and len(body) >= int(lengths[0])
    return body[: int(lengths[0])] if is_good else None


def _unchunked(body: bytes) -> tuple[bytes | None, bytes]:
    """The content of a chunked body and what follows it; no content where it is not whole."""
    whole = b""
    while (size := CHUNK.match(body)) is not None:
        number, body = int(size[1], 16), body[size.end() :]
        if not number:
            ended = TRAILERS.match(body)
            return (None, b"") if ended is None else (whole, body[ended.end() :])
        if body[number : number + 2] != b"\r\n":
            break
        whole, body = whole + body[:number], body[number + 2 :]
    return None, b""


def heard(said: bytes) -> tuple[bytes, bytes] | None:
    """Status and body as a strict client takes them; None where it sees that the answer broke off."""
    head, found, body = said.partition(b"\r\n\r\n")
    if not found:
        return None
    status, length = head[9:12], re.search(rb"\r\ncontent-length: ([0-9]+)", head)
    if b"\r\ntransfer-encoding: chunked" in head:
        content, rest = _unchunked(body)
        assert rest == b""
        return None if content is None else (status, content)
    assert length is not None or status in BODILESS, said
    assert length is None or len(body) <= int(length[1])
    return None if length is not None and len(body) < int(length[1]) else (status, body)


@given(answer=st.builds(changed, st.sampled_from(GOOD), CHANGES))
@bounded(150)
def test_a_changed_answer_is_never_a_clean_but_wrong_one(front, answer):
    got = heard(answered(front, answer))
    if got is not None and got[0] != b"502":
        assert got == by_the_letter(answer), answer
