"""The reader of plain heads says what llhttp says, or nothing."""

from __future__ import annotations

import operator

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.forwarding import VariedHeaders
from gateway.edge import plain_head, request_rules
from gateway.edge.server_protocol import PLAIN_TARGET


class Heard:
    """What llhttp makes of the same bytes."""

    def __init__(self, head: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.heads = self.messages = 0
        self.broken = False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.broken = True

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_message_complete(self) -> None:
        self.messages += 1


def read(head: bytes):
    """As the lane reads: the first line, then all the rest."""
    line, _, block = head.partition(b"\r\n")
    first = plain_head.request_line(line)
    fields = plain_head.fields(block, first is not None and first.with_body)
    return None if first is None or fields is None else (first, fields)


def assert_as_llhttp(head: bytes) -> bool:
    plain = read(head)
    if plain is None:
        return False
    first, fields = plain
    heard = Heard(head + b"x" * fields.content_length)
    assert not heard.broken
    assert (heard.heads, heard.messages) == (1, 1)
    assert heard.parser.get_method() == first.method
    assert heard.parser.get_http_version() == "1.1"
    assert heard.parser.should_keep_alive() and not heard.parser.should_upgrade()
    assert heard.target == first.target
    assert PLAIN_TARGET.fullmatch(first.target)
    assert first.target.partition(b"?")[::2] == (first.path, first.query)
    # In the order received, but for fields that say something new each time, which are read last.
    by_name = operator.itemgetter(0)
    assert sorted(heard.fields, key=by_name) == sorted(fields.headers, key=by_name)
    assert fields.gathered == request_rules.gather(heard.fields)
    return True


WORDS = [
    *(b"host", b"Host", b"x-a", b"connection", b"Connection", b"content-length", b"transfer-encoding", b"upgrade"),
    *(b"expect", b"proxy-connection", b"traceparent", b"keep-alive", b"close", b"chunked", b"0", b"5", b"a", b"\xff"),
    *(b":", b": ", b" :", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0", b"\x7f", b",", b"", b"shop.example"),
]
LINES = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=6).map(b"".join),
    st.tuples(st.sampled_from(WORDS), st.sampled_from([b":", b": ", b":  "]), st.binary(max_size=8)).map(b"".join),
    st.sampled_from([b"host: a", b"x-a: b c", b"x-b:", b"Connection: keep-alive", b"x-c: \xe2\x82\xac"]),
    st.sampled_from([b"content-length: 3", b"Content-Length: 0", b"traceparent: 00-a-b-01", b"X-Request-Id: a b"]),
)
FIRST = st.one_of(
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"get", b"POST", b"DELETE", b"OPTIONS", b"CONNECT", b"PRI", b""]),
        st.sampled_from([b" ", b"  ", b"\t", b""]),
        st.one_of(st.sampled_from([b"/", b"/a?b", b"*", b"http://a/", b"/a#b", b"/%2e", b"?"]), st.binary(max_size=6)),
        st.sampled_from([b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b" http/1.1", b"", b" HTTP/1.1 "]),
    ).map(b"".join),
    st.sampled_from([b"GET / HTTP/1.1", b"GET /a?b=c HTTP/1.1", b"GET /a?d HTTP/1.1", b"POST /a? HTTP/1.1"]),
)


@given(first=FIRST, lines=st.lists(LINES, max_size=5))
@example(first=b"GET / HTTP/1.1", lines=[b"host: a", b"x: a\r\n b"])
@example(first=b"GET / HTTP/1.1", lines=[b"host: a ", b"x:\ta"])
@example(first=b"POST / HTTP/1.1", lines=[b"host: a", b"content-length: 3", b"Content-Length: 3"])
@example(first=b"POST / HTTP/1.1", lines=[b"host: a", b"content-length: 3\r\n 4"])
@example(first=b"POST / HTTP/1.1", lines=[b"host: a", b"content-length: 3", b"transfer-encoding: chunked"])
@example(first=b"GET / HTTP/1.1", lines=[b"host: a", b"traceparent: a", b"traceparent: a"])
@example(first=b"GET / HTTP/1.1", lines=[b"host: a", b"", b"GET /2 HTTP/1.1", b"host: a"])
def test_whatever_is_read_as_plain_is_what_llhttp_reads(first, lines):
    assert_as_llhttp(b"\r\n".join([first, *lines, b"", b""]))


@given(head=st.binary(max_size=60))
def test_no_bytes_at_all_are_read_in_another_way(head):
    assert_as_llhttp(b"GET / HTTP/1.1\r\n" + head)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /orders/1?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: a b\tc\r\nX-Empty:\r\nAccept:*/*\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nAccept: */*\r\n\r\n",
        b"PUT /a?b HTTP/1.1\r\nHost: a\r\nTraceparent: 00-1-2-01\r\nX-Request-ID: 5\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_usual_heads_are_plain_the_first_time_and_the_next(head):
    assert assert_as_llhttp(head)
    assert assert_as_llhttp(head)


@pytest.mark.parametrize(
    "line",
    [
        *(b"connection: close", b"connection: upgrade", b"Connection: keep-alive, x", b"content-length: 0"),
        *(b"transfer-encoding: chunked", b"expect: 100-continue", b"upgrade: h2c", b"x : a", b"x: a ", b"x:  a"),
        *(b" folded", b"x: a\x00", b"x: a\nb", b"x: a\rb", b": a", b"x", b"x: " + b"y" * 2000),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(line):
    assert read(b"GET / HTTP/1.1\r\nhost: a\r\n" + line + b"\r\n\r\n") is None


def test_the_memory_is_bounded_and_keeps_what_is_used():
    kept = b"host: a\r\nx-kept: 1\r\n\r\n"
    plain_head.fields(kept)
    first = plain_head.fields(kept)
    for number in range(5 * plain_head.MAX_REMEMBERED):
        plain_head.fields(b"host: a\r\nx-n: %d\r\n\r\n" % number)
        plain_head.request_line(b"GET /%d?a HTTP/1.1" % number)
        if number % 500 == 0:
            assert plain_head.fields(kept) is first
    memories = plain_head._fields, plain_head._blocks, plain_head._request_lines, plain_head._before_queries
    for memory in memories:
        assert len(memory) <= plain_head.MAX_REMEMBERED
        assert len(memory._before) <= plain_head.MAX_REMEMBERED


def test_heads_that_can_hardly_come_again_push_nothing_out():
    plain_head.fields(b"host: once.example\r\n\r\n")
    plain_head.fields(b"host: once.example\r\n\r\n")
    before = len(plain_head._blocks), len(plain_head._fields)
    for number in range(10):
        head = b"host: once.example\r\ntraceparent: 00-%032x-%016x-01\r\n\r\n" % (number + 1, number + 1)
        assert plain_head.fields(head) is not None
    assert (len(plain_head._blocks), len(plain_head._fields)) == before


def test_a_head_of_which_only_the_trace_is_new_is_known_by_the_rest():
    block = b"host: rest.example\r\nx-a: 1\r\ntraceparent: 00-%032x-%016x-01\r\n\r\n"
    seen = [plain_head.fields(block % (number, number)) for number in (1, 2, 3)]
    assert type(seen[1].headers) is type(seen[2].headers) is VariedHeaders
    assert seen[1].headers.repeated is seen[2].headers.repeated
    assert seen[2].gathered.facts[b"traceparent"] == b"00-%032x-%016x-01" % (3, 3)


@pytest.mark.parametrize(
    "lines",
    [
        [b"content-length: 1", b"content-length: 1"],
        [b"content-length: 1", b"content-length:1"],
        [b"content-length: +1"],
        [b"content-length: 1, 1"],
        [b"content-length: 1234567890123456"],
        [b"content-length : 1"],
        [b"content-length: 1", b"transfer-encoding: chunked"],
        [b"content-length: 1", b"expect: 100-continue"],
    ],
)
def test_a_length_that_is_not_beyond_doubt_is_left_to_the_parser(lines):
    assert read(b"\r\n".join([b"POST / HTTP/1.1", b"host: a", *lines, b"", b""])) is None


@pytest.mark.parametrize("path", [b"/a/../b", b"//a", b"/%61"])
def test_a_target_the_rules_refuse_is_remembered_as_one_they_have_to_judge(path):
    line = plain_head.request_line(b"GET " + path + b" HTTP/1.1")
    assert line is not None and not line.judged
    assert not request_rules.has_plain_target(b"GET", path, b"")
