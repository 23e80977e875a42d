"""Request lines that two programs may read differently: refused, or the same line at the origin."""

from __future__ import annotations

import pytest

from tests.integration.edge.edge_world import Wire
from tests.security.wire_world import HOST

REST = HOST + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [
        *(b"GET\t/first HTTP/1.1", b"GET /first\tHTTP/1.1", b"GET \t/first HTTP/1.1", b"GET /first \tHTTP/1.1"),
        *(b"GET /first HTTP/1.1 ", b"GET /first HTTP/1.1\t", b" GET /first HTTP/1.1", b"GET /first  x HTTP/1.1"),
        *(b"GET /first /second HTTP/1.1", b"GET /first HTTP/1.1 HTTP/1.1", b"GET\x0b/first\x0bHTTP/1.1"),
        *(b"GET\x00/first HTTP/1.1", b"GET /fi\trst HTTP/1.1", b"GET /fi\x0crst HTTP/1.1", b"GET /fi\x00rst HTTP/1.1"),
    ],
)
def test_parts_of_a_request_line_are_parted_by_blanks_and_nothing_else(front, line):
    said = front.told(line + b"\r\n" + REST)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 4") == 1
    assert front.messages == []


@pytest.mark.parametrize("line", [b"GET  /first HTTP/1.1", b"GET /first   HTTP/1.1", b"GET /first RTSP/1.0"])
def test_what_the_parser_forgives_in_a_request_line_is_not_passed_on(front, line):
    said = front.told(line + b"\r\n" + REST)
    if said.startswith(b"HTTP/1.1 200 "):
        assert front.only().raw.startswith(b"GET /first HTTP/1.1\r\n")
    else:
        assert said.startswith(b"HTTP/1.1 400 ")
        assert front.messages == []


@pytest.mark.parametrize(
    "version",
    [
        *(
            b"http/1.1",
            b"HTTP/1.2",
            b"HTTP/2.0",
            b"HTTP/2",
            b"HTTP/3",
            b"HTTP/0.9",
            b"HTTP/1",
            b"HTTP/1.",
            b"HTTP/1.1.1",
        ),
        *(
            b"HTTP/01.1",
            b"HTTP/1.01",
            b"HTTP/9.9",
            b"HTTPS/1.1",
            b"Http/1.1",
            b"ICE/1.0",
            b"HTTP/1,1",
            b"",
        ),
    ],
)
def test_a_version_other_than_1_0_and_1_1_is_refused(front, version):
    assert front.refuses(b"GET /first " + version + b"\r\n" + REST)


@pytest.mark.parametrize("line", [b"GET /first\r\n\r\n", b"GET /first\r\n" + REST, b"GET\r\n\r\n", b"/first\r\n\r\n"])
def test_http_0_9_is_refused(front, line):
    assert front.refuses(line)


def test_http_1_0_is_forwarded_as_1_1_and_its_connection_closed(front):
    wire = Wire(front.port)
    wire.send(b"GET /first HTTP/1.0\r\n" + HOST + b"connection: keep-alive\r\n\r\nGET /second HTTP/1.1\r\n" + REST)
    said = wire.until_closed()
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1 ") == 1
    front.ask(b"GET /settled HTTP/1.1\r\n" + HOST)
    assert [message.target for message in front.messages] == [b"/first", b"/settled"]


@pytest.mark.parametrize("fields", [b"", b"connection: keep-alive\r\n"])
def test_http_1_0_knows_no_chunks(front, fields):
    head = b"POST /first HTTP/1.0\r\n" + HOST + fields + b"transfer-encoding: chunked\r\n\r\n"
    assert front.refuses(head + b"0\r\n\r\nGET /hidden HTTP/1.1\r\n" + REST)


@pytest.mark.parametrize(
    "preface",
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"],
)
def test_http_2_from_the_first_byte_is_refused(front, preface):
    assert front.refuses(preface)


@pytest.mark.parametrize(
    "target",
    [
        *(
            b"http://shop.example/first",
            b"http://evil.example/first",
            b"https://shop.example/first",
            b"HTTP://evil.example/",
        ),
        *(b"http://shop.example", b"http://evil.example@shop.example/", b"http:/first", b"ftp://shop.example/first"),
        *(b"http://", b"http:///first", b"http://[::1]/first", b"//evil.example/first", b"file:///etc/passwd"),
    ],
)
def test_an_absolute_target_is_refused_whether_its_host_is_the_same_or_not(front, target):
    assert front.refuses(b"GET " + target + b" HTTP/1.1\r\n" + REST)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"CONNECT", b"OPTIONS"])
@pytest.mark.parametrize("target", [b"shop.example:443", b"10.0.0.1:22", b"[::1]:80", b"shop.example"])
def test_a_target_that_is_an_authority_is_refused(front, method, target):
    assert front.refuses(method + b" " + target + b" HTTP/1.1\r\n" + REST)


@pytest.mark.parametrize("target", [b"/first", b"*", b"/"])
def test_no_tunnel_is_opened(front, target):
    assert front.refuses(b"CONNECT " + target + b" HTTP/1.1\r\n" + REST + b"GET /hidden HTTP/1.1\r\n" + REST)


@pytest.mark.parametrize(
    "target", [b"*", b"*/", b"/*?*#", b"*?a", b"?a=b", b"first", b"./first", b"../first", b"\\first"]
)
def test_a_target_that_does_not_begin_with_a_slash_is_refused(front, target):
    assert front.refuses(b"OPTIONS " + target + b" HTTP/1.1\r\n" + REST)


@pytest.mark.parametrize(
    "method", [b"get", b"Get", b"GET,POST", b"G\xcbT", b"GET\x00", b"(GET)", b"GE\tT", b"A" * 40, b"\xef\xbb\xbfGET"]
)
def test_a_method_that_is_none_is_refused(front, method):
    assert front.refuses(method + b" /first HTTP/1.1\r\n" + REST)


@pytest.mark.parametrize("method", [b"PATCH", b"PROPFIND", b"REPORT", b"TRACE", b"PURGE", b"QUERY", b"FOO"])
def test_an_unusual_method_is_refused_or_forwarded_as_it_is(front, method):
    said = front.told(method + b" /first HTTP/1.1\r\n" + REST)
    if said.startswith(b"HTTP/1.1 200 "):
        assert front.only().method == method
    else:
        assert said.startswith(b"HTTP/1.1 400 ")
        assert front.messages == []


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n", b"\n", b"\r"])
def test_empty_lines_before_a_request_belong_to_none(front, before):
    said = front.told(before + b"GET /first HTTP/1.1\r\n" + REST)
    if said.startswith(b"HTTP/1.1 200 "):
        assert front.only().target == b"/first"
    else:
        assert said.startswith(b"HTTP/1.1 400 ")
        assert front.messages == []


@pytest.mark.parametrize("cut", [1, 3, 4, 9, 15, 16, 17, 18, 25, 30, 40, 41, 42, 43])
def test_a_head_that_comes_in_two_reads_is_the_same_head(front, cut):
    request = b"GET /first?a=b HTTP/1.1\r\n" + REST
    said = front.told(request[:cut], request[cut:])
    assert said.startswith(b"HTTP/1.1 200 ")
    assert front.only().target == b"/first?a=b"


def test_bytes_after_the_first_of_a_half_read_head_make_no_second_request(front):
    request = b"GET /first HTTP/1.1\r\n" + HOST + b"x-a: b\r\n"
    said = front.told(request, b"\r\nGET /second HTTP/1.1\r\n" + HOST, b"\r\n")
    assert said.count(b"HTTP/1.1 200 ") == 2
    assert [message.target for message in front.messages] == [b"/first", b"/second"]
    assert front.messages[1].value(b"x-a") is None
