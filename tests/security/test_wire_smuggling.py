"""Framing that two programs may read differently: refused, or one unambiguous message at the origin."""

from __future__ import annotations

import time

import pytest

from gateway.edge import server_protocol
from tests.integration.edge.edge_world import Wire
from tests.security.wire_world import HOST, OK

POST = b"POST /first HTTP/1.1\r\n" + HOST
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"x-hidden: 1\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 6\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 6\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 0\r\n",
        b"content-length: 5\r\nTransfer-Encoding:\tchunked\r\n",
        b"Content-Length: 5\r\nx-a: b\r\nTRANSFER-ENCODING: CHUNKED\r\n",
    ],
)
def test_a_length_and_a_coding_together_are_refused_in_any_order(front, framing):
    assert front.refuses(POST + framing + b"\r\n0\r\n\r\n" + HIDDEN)


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 0\r\ncontent-length: 44\r\n",
        b"content-length: 44\r\ncontent-length: 0\r\n",
        b"content-length: 5\r\ncontent-length: 5\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: 5,44\r\n",
        b"content-length: 5\r\ncontent-length:\r\n",
    ],
)
def test_a_length_that_stands_twice_is_refused_also_where_both_are_the_same(front, lengths):
    assert front.refuses(POST + lengths + b"\r\nhello" + HIDDEN)


@pytest.mark.parametrize(
    "length",
    [
        *(
            b"+5",
            b"-5",
            b"-0",
            b"0x5",
            b"5 5",
            b"5\t5",
            b"5;",
            b"5.0",
            b"5e0",
            b"0b1",
            b"",
            b'"5"',
            b"\xb5",
            b"5_0",
            b"a",
        ),
        *(b"18446744073709551621", b"99999999999999999999999999999999", b"4294967301" * 8),
    ],
)
def test_a_length_that_is_not_plain_digits_is_refused(front, length):
    assert front.refuses(POST + b"content-length: " + length + b"\r\n\r\nhello" + HIDDEN)


@pytest.mark.parametrize("length", [b"005", b"0000000000000005"])
def test_zeros_before_a_length_do_not_reach_the_origin_as_another_number(front, length):
    said = front.told(POST + b"content-length: " + length + b"\r\n\r\nhello")
    if said.startswith(b"HTTP/1.1 200 "):
        assert front.only().body == b"hello"
        assert front.only().value(b"content-length") == b"5"
    else:
        assert said.startswith(b"HTTP/1.1 400 ")
        assert front.messages == []


@pytest.mark.parametrize(
    "coding",
    [
        *(b"chunked, chunked", b"chunked\r\ntransfer-encoding: chunked", b"xchunked", b"chunkedx", b"x-chunked"),
        *(b"gzip, chunked", b"chunked, gzip", b"gzip", b"identity", b"identity, chunked", b"chunked, identity"),
        *(
            b"chunked;q=1",
            b'"chunked"',
            b"chun ked",
            b"",
            b",chunked",
            b"chunked,",
            b"gzip\r\ntransfer-encoding: chunked",
        ),
        *(
            b"chunked\r\ntransfer-encoding: identity",
            b"cow",
            b"\x0bchunked",
            b"chunked\x0b",
            b"chunked\xa0",
            b"\xa0chunked",
        ),
    ],
)
def test_a_coding_other_than_one_chunked_is_refused(front, coding):
    assert front.refuses(POST + b"transfer-encoding: " + coding + b"\r\n\r\n0\r\n\r\n" + HIDDEN)


@pytest.mark.parametrize(
    "field",
    [
        b"transfer-encoding: chunked\r\n",
        b"Transfer-Encoding: Chunked\r\n",
        b"TRANSFER-ENCODING: CHUNKED\r\n",
        b"transfer-encoding:chunked\r\n",
        b"transfer-encoding:\tchunked\r\n",
        b"transfer-encoding:    chunked\r\n",
    ],
)
def test_one_chunked_in_any_case_and_behind_any_blanks_reaches_the_origin_as_one_chunked(front, field):
    said = front.told(POST + field + b"\r\n" + chunk(b"hello") + b"0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert front.only().value(b"transfer-encoding") == b"chunked"
    assert front.only().body == b"hello"


@pytest.mark.parametrize(
    "fields",
    [
        *(b"transfer-encoding : chunked\r\n", b"transfer-encoding\t: chunked\r\n", b"content-length : 5\r\n"),
        *(b" transfer-encoding: chunked\r\n", b"\ttransfer-encoding: chunked\r\n", b" x: a\r\n"),
        *(b"transfer-encoding:\r\n chunked\r\n", b"x: a\r\n transfer-encoding: chunked\r\n", b"x: a\r\n\tb\r\n"),
        *(b": a\r\n", b" : a\r\n", b"transfer-encoding\r\n", b"x\r\n", b"transfer\x00-encoding: chunked\r\n"),
        *(b"x(y): a\r\n", b"x y: a\r\n", b"x\x7f: a\r\n", b"\xe9: a\r\n", b"x{}: a\r\n", b'"x": a\r\n', b"x,y: a\r\n"),
    ],
)
def test_a_field_whose_name_is_not_a_token_and_a_colon_is_refused(front, fields):
    assert front.refuses(POST + fields + b"content-length: 0\r\n\r\n" + HIDDEN)


@pytest.mark.parametrize(
    "value",
    [b"a\rb", b"a\nb", b"a\r", b"\r a", b"a\x00", b"a\x00b", b"a\x01b", b"a\x0bb", b"a\x1bb", b"a\x7fb"],
)
def test_a_field_whose_value_holds_control_bytes_is_refused(front, value):
    said = front.told(b"GET /first HTTP/1.1\r\n" + HOST + b"x-a: " + value + b"\r\n\r\n")
    if said.startswith(b"HTTP/1.1 200 "):
        message = front.only()
        assert (message.target, message.value(b"x-a")) == (b"/first", value.strip(b" \t"))
        assert not {0, 10, 13} & set(value)
    else:
        assert said.startswith(b"HTTP/1.1 400 ")
        assert front.messages == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /first HTTP/1.1\nhost: a\n\n",
        b"GET /first HTTP/1.1\nhost: a\r\n\r\n",
        b"GET /first HTTP/1.1\r\nhost: a\n\r\n",
        b"GET /first HTTP/1.1\r\nhost: a\nx: b\r\n\r\n",
        b"GET /first HTTP/1.1\r\nhost: a\r\n\n",
        b"GET /first HTTP/1.1\r\nhost: a\r\n\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /first HTTP/1.1\rhost: a\r\r",
        b"GET /first HTTP/1.1\r\nhost: a\rx: b\r\n\r\n",
        b"GET /first HTTP/1.1\r\nhost: a\r\rx: b\r\n\r\n",
        b"GET /first HTTP/1.1\r\nhost: a\r\n\rGET /hidden HTTP/1.1\r\n\r\n",
    ],
)
def test_half_a_line_end_ends_no_line(front, request_bytes):
    assert front.refuses(request_bytes + HIDDEN)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"5 \r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
        ),
        *(b"-5\r\nhello\r\n0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n"),
        *(b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhellox\r\n0\r\n\r\n"),
        *(
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            b"ffffffffffffffffffffff\r\nhello",
            b"5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
        *(
            b"5\r\nhello\r\n0\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n0\r\nx\r\n\r\n",
            b"5\r\nhello\r\n0\r\n: x\r\n\r\n",
        ),
        *(
            b"5,5\r\nhello\r\n0\r\n\r\n",
            b"5\x00\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\r\n0\r\n\r\n",
            b"5\r\nhello\r\n-0\r\n\r\n",
        ),
    ],
)
def test_chunks_that_are_not_framed_by_the_letter_never_become_a_whole_message(front, body):
    said = front.told(POST + CHUNKED + b"\r\n" + body + HIDDEN)
    assert said.count(b"HTTP/1.1 2") == 0
    assert said.startswith(b"HTTP/1.1 400 ") or said == b""
    front.ask(b"GET /settled HTTP/1.1\r\n" + HOST)
    assert front.only().target == b"/settled"


@pytest.mark.parametrize(
    "extension",
    [b";a", b";a=b", b';a="b"', b";a=1;b=2", b";a=\x00", b";a=\n", b";a=\rb", b';a="\r\n"', b"; a", b";", b";a=\x80"],
)
def test_a_chunk_extension_reaches_no_origin(front, extension):
    body = b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n"
    said = front.told(POST + CHUNKED + b"\r\n" + body)
    if said.startswith(b"HTTP/1.1 200 "):
        assert front.only().body == b"hello"
        assert extension not in front.only().raw
        assert not {0, 10, 13} & set(extension)
    else:
        assert said[:12] in {b"HTTP/1.1 400", b""}
        assert front.messages == []


def test_a_line_end_inside_a_chunk_extension_hides_no_request(front):
    body = b"5;a=\nx\r\nhello\r\n0\r\n\r\n" + HIDDEN  # the "TERM.EXT" way: some read the extension to LF, some to CRLF
    said = front.told(POST + CHUNKED + b"\r\n" + body)
    assert said.count(b"HTTP/1.1 2") == 0
    front.ask(b"GET /settled HTTP/1.1\r\n" + HOST)
    assert front.only().target == b"/settled"


@pytest.mark.parametrize(
    "trailer",
    [
        *(b"x-sentinel-subject: root", b"X-Sentinel-Tenant: acme", b"authorization: Bearer x", b"host: evil.example"),
        *(b"content-length: 5", b"transfer-encoding: chunked", b"x-forwarded-for: 10.0.0.1", b"connection: close"),
        *(b"x-request-id: forged", b"cookie: a=b", b"x-ordinary: 1"),
    ],
)
def test_a_trailer_becomes_no_field_whether_it_looks_like_identity_or_framing(front, trailer):
    name = trailer.partition(b":")[0].lower()
    said = front.told(POST + CHUNKED + b"\r\n" + chunk(b"hello") + b"0\r\n" + trailer + b"\r\n\r\n")
    if said.startswith(b"HTTP/1.1 200 "):
        message = front.only()
        assert message.body == b"hello"
        assert trailer.partition(b": ")[2] not in message.values(name) or name == b"transfer-encoding"
        assert message.raw.endswith(b"\r\n0\r\n\r\n")
    else:
        assert said[:12] in {b"HTTP/1.1 400", b""}
        assert front.messages == []


def test_a_chunked_body_of_nothing_is_one_message_of_nothing(front):
    wire = Wire(front.port)
    wire.send(POST + CHUNKED + b"\r\n0\r\n\r\n" + b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [wire.answer()[0] for _ in range(2)] == [200, 200]
    wire.close()
    assert [(message.target, message.body) for message in front.messages] == [(b"/first", b""), (b"/second", b"")]


@pytest.mark.parametrize("framed", [True, False])
def test_a_request_that_hides_in_a_body_stays_a_body(front, framed):
    body = (CHUNKED + b"\r\n" + chunk(HIDDEN) + b"0\r\n\r\n") if framed else b"content-length: %d\r\n\r\n" % len(HIDDEN)
    wire = Wire(front.port)
    wire.send(POST + body + (b"" if framed else HIDDEN) + b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [wire.answer()[0] for _ in range(2)] == [200, 200]
    wire.close()
    assert [(message.target, message.body) for message in front.messages] == [(b"/first", HIDDEN), (b"/second", b"")]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_a_body_of_a_method_that_usually_has_none_is_framed_all_the_same(front, method):
    said = front.told(method + b" /first HTTP/1.1\r\n" + HOST + b"content-length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert (front.only().method, front.only().body) == (method, HIDDEN)


def test_a_body_that_is_shorter_than_announced_takes_nothing_of_the_next_connection(front):
    wire = Wire(front.port)
    wire.send(POST + b"content-length: 100\r\n\r\nhello")
    wire.close()
    front.ask(b"GET /second HTTP/1.1\r\n" + HOST)
    assert front.only().target == b"/second"


def test_requests_sent_together_reach_the_origin_one_by_one(front):
    requests = [
        POST + b"content-length: 3\r\n\r\nabc",
        b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PUT /third HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + chunk(b"de") + chunk(b"f") + b"0\r\n\r\n",
        b"DELETE /fourth HTTP/1.1\r\n" + HOST + b"\r\n",
    ]
    wire = Wire(front.port)
    wire.send(b"".join(requests))
    assert [wire.answer()[0] for _ in requests] == [200] * 4
    wire.close()
    got = [(message.method, message.target, message.body) for message in front.messages]
    assert got == [
        *((b"POST", b"/first", b"abc"), (b"GET", b"/second", b"")),
        *((b"PUT", b"/third", b"def"), (b"DELETE", b"/fourth", b"")),
    ]


def test_nothing_is_read_behind_a_request_that_closes_the_connection(front):
    wire = Wire(front.port)
    wire.send(b"GET /first HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n" + HIDDEN)
    said = wire.until_closed()
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 200 ")
    front.ask(b"GET /settled HTTP/1.1\r\n" + HOST)
    assert [message.target for message in front.messages] == [b"/first", b"/settled"]


@pytest.mark.parametrize("expect", [b"100-continue", b"100-Continue"])
def test_an_expectation_is_answered_here_and_goes_no_further(front, expect):
    said = front.told(POST + b"content-length: 5\r\nexpect: " + expect + b"\r\n\r\n", b"hello", pause_s=0.05)
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert front.only().body == b"hello"
    assert front.only().value(b"expect") is None


@pytest.mark.parametrize("expect", [b"200-ok", b"100-continue, x", b"", b"x=y", b"100-continue\r\nexpect: x"])
def test_an_expectation_nobody_knows_leaves_one_message_or_none(front, expect):
    said = front.told(POST + b"content-length: 5\r\nexpect: " + expect + b"\r\n\r\nhello")
    assert said.count(b"HTTP/1.1 2") + said.count(b"HTTP/1.1 4") == 1
    assert [message.body for message in front.messages] == ([b"hello"] if b"HTTP/1.1 2" in said else [])


@pytest.mark.parametrize(
    "upgrade",
    [
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"connection: upgrade\r\nupgrade: TLS/1.0, HTTP/2.0\r\n",
        b"upgrade: h2c\r\n",
    ],
)
def test_an_upgrade_to_http_2_opens_no_way_past_the_gateway(front, upgrade):
    wire = Wire(front.port)
    wire.send(b"GET /first HTTP/1.1\r\n" + HOST + upgrade + b"\r\n")
    assert wire.answer()[0] == 200
    wire.send(b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n")
    assert wire.answer()[0] == 200  # it is HTTP/1.1 still, and each request is judged
    wire.close()
    assert [message.target for message in front.messages] == [b"/first", b"/second"]
    assert front.messages[0].value(b"upgrade") is None
    assert front.messages[0].value(b"http2-settings") is None


@pytest.mark.parametrize("framing", [b"content-length: 44\r\n\r\n", CHUNKED + b"\r\n0\r\n\r\n"])
def test_an_upgrade_with_a_body_is_refused_because_parsers_disagree_about_it(front, framing):
    request = b"POST /first HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: h2c\r\n" + framing
    said = front.told(request + HIDDEN)
    assert said.startswith((b"HTTP/1.1 501 ", b"HTTP/1.1 400 "))
    assert said.count(b"HTTP/1.1 ") == 1
    assert front.messages == []


@pytest.mark.parametrize("garbage", [b"\x00no\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n", POST + CHUNKED + b"\r\nzz\r\n"])
def test_a_good_request_is_answered_before_what_stands_behind_it_is_refused(front, garbage):
    wire = Wire(front.port)
    wire.send(POST + CHUNKED + b"\r\n" + chunk(b"hello") + b"0\r\n\r\n" + garbage)
    assert wire.answer()[0] == 200
    assert wire.answer()[0] == 400
    assert wire.until_closed() == b""
    front.ask(b"GET /settled HTTP/1.1\r\n" + HOST)
    assert [message.body for message in front.messages] == [b"hello", b""]


def test_a_head_that_stops_coming_ends_no_answer_that_was_under_way(front, monkeypatch):
    def slow(_message):
        time.sleep(0.5)
        return OK

    monkeypatch.setattr(server_protocol, "HEAD_TIMEOUT_S", 0.1)
    front.origin.answer = slow
    wire = Wire(front.port)
    wire.send(b"GET /first HTTP/1.1\r\n" + HOST + b"\r\nGET /second HTTP/1.1\r\nhos")
    assert wire.answer()[0] == 200
    assert wire.answer()[0] == 408
    assert wire.until_closed() == b""
