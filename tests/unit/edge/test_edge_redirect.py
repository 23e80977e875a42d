"""Where clients are sent."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.routing import Redirect
from gateway.edge import request_rules
from gateway.edge.exchange import Refusal, Reply
from gateway.edge.redirect import Redirection
from gateway.errors import ConfigError
from tests.unit.edge.edge_values import exchange, route, snapshot, steps

WIRED = steps()


def answer(to: str, path: bytes = b"/old/a", route_path: str = "/old/*", query: bytes = b"", **changes):
    made = exchange(WIRED, path=path, query=query, **changes)
    made.host = "shop.example"
    return Redirection(route_path, Redirect(to=to)).reply(made)


def location(*given_to, **changes) -> bytes:
    reply = answer(*given_to, **changes)
    assert isinstance(reply, Reply)
    return dict(reply.headers)[b"location"]


@pytest.mark.parametrize(
    ("to", "path", "query", "expected"),
    [
        ("/new/{rest}", b"/old/a/b", b"", b"/new/a/b"),
        ("/new/{rest}", b"/old", b"a=1", b"/new?a=1"),
        ("/new", b"/old/a", b"", b"/new"),
        ("https://new.example/{rest}", b"/old/a", b"x=%20y", b"https://new.example/a?x=%20y"),
        ("https://new.example", b"/old/a", b"", b"https://new.example/"),
        ("https://{host}/{rest}", b"/old/a", b"", b"https://shop.example/a"),
        ("https://{host}:8443/{rest}", b"/old/a", b"", b"https://shop.example:8443/a"),
        ("https://[2001:db8::1]:80/{rest}", b"/old", b"", b"https://[2001:db8::1]:80/"),
        ("/new?from=old&p={rest}", b"/old/a&b=c/d", b"x=1", b"/new?from=old&p=a%26b%3Dc%2Fd&x=1"),
        ("/app#/items/{rest}", b"/old/a", b"x=1", b"/app?x=1#/items/a"),
        ("/caf\u00e9/{rest}", b"/old/<a>", b'"\xe9', b"/caf%C3%A9/%3Ca%3E?%22%E9"),
        ("/{rest}/x", b"/old/", b"", b"/x"),
    ],
)
def test_the_location_is_encoded_and_carries_the_query(to, path, query, expected):
    assert location(to, path, query=query) == expected


@pytest.mark.parametrize(
    "to",
    ["", "new", "//evil.example/", "javascript:alert(1)", "https://{rest}/", "https://{rest}.example/", "https://a@b/",
     "{rest}", "https:///x", "/a//b", "ftp://a/", "https://a\r\nx/"],
)  # fmt: skip
def test_a_target_that_leads_nowhere_fixed_is_refused_when_it_is_compiled(to):
    with pytest.raises(ConfigError):
        Redirection("/old/*", Redirect(to=to))


@given(
    path=st.lists(
        st.sampled_from(["a", "/", "//", ".", "..", "\\", ";", "@", ":", "%2f", "<", "\r\n", "evil"]), max_size=6
    ),
    query=st.binary(max_size=8),
    to=st.sampled_from(["/{rest}", "/{rest}/x", "https://new.example/{rest}", "/x?y={rest}", "/.{rest}"]),
)
def test_no_request_chooses_scheme_or_host_or_ends_the_line(path, query, to):
    made = exchange(WIRED, path=("/old/" + "".join(path)).encode(), query=query)
    assume(request_rules.judge(made, made.runtime.policy) is None)
    outcome = Redirection("/old/*", Redirect(to=to)).reply(made)
    if isinstance(outcome, Refusal):
        assert outcome.status == 400
        return
    found = dict(outcome.headers)[b"location"].decode("ascii")
    assert found.isprintable()
    assert " " not in found
    parts = urlsplit(found)
    assert (parts.scheme, parts.netloc) == (("https", "new.example") if to.startswith("https") else ("", ""))
    assert not found.startswith(("//", "/\\"))


def test_a_redirect_is_the_steps_own_answer_after_the_route_s_conditions_hold():
    wired = steps(snapshot(route(upstream="", redirect=Redirect(to="/new/{rest}", status=301))))
    made = exchange(wired)
    outcome = wired.admit(made, lambda late: pytest.fail(str(late)))
    assert outcome == Reply(301, ((b"location", b"/new/1"),))
    assert made.route.name == "orders"
    assert made.upstream == ""


def test_a_snapshot_with_a_redirect_to_nowhere_leaves_the_old_one_in_force():
    wired = steps()
    with pytest.raises(ConfigError, match="leads nowhere fixed"):
        wired.apply(snapshot(route(upstream="", redirect=Redirect(to="//evil"))))
