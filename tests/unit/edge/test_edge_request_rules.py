"""What is refused before any route is known, and what is read from a good head."""

from __future__ import annotations

import pytest

from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import ErrorKind
from gateway.edge import request_rules
from gateway.edge.request_rules import judge
from tests.unit.edge.edge_values import exchange, snapshot, steps

POLICY = EdgePolicy(max_header_bytes=2000, max_body_bytes=100)


def status_of(**changes) -> int:
    refusal = judge(exchange(**changes), POLICY)
    return refusal.status if refusal is not None else 200


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/orders",
        b"/a.b/..c/c..",
        b"/a%20b",
        b"/a;v=1/b",
        b"/caf%C3%A9",
        b"/100%25",
        b"/a:b@c",
        b"/.well-known/x",
        b"/%E0%A4%85/%F0%9F%8E%89",
        b"/latin-1/%C0/%C1x",
    ],
)
def test_an_ordinary_path_is_accepted_untouched(path):
    made = exchange(path=path)
    assert judge(made, POLICY) is None
    assert made.path == path


@pytest.mark.parametrize(
    "path",
    [
        b"/a/../b", b"/..", b"/a/..", b"/./a", b"/a/.", b"/a/%2e%2e/b", b"/a/%2E./b", b"/a%2fb", b"/a%2Fb", b"/a%5cb",
        b"/a\\b", b"//a", b"/a//b", b"/a#b", b"/a b", b"/a\x00b", b"/a\x7fb", b"/caf\xc3\xa9", b"/a%00b", b"/a%0d%0ab",
        b"/%61dmin", b"/my%2Dadmin", b"/a%zz", b"/a%2", b"/a/..;/b", b"/..;x=1/b", b"a", b"*", b"",
        b"/a%c0%afb", b"/%C0%AE%C0%AE/b", b"/%c1%9c", b"/%e0%80%af", b"/%E0%9F%BF", b"/%f0%80%80%af",
    ],
)  # fmt: skip
def test_a_path_that_two_programs_may_read_differently_is_refused(path):
    assert status_of(path=path) == 400


@pytest.mark.parametrize("form", [b"http://evil.example/orders/1", b"*", b"shop.example:443", b"/orders/1#x"])
def test_a_target_that_is_not_a_plain_path_is_refused(form):
    assert status_of(target_form=form) == 400


@pytest.mark.parametrize(("version", "status"), [("0.9", 400), ("2.0", 400), ("1.0", 200), ("1.1", 200), ("2", 200)])
def test_what_only_looks_like_http_1_is_refused(version, status):
    assert status_of(version=version) == status


@pytest.mark.parametrize("method", [b"CONNECT", b"GE T", b"", b"GET\r\n", b"A" * 33])
def test_a_method_that_is_no_token_or_asks_for_a_tunnel_is_refused(method):
    assert status_of(method=method) == 400


@pytest.mark.parametrize("value", [b"", b"a b", b"a,b", b"a@b", b"a/b", b"a:x", b"[::1", b"a" * 300])
def test_a_host_that_is_no_host_is_refused(value):
    assert status_of(headers=[(b"host", value)]) == 400


def test_a_request_needs_exactly_one_host():
    assert status_of(headers=[]) == 400
    assert status_of(extra=[(b"host", b"shop.example")]) == 400


@pytest.mark.parametrize(
    ("value", "host"),
    [(b"Shop.Example", "shop.example"), (b"a:8000", "a"), (b"[::1]:8000", "[::1]"), (b"[::1]", "[::1]"), (b"a.", "a")],
)
def test_the_host_is_read_without_case_port_and_final_dot(value, host):
    made = exchange(headers=[(b"host", value)])
    assert judge(made, POLICY) is None
    assert made.host == host


@pytest.mark.parametrize(
    "extra",
    [
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"xchunked")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"x-api-key", b"a"), (b"x-api-key", b"b")],
    ],
)
def test_ambiguous_framing_and_doubled_credentials_are_refused_and_the_connection_closed(extra):
    refusal = judge(exchange(method=b"POST", extra=extra), POLICY)
    assert refusal is not None
    assert (refusal.status, refusal.close) == (400, True)


def test_a_chunked_body_in_http_1_0_is_refused():
    assert status_of(version="1.0", extra=[(b"transfer-encoding", b"chunked")]) == 400


def test_the_announced_body_length_is_read():
    assert (made := exchange(extra=[(b"content-length", b"100")])) and judge(made, POLICY) is None
    assert made.content_length == 100
    made = exchange(extra=[(b"transfer-encoding", b"Chunked")])
    assert judge(made, POLICY) is None
    assert made.content_length == -1


def test_an_announced_body_over_the_limit_is_413():
    wired = steps(snapshot(policy=POLICY))
    refusal = judge(exchange(wired, extra=[(b"content-length", b"101")]), POLICY)
    assert refusal is not None
    assert (refusal.status, refusal.kind) == (413, ErrorKind.BODY_TOO_LARGE)


def test_headers_over_the_limit_in_bytes_or_number_are_431():
    assert status_of(extra=[(b"x", b"y" * 2000)]) == 431
    assert status_of(path=b"/" + b"a" * 2000) == 431
    assert status_of(extra=[(b"x", b"")] * 300) == 431


def test_forwarded_for_fields_are_joined_in_order():
    made = exchange(extra=[(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2")])
    assert judge(made, POLICY) is None
    assert made.facts[b"x-forwarded-for"] == b"1.1.1.1, 2.2.2.2"


def test_hosts_that_clients_make_up_do_not_pile_up():
    for number in range(request_rules.MAX_REMEMBERED_HOSTS + 10):
        assert status_of(headers=[(b"host", b"h%d.example" % number)]) == 200
    assert len(request_rules._hosts) <= request_rules.MAX_REMEMBERED_HOSTS


def test_a_remembered_host_is_the_same_the_second_time():
    for _ in range(2):
        made = exchange(headers=[(b"host", b"Shop.Example.:8000")])
        assert judge(made, POLICY) is None
        assert made.host == "shop.example"
