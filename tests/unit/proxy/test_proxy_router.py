"""Which route a request is matched to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.routing import Route
from gateway.proxy.router import Router


def route(path: str, *methods: str, host: str = "", name: str = "") -> Route:
    return Route(name=name or f"{host}{path}", path=path, upstream="u", methods=frozenset(methods), host=host)


def matched(router: Router, path: str, method: str = "GET", host: str = "api.example") -> str | None:
    found = router.match(method, host, path.encode())
    return found and found.name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/orders", "/orders/*"),
        ("/orders/", "/orders/*"),
        ("/orders/7items", "/orders/*"),
        ("/orders/7/items", "/orders/7/items"),
        ("/orders/7/items/", "/orders/7/*"),
        ("/orders/7", "/orders/7/*"),
        ("/ordersX", None),
        ("/Orders", None),
        ("/order", None),
        ("/orders%2F7", None),
        ("", None),
    ],
)
def test_exact_paths_come_before_prefixes_and_longer_prefixes_before_shorter_ones(path, expected):
    routes = [route("/orders/*"), route("/orders/7/*"), route("/orders/7/items")]
    assert matched(Router(routes), path) == expected


def test_a_prefix_ends_at_a_segment_border_and_the_root_prefix_matches_everything():
    router = Router([route("/*"), route("/a/b/*")])
    assert matched(router, "/a/bc") == "/*"
    assert matched(router, "/a/b") == "/a/b/*"
    assert matched(router, "/a//b") == "/*"
    assert matched(router, "/") == "/*"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.example.com", "api.example.com/*"),
        ("API.Example.COM:8443", "api.example.com/*"),
        ("api.example.com.", "api.example.com/*"),
        ("www.example.com", "*.example.com/*"),
        ("a.b.example.com", "*.b.example.com/*"),
        ("x.y.example.com", "*.example.com/*"),
        ("example.com", "/*"),
        ("evil-example.com", "/*"),
        (".example.com", "/*"),
        ("[2001:db8::1]:80", "[2001:db8::1]/*"),
        ("", "/*"),
    ],
)
def test_an_exact_host_comes_before_a_wildcard_and_both_before_any_host(host, expected):
    hosts = ["api.example.com", "*.example.com", "*.b.example.com", "[2001:db8::1]", ""]
    assert matched(Router([route("/*", host=name) for name in hosts]), "/x", host=host) == expected


def test_a_host_comes_before_a_longer_path_and_is_fallen_back_from_where_no_path_fits():
    router = Router([route("/*", host="api.example"), route("/a/b"), route("/only/*", host="other.example")])
    assert matched(router, "/a/b") == "api.example/*"
    assert matched(router, "/a/b", host="other.example") == "/a/b"


def test_a_route_whose_methods_do_not_fit_is_passed_over_for_a_less_specific_one():
    router = Router([route("/a/b", "POST"), route("/a/*", "GET"), route("/*", "DELETE")])
    assert matched(router, "/a/b", "POST") == "/a/b"
    assert matched(router, "/a/b", "GET") == "/a/*"
    assert matched(router, "/a/b", "DELETE") == "/*"
    assert matched(router, "/a/b", "PATCH") is None


def test_a_route_that_names_the_method_comes_before_one_for_any_method():
    router = Router([route("/a", name="any"), route("/a", "GET", name="get")])
    assert matched(router, "/a", "GET") == "get"
    assert matched(router, "/a", "PUT") == "any"


def test_allowed_methods_tell_405_from_404():
    router = Router([route("/a/b", "POST"), route("/a/*", "GET"), route("/free")])
    assert router.allowed_methods("h", b"/a/b") == {"POST", "GET"}
    assert router.allowed_methods("h", b"/nowhere") == frozenset()
    assert router.allowed_methods("h", b"/free") == {"*"}


def test_a_path_that_is_not_ascii_is_matched_as_it_arrives_on_the_wire():
    assert matched(Router([route("/caf\u00e9/*")]), "/caf%C3%A9/menu") == "/caf\u00e9/*"


SEGMENTS = st.lists(st.sampled_from(["a", "b", "", "c"]), max_size=4)


@given(
    prefixes=st.lists(SEGMENTS, max_size=8, unique_by=tuple),
    exact=st.lists(SEGMENTS.filter(bool), max_size=8, unique_by=tuple),
    path=SEGMENTS.filter(bool),
)
def test_the_index_agrees_with_trying_every_route(prefixes, exact, path):
    routes = [route("".join(f"/{part}" for part in parts) + "/*") for parts in prefixes]
    routes += [route("".join(f"/{part}" for part in parts)) for parts in exact]
    asked = "".join(f"/{part}" for part in path)

    def rank(candidate: Route) -> int:
        if candidate.path == asked:
            return 1000
        base = candidate.path.removesuffix("/*")
        fits = candidate.path.endswith("/*") and (asked == base or asked.startswith(f"{base}/"))
        return 1 + base.count("/") if fits else 0

    best = max(routes, key=rank, default=None)
    expected = best.path if best is not None and rank(best) else None
    found = Router(routes).match("GET", "", asked.encode())
    assert (found and found.path) == expected
