"""What goes upstream, and what comes back."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forwarding import Headers, Outbound
from gateway.domain.identity import Principal
from gateway.domain.routing import Route
from gateway.domain.upstreams import Upstream
from gateway.proxy import headers as headers_module
from gateway.proxy.headers import BadAnswerError, UnforwardableError, answer_head, request_head

UPSTREAM = Upstream("u", ())


def lines(headers: Headers, **changes) -> list[bytes]:
    """The lines of the head after the request line and Host."""
    fields = {
        "method": b"GET",
        "path": b"/",
        "query": b"",
        "content_length": 0,
        "route": Route(name="r", path="/*", upstream="u"),
        "upstream": UPSTREAM,
        "host": b"api.example",
        "client": b"192.0.2.7",
    }
    head = request_head(Outbound(headers=headers, **{**fields, **changes}))
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")[2:]


def request_line(path: bytes, **route: str) -> bytes:
    """The path the upstream gets by a route."""
    given = Route(**{"name": "r", "path": "/*", "upstream": "u", **route})
    head = request_head(
        Outbound(method=b"GET", path=path, query=b"", headers=[], content_length=0, route=given, upstream=UPSTREAM)
    )
    return head.split(b" ")[1]


FORWARDED = [b"x-forwarded-for: 192.0.2.7", b"x-forwarded-proto: http", b"x-forwarded-host: api.example"]


def names(headers: Headers, **changes) -> list[bytes]:
    return [line.split(b":")[0] for line in lines(headers, **changes)]


@pytest.mark.parametrize(
    "name",
    [
        b"host", b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"expect", b"content-length", b"http2-settings", b"proxy",
        b"x-sentinel-subject", b"X-Sentinel-Tenant", b"x_sentinel_subject", b"x.sentinel.scopes",
        b"x-sentinel_anything", b"x_forwarded_for", b"x-forwarded.for", b"x-request-id", b"x_request_id",
        b"content_length", b"transfer_encoding", b"forwarded", b"x-real-ip", b"x-forwarded-port",
        b"X-Forwarded-For", b"traceparent", b"tracestate",
    ],
)  # fmt: skip
def test_a_field_that_is_not_the_clients_to_send_goes_no_further(name):
    assert lines([(name, b"203.0.113.66")]) == FORWARDED


def test_ordinary_fields_pass_unchanged_and_in_order():
    sent = [
        (b"cookie", b"a=1"),
        (b"x-b", b" odd  spaces"),
        (b"cookie", b"b=2"),
        (b"authorization", b"Bearer x"),
        (b"x-e", b""),
    ]
    assert lines(sent)[:5] == [b"%b: %b" % field for field in sent]


@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[a-z][a-z0-9]{0,8}-q", fullmatch=True),
            st.binary(max_size=30).filter(lambda value: not {0, 10, 13} & set(value)),
        ),
        max_size=20,
    )
)
def test_end_to_end_fields_survive_the_round_trip(fields):
    assert lines(fields) == [b"%b: %b" % field for field in fields] + FORWARDED


def test_nominated_fields_go_before_ours_are_added_so_ours_cannot_be_removed():
    nominated = b"close, X-Secret, x-forwarded-for, x-sentinel-subject, X-Request-Id , traceparent"
    sent = [(b"x-secret", b"1"), (b"connection", nominated), (b"x-kept", b"1")]
    got = lines(
        sent, request_id=b"r-1", traceparent=b"00-a-b-01", principal=Principal(kind="jwt", subject="ana", tenant="acme")
    )
    assert got == [
        b"x-kept: 1",
        *FORWARDED,
        b"x-request-id: r-1",
        b"traceparent: 00-a-b-01",
        b"x-sentinel-subject: ana",
        b"x-sentinel-tenant: acme",
    ]


def test_the_forwarded_chain_is_begun_for_strangers_and_continued_for_trusted_peers():
    sent = [
        (b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"),
        (b"x-forwarded-for", b"3.3.3.3"),
        (b"x-forwarded-proto", b"https"),
    ]
    assert lines(sent) == FORWARDED
    assert lines(sent, trusted_peer=True) == [
        b"x-forwarded-proto: https",
        b"x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7",
        b"x-forwarded-host: api.example",
    ]


def test_without_a_known_client_no_chain_is_begun():
    assert names([(b"x-forwarded-for", b"1.1.1.1")], client=b"") == [b"x-forwarded-proto", b"x-forwarded-host"]


@pytest.mark.parametrize(
    ("trace", "kept"), [(b"0af7651916cd43dd8448eb211c80319c", True), (b"11111111111111111111111111111111", False)]
)
def test_tracestate_goes_on_only_while_the_trace_is_the_callers(trace, kept):
    sent = [
        (b"tracestate", b"vendor=1"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    got = lines(sent, traceparent=b"00-%b-1111111111111111-01" % trace)
    assert (b"tracestate: vendor=1" in got) is kept
    assert got.count(b"traceparent: 00-%b-1111111111111111-01" % trace) == 1
    assert len([line for line in got if line.startswith(b"traceparent")]) == 1


@given(
    st.text(max_size=20),
    st.text(max_size=20),
    st.frozensets(st.text(min_size=1, max_size=5), max_size=3),
)
def test_identity_never_breaks_a_line_and_decodes_to_what_it_was(subject, tenant, scopes):
    try:
        f"{subject}{tenant}{scopes}".encode()
    except UnicodeEncodeError:
        return
    got = dict(
        line.split(b": ", 1)
        for line in lines([], principal=Principal("jwt", subject, tenant, scopes))
        if b"sentinel" in line
    )
    assert unquote(got.get(b"x-sentinel-subject", b"").decode("ascii")) == subject
    assert unquote(got.get(b"x-sentinel-tenant", b"").decode("ascii")) == tenant
    assert {unquote(scope) for scope in got.get(b"x-sentinel-scopes", b"").decode("ascii").split()} == set(scopes)


def test_an_anonymous_caller_has_no_identity_fields():
    assert not [name for name in names([]) if name.startswith(b"x-sentinel")]


@pytest.mark.parametrize("value", [b"a\r\nx-sentinel-subject: root", b"a\nb", b"a\rb", b"a\0b"])
@pytest.mark.parametrize("place", ["header", "host", "client", "request_id", "traceparent"])
def test_a_value_that_could_end_its_line_is_refused(value, place):
    sent = [(b"a", value)] if place == "header" else []
    changes = {} if place == "header" else {place: value}
    with pytest.raises(UnforwardableError):
        lines(sent, **changes)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"a\r\n", b"\xc3\xa9", b"a\0"])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(UnforwardableError):
        lines([(name, b"v")])


@pytest.mark.parametrize(
    "change",
    [
        {"path": b"http://other/"},
        {"path": b"a"},
        {"path": b""},
        {"path": b"*"},
        {"method": b"CONNECT"},
        {"path": b"/a b"},
        {"path": b"/a\r\n"},
        {"query": b"a b"},
        {"query": b"\x7f"},
        {"method": b"GE T"},
    ],
)
def test_a_request_line_that_could_be_read_in_two_ways_is_refused(change):
    with pytest.raises(UnforwardableError):
        lines([], **change)


@pytest.mark.parametrize(
    ("method", "length", "expected"),
    [
        (b"GET", 0, []),
        (b"POST", 0, [b"content-length: 0"]),
        (b"PUT", 5, [b"content-length: 5"]),
        (b"GET", 5, [b"content-length: 5"]),
        (b"PATCH", -1, [b"transfer-encoding: chunked"]),
    ],
)
def test_the_framing_is_ours(method, length, expected):
    sent = [(b"content-length", b"99"), (b"transfer-encoding", b"gzip")]
    assert lines(sent, method=method, content_length=length)[3:] == expected


def test_the_request_line_holds_the_exact_bytes_of_path_and_query():
    route = Route(name="r", path="/api/*", upstream="u", strip_prefix="/api")
    head = request_head(
        Outbound(
            method=b"GET", path=b"/api/a%2Fb//c;d", query=b"q=%20+&/api", headers=[], content_length=0, route=route,
            upstream=UPSTREAM, host=b"h",
        )
    )  # fmt: skip
    assert head.startswith(b"GET /a%2Fb//c;d?q=%20+&/api HTTP/1.1\r\nhost: h\r\n")


def test_options_may_ask_about_the_whole_server():
    assert lines([], method=b"OPTIONS", path=b"*")[:1] == FORWARDED[:1]


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        (b"/api/a", "/api", b"/a"),
        (b"/api/a", "/api/", b"/a"),
        (b"/api", "/api", b"/"),
        (b"/api/", "/api", b"/"),
        (b"/apis", "/api", b"/apis"),
        (b"/other", "/api", b"/other"),
        (b"/a", "", b"/a"),
        (b"/a", "/", b"/a"),
    ],
)
def test_a_prefix_is_stripped_at_a_segment_border_only(path, prefix, expected):
    assert request_line(path, strip_prefix=prefix) == expected


def test_an_answers_hop_by_hop_fields_are_removed_and_its_framing_read():
    head = answer_head(
        [
            (b"Server", b"x"), (b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"5"),
            (b"Proxy-Authenticate", b"Basic"), (b"Trailer", b"t"), (b"Content-Length", b"12"),
        ],
        200,
    )  # fmt: skip
    assert head == ([(b"server", b"x"), (b"content-length", b"12")], 12, False, True)


def test_an_upstream_cannot_have_its_content_length_removed():
    assert answer_head([(b"content-length", b"3"), (b"connection", b"content-length")], 200).headers == [
        (b"content-length", b"3")
    ]


@pytest.mark.parametrize("codings", [[b"gzip"], [b"gzip, chunked"], [b"chunked", b"chunked"], [b"identity"], [b""]])
def test_a_transfer_coding_other_than_one_chunked_is_refused(codings):
    with pytest.raises(BadAnswerError):
        answer_head([(b"Transfer-Encoding", coding) for coding in codings], 200)


def test_the_tables_of_names_stay_bounded():
    for number in range(3000):
        lines([(b"x-%d" % number, b"v")], principal=Principal("jwt", f"s{number}"))
        answer_head([(b"X-%d" % number, b"v")], 200)
    lines([(b"x" * 10_000, b"v")])
    for table in (headers_module._request_names, headers_module._answer_names, headers_module._identities):
        assert len(table) <= headers_module.MAX_REMEMBERED
    assert b"x" * 10_000 not in headers_module._request_names
