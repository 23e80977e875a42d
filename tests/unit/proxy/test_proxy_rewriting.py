"""What a route makes of path and header fields on their way upstream."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.forwarding import Outbound
from gateway.domain.identity import ANONYMOUS, Principal
from gateway.domain.path_template import AmbiguousPathError, PathPattern, Template
from gateway.domain.routing import HeaderRules, Route
from gateway.domain.upstreams import Upstream
from gateway.proxy import rewriting as rewriting_module
from gateway.proxy.headers import UnforwardableError, request_head
from gateway.proxy.rewriting import UNCHANGED, rewriting
from gateway.proxy.router import Router

# The paths the request rules let through, said in another way than they say it.
CLEAR = re.compile(r"(?:/(?!\.{1,2}(?:[/;]|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+|/%[cC]3%[aA]9)+/?|/")


def head(asked: bytes = b"/orders/7", headers=(), *, principal: Principal = ANONYMOUS, **changes) -> list[bytes]:
    given_route = Route(**{"name": "r", "path": "/orders/{id}", "upstream": "u", **changes})
    made = request_head(
        Outbound(
            method=b"GET", path=asked, query=b"", headers=list(headers), content_length=0, route=given_route,
            upstream=Upstream("u", ()), host=b"api.example", client=b"192.0.2.7", principal=principal,
            request_id=b"r1", traceparent=b"00-1-2-01",
        )
    )  # fmt: skip
    return made.removesuffix(b"\r\n\r\n").split(b"\r\n")


def target(asked: bytes, **changes) -> bytes:
    return head(asked, **changes)[0].split(b" ")[1]


@pytest.mark.parametrize(
    ("path", "route_path", "rewrite", "expected"),
    [
        (b"/orders/7", "/orders/{id}", "/v2/{id}/order", b"/v2/7/order"),
        (b"/orders/7", "/orders/{id}", "/fixed", b"/fixed"),
        (b"/orders/7%C3%A9;x=1", "/orders/{id}", "/v2/{id}", b"/v2/7%C3%A9;x=1"),
        (b"/orders/7", "/orders/{id}", "/v2/{id}.json", b"/v2/7.json"),
        (b"/a/1/b/2", "/a/{x}/b/{y}", "/{y}/{x}", b"/2/1"),
        (b"/old/a/b", "/old/*", "/new/{rest}", b"/new/a/b"),
        (b"/old/a/", "/old/*", "/new/{rest}", b"/new/a/"),
        (b"/old/", "/old/*", "/new/{rest}", b"/new/"),
        (b"/old", "/old/*", "/new/{rest}", b"/new"),
        (b"/old", "/old/*", "/{rest}", b"/"),
        (b"/old/", "/old/*", "/{rest}/x", b"/x"),
        (b"/old/a/", "/old/*", "/{rest}/x", b"/a/x"),
        (b"/old/a", "/old/*", "/caf\u00e9/{rest}", b"/caf%C3%A9/a"),
    ],
)
def test_a_rewrite_is_written_with_what_the_path_captured(path, route_path, rewrite, expected):
    assert target(path, path=route_path, rewrite=rewrite) == expected


@pytest.mark.parametrize(
    ("path", "route_path", "rewrite"),
    [
        (b"/a/;x", "/a/{id}", "/.{id}"),
        (b"/a/.;", "/a/{id}", "/.{id}"),
        (b"/a/", "/a/*", "/x/.{rest}"),
        (b"/a/x", "/a/*", "/b//{rest}"),
        (b"/a/x", "/a/*", "/b%2F{rest}"),
        (b"/a/x", "/a/*", "/../{rest}"),
        (b"/a/x", "/a/*", "/b?{rest}"),
    ],
)
def test_a_rewrite_that_would_be_ambiguous_is_refused(path, route_path, rewrite):
    with pytest.raises(UnforwardableError):
        target(path, path=route_path, rewrite=rewrite)


def test_a_capture_cannot_complete_an_encoding():
    assert target(b"/a/2f", path="/a/{id}", rewrite="/b%{id}") == b"/b%252f"


PIECE = st.one_of(
    st.sampled_from(["{a}", "{b}", "{rest}", "/", "/x/", ".", "..", "%", "%2", ";"]), st.text("ab/", max_size=3)
)


@given(path=st.from_regex(CLEAR, fullmatch=True), pieces=st.lists(PIECE, max_size=6))
def test_whatever_is_forwarded_is_as_clear_as_what_was_authorised(path, pieces):
    route = Route(name="r", path="/{a}/*", upstream="u", rewrite="/" + "".join(pieces))
    assume(Router([route]).match("GET", "", path.encode()) is route)
    try:
        made = target(path.encode(), path=route.path, rewrite=route.rewrite).decode()
    except UnforwardableError:
        return
    assert made.startswith("/")
    assert "//" not in made
    assert not re.search(r"/\.\.?(?:[/;]|$)|%2f|%5c|[?#\\]", made, re.IGNORECASE)


@given(path=st.from_regex(CLEAR, fullmatch=True))
def test_captures_put_back_in_their_places_give_the_path_again(path):
    pattern = PathPattern("/{a}/{b}/*")
    assume(pattern.matches(path.encode()))
    assert Template("/{a}/{b}/{rest}").fill(pattern.captures(path.encode())) == path.encode()


def test_a_pattern_matches_what_the_router_matches():
    for pattern in ("/", "/*", "/a", "/a/*", "/{x}", "/a/{x}/*", "/{x}/b"):
        router = Router([Route(name="r", path=pattern, upstream="u")])
        for path in (b"/", b"/a", b"/a/", b"/a/b", b"/a/b/", b"/b", b"/a/b/c/d", b""):
            assert PathPattern(pattern).matches(path) == (router.match("GET", "", path) is not None), (pattern, path)


def test_an_ambiguous_path_is_the_callers_fault():
    assert AmbiguousPathError("").status == 400


RULES = HeaderRules(remove=("x-debug",), set=(("x-user", "{subject}"), ("x-plan", "gold")), add=(("via", "sentinel"),))


def test_fields_are_removed_then_set_then_added():
    sent = [(b"x-debug", b"1"), (b"x-plan", b"free"), (b"via", b"proxy"), (b"accept", b"*/*")]
    made = head(headers=sent, request_headers=RULES, principal=Principal(kind="jwt", subject="al\u00efce"))
    assert made[2:4] == [b"via: proxy", b"accept: */*"]
    assert made[-4:] == [b"x-user: al%C3%AFce", b"x-plan: gold", b"via: sentinel", b"x-sentinel-subject: al%C3%AFce"]


@pytest.mark.parametrize("name", [b"x-user", b"X-User", b"x_user", b"X.User", b"x-debug", b"x_debug"])
def test_a_client_cannot_send_what_a_rule_sets_or_removes_not_even_where_it_comes_out_empty(name):
    made = head(headers=[(name, b"root")], request_headers=RULES)
    assert not any(b"user" in line.lower() or b"debug" in line.lower() for line in made)


def test_values_are_filled_in_from_the_request_and_the_path():
    rules = HeaderRules(set=(("x-all", "{client} {request_id} {scheme} {host} {path} {tenant} {id} {unknown}"),))
    made = head(request_headers=rules, principal=Principal(kind="jwt", tenant="acme"))
    assert b"x-all: 192.0.2.7 r1 http api.example /orders/7 acme 7" in made


def test_a_capture_cannot_pass_for_the_proven_identity():
    rules = HeaderRules(set=(("x-user", "{subject}"),))
    made = head(b"/orders/root", path="/orders/{subject}", request_headers=rules)
    assert not any(line.startswith(b"x-user") for line in made)


def test_host_can_be_set_and_the_client_s_is_still_told():
    made = head(request_headers=HeaderRules(set=(("Host", "internal.example"),)))
    assert made[1] == b"host: internal.example"
    assert b"x-forwarded-host: api.example" in made


@pytest.mark.parametrize(
    "name",
    ["connection", "content-length", "transfer-encoding", "te", "upgrade", "x-sentinel-subject", "X_Sentinel_Tenant",
     "sec-websocket-key", "proxy-authorization", "expect"],
)  # fmt: skip
def test_rules_cannot_touch_framing_or_proven_identity(name):
    who = Principal(kind="jwt", subject="alice", tenant="acme")
    rules = HeaderRules(remove=(name,), set=((name, "x"),), add=((name, "y"),))
    assert head(request_headers=rules, principal=who) == head(principal=who)


def test_host_can_neither_be_removed_nor_doubled():
    assert head(request_headers=HeaderRules(remove=("host",), add=(("host", "evil"),))) == head()


def test_a_value_that_would_end_its_line_is_refused():
    with pytest.raises(UnforwardableError):
        head(request_headers=HeaderRules(set=(("x-a", "b\r\nx-sentinel-subject: root"),)))


def test_rules_give_way_to_nothing_the_client_nominates():
    sent = [(b"connection", b"x-user, x-plan")]
    made = head(headers=sent, request_headers=RULES, principal=Principal(kind="jwt", subject="alice"))
    assert b"x-user: alice" in made
    assert b"x-plan: gold" in made


def test_the_usual_head_written_in_one_go_is_the_one_written_line_by_line():
    sent = [(b"accept", b"*/*"), (b"user-agent", b"t")]
    by_line = head(headers=sent, request_headers=HeaderRules(remove=("x-none",)))
    assert head(headers=sent) == by_line
    claimed = [*sent, (b"traceparent", b"00-9-9-01")]
    assert head(headers=claimed) == head(headers=claimed, request_headers=HeaderRules(remove=("x-none",)))


def test_a_route_that_changes_nothing_is_told_by_one_look():
    assert rewriting(Route(name="r", path="/*", upstream="u", strip_prefix="")) is UNCHANGED


def test_the_table_of_routes_stays_bounded(monkeypatch):
    monkeypatch.setattr(rewriting_module, "MAX_REMEMBERED_ROUTES", 10)
    for number in range(50):
        rewriting(Route(name=f"bounded {number}", path="/*", upstream="u"))
        assert len(rewriting_module._known) <= max(10, 1)
