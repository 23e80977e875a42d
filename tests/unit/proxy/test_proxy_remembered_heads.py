"""An answer whose head is remembered reads exactly as the parser reads it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy import answer
from gateway.proxy.answer import AnswerReader, Phase

HEAD = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\n\r\n"
PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 404 Not Found\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"content-length: 5\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"server: a\r\n",
    b" folded\r\n",
    b"\r\n",
    b"\n",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
]


class Heard:
    """What a sink was told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def head(self, status, headers):
        self.told.append((status, list(headers)))
        headers.append((b"added", b"by the sink"))  # it may do with its list what it likes

    def body(self, chunk):
        self.told.append(chunk)


@pytest.fixture(autouse=True)
def nothing_remembered():
    answer._plain_heads.clear()
    yield
    answer._plain_heads.clear()


def read(reader: AnswerReader, chunks: list[bytes], *, head_only: bool = False) -> tuple[object, ...]:
    heard = Heard()
    reader.expect(heard, head_only=head_only)
    for chunk in chunks:
        if reader.feed(chunk) in {Phase.WHOLE, Phase.BROKEN}:
            break
    body = b"".join(part for part in heard.told if isinstance(part, bytes))
    heads = [part for part in heard.told if not isinstance(part, bytes)]
    return heads, body, reader.phase, reader.reusable, reader.problem, reader.closed()


def slices(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(borders)]


@given(
    pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=9),
    cuts=st.lists(st.integers(0, 160), max_size=3),
    head_only=st.booleans(),
)
def test_any_answer_reads_the_same_the_second_time(pieces, cuts, head_only):
    data = b"".join(pieces)
    answer._plain_heads.clear()
    parsed = read(AnswerReader(), slices(data, cuts), head_only=head_only)
    for chunks in ([data], slices(data, cuts)):  # learn, then read again by memory
        answer._plain_heads.clear()
        read(AnswerReader(), [data])
        assert read(AnswerReader(), slices(data, cuts), head_only=head_only) == parsed, chunks


def test_a_plain_head_is_remembered_and_not_parsed_again():
    reader = AnswerReader()
    first = read(reader, [HEAD + b"hello"])
    reader._parser = None
    assert read(reader, [HEAD + b"hello"]) == first
    assert reader._parser is None
    assert first[0] == [(200, [(b"server", b"a"), (b"content-length", b"5")])]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 103 Early\r\n\r\n" + HEAD + b"hello",
        b"\r\n\r\n" + HEAD + b"hello",
        HEAD.replace(b"server: a", b"connection: close").replace(b"Server: a", b"Connection: close") + b"hello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil it closes",
        HEAD.replace(b"a\r\n", b"a" * answer.MAX_REMEMBERED_HEAD_BYTES + b"\r\n") + b"hello",
    ],
)
def test_what_is_not_plain_is_not_remembered(data):
    read(AnswerReader(), [data])
    assert answer._plain_heads == {}


def test_the_table_of_heads_is_bounded():
    for number in range(answer.MAX_REMEMBERED_HEADS + 10):
        read(AnswerReader(), [HEAD.replace(b"a", b"%d" % number, 1) + b"hello"])
        assert len(answer._plain_heads) <= answer.MAX_REMEMBERED_HEADS


def test_bytes_after_a_remembered_answer_keep_its_connection_from_reuse():
    reader = AnswerReader()
    read(reader, [HEAD + b"hello"])
    *_, phase, reusable, _, _ = read(reader, [HEAD + b"hello" + b"HTTP/1.1 200 OK\r\n"])
    assert (phase, reusable) == (Phase.WHOLE, False)


def test_a_connection_goes_on_with_the_parser_after_remembered_answers():
    reader = AnswerReader()
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for data in (HEAD + b"hello", HEAD + b"hello", chunked, HEAD + b"hello"):
        _, body, phase, reusable, _, _ = read(reader, [data])
        assert (body, phase, reusable) == (b"hello", Phase.WHOLE, True)
