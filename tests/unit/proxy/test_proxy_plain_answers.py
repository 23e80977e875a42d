"""An answer that is read by its lines reads exactly as llhttp reads it; where that is not sure it goes to llhttp."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy import plain_answer
from gateway.proxy.answer import AnswerReader, Phase
from gateway.proxy.plain_answer import plain_head, whole_body

HEAD = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\n\r\n"
PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 \r\n",
    b"HTTP/1.1 200\r\n",
    b"HTTP/1.1 404 Not Found\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n",
    b"HTTP/1.1 999 What\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"content-length: 5\r\n",
    b"Content-Length:5\r\n",
    b"content-length: +5\r\n",
    b"content-length: 5 \r\n",
    b"content-length: 5, 5\r\n",
    b"content-length: 00005\r\n",
    b"content-length: 99999999999999999999\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"Connection: Keep-Alive\r\n",
    b"connection: keep-alive, x-hop\r\n",
    b"connection: upgrade\r\n",
    b"keep-alive: timeout=5\r\n",
    b"proxy-connection: close\r\n",
    b"proxy-authenticate: x\r\n",
    b"upgrade: h2c\r\n",
    b"trailer: x\r\n",
    b"te: x\r\n",
    b"x-hop: 1\r\n",
    b"server: a\r\n",
    b"x:\r\n",
    b"x: \r\n",
    b"x:  two blanks\r\n",
    b"x : y\r\n",
    b"x: blank behind \r\n",
    b"x: caf\xc3\xa9\r\n",
    b"x: a\tb\r\n",
    b"x: nul\0\r\n",
    b"x: bare\rcr\r\n",
    b": nameless\r\n",
    b"no colon\r\n",
    b"set-cookie: a=b\r\n",
    b" folded\r\n",
    b"\tfolded\r\n",
    b"\r\n",
    b"\n",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
]
USUAL = st.sampled_from(
    [
        HEAD + b"hello",
        b"HTTP/1.1 304 Not Modified\r\nETag: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello",
    ]
)


class Heard:
    """What a sink was told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def head(self, status, headers):
        self.told.append((status, list(headers)))

    def body(self, chunk):
        self.told.append(chunk)


@pytest.fixture(autouse=True)
def nothing_remembered():
    plain_answer.forget()
    yield
    plain_answer.forget()


def read(reader: AnswerReader, chunks: list[bytes], *, head_only: bool = False) -> tuple[object, ...]:
    heard = Heard()
    reader.expect(heard, head_only=head_only)
    for chunk in chunks:
        if reader.feed(chunk) in {Phase.WHOLE, Phase.BROKEN}:
            break
    return heard.told, reader.phase, reader.reusable, reader.untouched, reader.problem, reader.closed()


def slices(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(borders)]


def assert_read_alike(answers: list[tuple[bytes, list[int], bool]]) -> None:
    """One connection each way, for as long as it would be used again."""
    plainly, parsing = AnswerReader(), AnswerReader(plainly=False)
    for data, cuts, head_only in answers:
        chunks = slices(data, cuts)
        seen = read(plainly, chunks, head_only=head_only)
        assert seen == read(parsing, chunks, head_only=head_only)
        if seen[1] is not Phase.WHOLE or not plainly.reusable:
            break


# Mostly of the right shape, so that one odd line decides; sometimes of none.
ANSWER = st.one_of(
    st.builds(
        lambda status, fields, length, body: b"".join([status, *fields[:1], *length, *fields[1:], b"\r\n", body]),
        st.sampled_from([piece for piece in PIECES if piece.startswith(b"HTTP/")]),
        st.lists(st.sampled_from([piece for piece in PIECES if b":" in piece or piece[:1] in b" \t"]), max_size=3),
        st.sampled_from([[], [b"content-length: 5\r\n"]]),
        st.sampled_from([b"", b"hello", b"hell", b"hello!", b"5\r\nhello\r\n0\r\n\r\n"]),
    ),
    st.builds(b"".join, st.lists(st.sampled_from(PIECES), min_size=1, max_size=9)),
)
CUTS = st.lists(st.integers(0, 160), max_size=3)


@settings(max_examples=1000)
@given(one=ANSWER, two=ANSWER, cuts=st.tuples(CUTS, CUTS), head_only=st.booleans())
def test_any_answers_of_one_connection_read_the_same_with_and_without_the_parser(one, two, cuts, head_only):
    usual = (HEAD + b"hello", [], False)
    assert_read_alike([(one, [], head_only), (two, cuts[1], False)])
    assert_read_alike([usual, (one, cuts[0], head_only), usual, (one, [], False), (two, [], False), usual])


@settings(max_examples=400)
@given(
    answer=USUAL,
    changes=st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3)), max_size=2),
    cuts=CUTS,
)
def test_a_usual_answer_with_any_bytes_changed_reads_the_same_with_and_without_the_parser(answer, changes, cuts):
    changed = answer
    for place, put, removed in changes:
        changed = changed[:place] + put + changed[place + removed :]
    assert_read_alike([(answer, [], False), (changed, [], False), (changed, cuts, False), (answer, [], False)])


@pytest.mark.parametrize(
    "place",
    [
        b"HTTP/1.1 200 O@K",
        b"HTTP/1.1 200@OK",
        b"HTTP/1.1 2@0 OK",
        b"x-n@ame: v",
        b"x: v@v",
        b"x: @v",
        b"x: v@",
        b"x:@v",
        b"Content-Length: 5@",
        b"Content-Length: @5",
        b"Connection: close@",
    ],
)
def test_every_single_byte_at_every_kind_of_place_reads_the_same(place):
    for byte in range(256):
        line = place.replace(b"@", bytes([byte])) + b"\r\n"
        status = b"" if line.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
        length = b"" if b"Length" in line else b"Content-Length: 5\r\n"
        data = status + line + length + b"\r\nhello"
        assert_read_alike([(data, [], False), (data, [], False)])


CHUNKS = [
    *(b"5\r\nhello\r\n", b"A\r\n0123456789\r\n", b"0a\r\n0123456789\r\n", b"5;x=y\r\nhello\r\n", b"0\r\n\r\n"),
    *(b"0\r\n", b"0000\r\n\r\n", b"x: y\r\n", b"\r\n", b" 5\r\nhello\r\n", b"+5\r\nhello\r\n", b"5\r\nhello"),
    *(b"5\nhello\n", b"5\r\nhell\r\n", b"-1\r\n", b"0x5\r\nhello\r\n", b"fffffff\r\n", b"ffffffffffffffff1\r\n"),
    b"HTTP/1.1 200 OK\r\n",
]
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nServer: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@settings(max_examples=600)
@given(chunks=st.lists(st.sampled_from(CHUNKS), max_size=5), ended=st.booleans())
def test_chunks_that_are_read_at_once_are_those_the_parser_reads(chunks, ended):
    data = CHUNKED_HEAD + b"".join(chunks) + b"0\r\n\r\n" * ended
    plainly = AnswerReader()
    plainly.expect(Heard(), head_only=False, takes_whole=True)
    plainly.feed(data)
    if plainly.whole is None:
        return
    told, phase, reusable, *_ = read(AnswerReader(plainly=False), [data])
    assert (phase, reusable) == (plainly.phase, plainly.reusable) == (Phase.WHOLE, True)
    status, headers, body = plainly.whole
    assert (status, headers) == told[0] and body == b"".join(told[1:])


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"1\r\nh\r\n4\r\nello\r\n000\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n", None),
        (b"5\r\nhello\r\n0\r\n\r", None),
        (b"5;a\r\nhello\r\n0\r\n\r\n", None),
        (b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", None),
        (b"5\r\nhello\r\n0\r\n\r\nHTTP", None),
        (b"5\r\nhelloo\r\n0\r\n\r\n", None),
        (b"fffffff\r\n", None),
        (b"5\nhello\n0\n\n", None),
    ],
)
def test_a_body_in_chunks_is_read_at_once_only_when_it_is_whole_and_plain(chunks, body):
    assert whole_body(b"head" + chunks, 4) == body


def test_a_plain_answer_never_meets_the_parser():
    reader = AnswerReader()
    told, phase, reusable, *_ = read(reader, [HEAD + b"hello"])
    assert told == [(200, [(b"server", b"a"), (b"content-length", b"5")]), b"hello"]
    assert (phase, reusable, reader._parser) == (Phase.WHOLE, True, None)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 103 Early\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: x-hop\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\nc: d\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        HEAD[:-4] + b"\r\nh: v" * 300 + b"\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_declined(head):
    assert plain_head(head) is None


def test_the_tables_are_bounded_whatever_upstreams_send():
    for number in range(plain_answer.MAX_REMEMBERED_LINES + 10):
        head = b"HTTP/1.1 200 R%d\r\nx-%d: 1\r\ncontent-length: 5\r\n\r\n" % (number, number)
        plain_head(head)
        plain_head(head)
        assert len(plain_answer._heads) <= plain_answer.MAX_REMEMBERED_HEADS
        assert len(plain_answer._lines) <= plain_answer.MAX_REMEMBERED_LINES
        assert len(plain_answer._statuses) <= plain_answer.MAX_REMEMBERED_LINES
    assert plain_answer._heads


def test_long_lines_and_heads_are_read_and_not_remembered():
    long = HEAD.replace(b"Server: a", b"Server: " + b"a" * 3000)
    assert plain_head(long).length == 5
    assert plain_head(long).status == 200
    assert all(len(line) <= plain_answer.MAX_REMEMBERED_LINE_BYTES for line in plain_answer._lines)
    assert plain_answer._heads == {}


def test_bytes_after_a_plain_answer_keep_its_connection_from_reuse():
    reader = AnswerReader()
    read(reader, [HEAD + b"hello"])
    _, phase, reusable, *_ = read(reader, [HEAD + b"hello" + b"HTTP/1.1 200 OK\r\n"])
    assert (phase, reusable) == (Phase.WHOLE, False)


def test_a_connection_goes_on_with_the_parser_after_plain_answers():
    reader = AnswerReader()
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for data in (HEAD + b"hello", HEAD + b"hello", chunked, HEAD + b"hello"):
        told, phase, reusable, *_ = read(reader, [data])
        assert (told[1], phase, reusable) == (b"hello", Phase.WHOLE, True)


def test_a_sink_that_fails_is_our_mistake_and_ends_the_exchange(monkeypatch):
    logged = []
    monkeypatch.setattr("gateway.proxy.answer._log.error", lambda event, **_: logged.append(event), raising=False)

    class Failing(Heard):
        def head(self, status, headers):
            raise RuntimeError("sink")

    reader = AnswerReader()
    reader.expect(Failing(), head_only=False)
    assert reader.feed(HEAD + b"hello") is Phase.BROKEN
    assert reader.problem == ""
    assert logged == ["proxy.callback_failed"]


@pytest.mark.parametrize("plainly", [True, False])
def test_an_answer_to_head_leaves_nothing_behind_for_the_next_one(plainly):
    reader = AnswerReader(plainly=plainly)
    head = b"HTTP/1.1 304 Not Modified\r\nproxy-connection: close\r\n\r\n"
    assert read(reader, [head[:20], head[20:]], head_only=True)[1:3] == (Phase.WHOLE, True)
    assert read(reader, [HEAD[:20], HEAD[20:] + b"hello"])[1] is Phase.WHOLE
