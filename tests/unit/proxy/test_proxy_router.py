"""Which route a request is matched to."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.routing import FieldMatch, Route
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


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/orders/7", "/orders/{id}"),
        ("/orders/new", "/orders/new"),
        ("/orders/", "/*"),  # a name takes no empty segment
        ("/orders", "/*"),
        ("/orders/7/items", "/orders/{id}/items/*"),
        ("/orders/7/items/", "/orders/{id}/items/*"),
        ("/orders/7/items/2/x", "/orders/{id}/items/*"),
        ("/orders/7/other", "/orders/{id}/{what}"),
        ("/orders/new/other", "/orders/new/*"),
        ("/orders/new/items", "/orders/new/*"),
        ("/orders/7/other/x", "/*"),
    ],
)
def test_a_literal_segment_comes_before_a_name_and_a_name_before_an_open_end(path, expected):
    paths = ["/*", "/orders/{id}", "/orders/new", "/orders/{id}/items/*", "/orders/{id}/{what}", "/orders/new/*"]
    assert matched(Router([route(one) for one in paths]), path) == expected


def test_the_search_goes_back_where_a_literal_segment_led_nowhere():
    router = Router([route("/a/{x}/c"), route("/a/b/d", "POST"), route("/{y}/b/d", "PUT"), route("/a/b/{z}/e")])
    assert matched(router, "/a/b/c") == "/a/{x}/c"
    assert matched(router, "/a/b/d", "PUT") == "/{y}/b/d"
    assert matched(router, "/a/b/d", "GET") is None
    assert router.allowed_methods("h", b"/a/b/d") == {"POST", "PUT"}


def asking(name: str, *, headers=(), query=(), methods=()) -> Route:
    return Route(
        name=name,
        path="/a",
        upstream="u",
        methods=frozenset(methods),
        headers=tuple(FieldMatch(*pair) for pair in headers),
        query=tuple(FieldMatch(*pair) for pair in query),
    )


def asked(router: Router, *headers: tuple[bytes, bytes], query: bytes = b"", method: str = "GET") -> str | None:
    found = router.match(method, "h", b"/a", list(headers), query)
    return found and found.name


BETA, GOLD = (b"x-beta", b"1"), (b"x-plan", b"gold")


def test_more_conditions_come_first_then_exact_values_then_named_methods_then_the_order_in_the_file():
    router = Router(
        [
            asking("plain", methods=["GET"]),
            asking("any beta", headers=[("x-beta", "*")]),
            asking("gold", headers=[("x-plan", "gold")]),
            asking("beta", headers=[("x-beta", "1")]),
            asking("beta post", headers=[("x-beta", "1")], methods=["POST"]),
            asking("both", headers=[("x-beta", "1")], query=[("plan", "gold")]),
        ]
    )
    assert asked(router) == "plain"
    assert asked(router, (b"x-beta", b"7")) == "any beta"
    assert asked(router, BETA) == "beta"
    assert asked(router, BETA, method="POST") == "beta post"
    assert asked(router, BETA, GOLD) == "gold"
    assert asked(router, BETA, GOLD, query=b"plan=gold") == "both"
    assert asked(router, method="POST") is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"v=2", True),
        (b"a=1&v=2", True),
        (b"%76=%32", True),
        (b"v=2&v=2", True),
        (b"v=2&v=3", False),
        (b"v=3&v=2", False),
        (b"v", False),
        (b"V=2", False),
        (b"xv=2", False),
        (b"", False),
        (b"&&=", False),
    ],
)
def test_a_parameter_that_comes_with_several_values_fits_none_of_them(query, found):
    router = Router([asking("two", query=[("v", "2")])])
    assert (asked(router, query=query) == "two") is found


def test_a_field_that_comes_with_several_values_fits_any_value_only():
    router = Router([asking("one", headers=[("x-beta", "1")]), asking("any", headers=[("x-beta", "*")])])
    assert asked(router, BETA, (b"x-beta", b"2")) == "any"
    assert asked(router, BETA, BETA) == "one"


def test_a_route_whose_conditions_do_not_hold_is_none_of_those_a_405_speaks_of():
    router = Router([asking("beta", headers=[("x-beta", "1")], methods=["PUT"]), asking("plain", methods=["GET"])])
    assert router.allowed_methods("h", b"/a") == {"GET"}
    assert router.allowed_methods("h", b"/a", [BETA]) == {"GET", "PUT"}


NAMED = st.lists(st.sampled_from(["a", "b", "{x}", "c"]), max_size=4)
CONDITIONS = st.lists(st.sampled_from([("x-beta", "1"), ("x-beta", "*"), ("x-plan", "gold")]), max_size=2, unique=True)
ROUTES = st.lists(
    st.builds(
        lambda host, parts, is_open, methods, headers, query: Route(
            name="",
            path="".join(f"/{part}" for part in parts) + ("/*" if is_open or not parts else ""),
            upstream="u",
            host=host,
            methods=frozenset(methods),
            headers=tuple(FieldMatch(*pair) for pair in headers),
            query=tuple(FieldMatch(*pair) for pair in query),
        ),
        st.sampled_from(["", "", "h.example", "*.example"]),
        NAMED,
        st.booleans(),
        st.lists(st.sampled_from(["GET", "POST"]), unique=True, max_size=2),
        CONDITIONS,
        CONDITIONS,
    ),
    max_size=12,
)


def takes(one: Route, method: str, host: str, path: str, headers: dict[str, str], query: dict[str, str]) -> bool:
    """The rules of domain.routing.Route, word by word."""
    parts, wanted = path.split("/")[1:], one.path.removesuffix("/*").split("/")[1:]
    is_open = one.path.endswith("/*")
    if one.host and (
        host != one.host if one.host[0] != "*" else not host.endswith(one.host[1:]) or host == one.host[1:]
    ):
        return False
    if len(parts) < len(wanted) or (len(parts) > len(wanted) and not is_open):
        return False
    if any(want != part if want[:1] != "{" else not part for want, part in zip(wanted, parts, strict=False)):
        return False
    if one.methods and method not in one.methods:
        return False
    given = [(match, headers) for match in one.headers] + [(match, query) for match in one.query]
    return all(match.name in where and match.value in {"*", where[match.name]} for match, where in given)


def how_specific(one: Route, order: int) -> tuple[object, ...]:
    asked_for = one.headers + one.query
    literal = [1 if part[:1] == "{" else 2 for part in one.path.removesuffix("/*").split("/")[1:]]
    host = 0 if not one.host else 1 if one.host[0] == "*" else 2
    # An end stands above an open end, and below any further segment that fits.
    path = [*literal, 0.5 if not one.path.endswith("/*") else 0]
    return host, path, len(asked_for), sum(m.value != "*" for m in asked_for), bool(one.methods), -order


VALUES = st.dictionaries(st.sampled_from(["x-beta", "x-plan"]), st.sampled_from(["1", "2", "gold"]), max_size=2)


@given(
    routes=ROUTES,
    method=st.sampled_from(["GET", "POST", "PUT"]),
    host=st.sampled_from(["h.example", "x.example", "example", "other"]),
    parts=st.lists(st.sampled_from(["a", "b", "c", "z", ""]), min_size=1, max_size=5),
    headers=VALUES,
    query=VALUES,
)
@settings(max_examples=400, deadline=None)
def test_the_router_chooses_as_trying_every_route_would(routes, method, host, parts, headers, query):
    path = "".join(f"/{part}" for part in parts)
    fitting = [
        (how_specific(one, order), one)
        for order, one in enumerate(routes)
        if takes(one, method, host, path, headers, query)
    ]
    best = max(fitting, key=lambda pair: pair[0], default=(None, None))[1]
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    pairs = "&".join(f"{name}={value}" for name, value in query.items())
    assert Router(routes).match(method, host, path.encode(), fields, pairs.encode()) == best


def test_ten_thousand_routes_are_searched_in_as_many_steps_as_ten():
    def steps(count: int, make) -> int:
        router = Router([make(number) for number in range(count)])
        calls = 0

        def count_calls(_frame, event, _argument):
            nonlocal calls
            calls += event in {"call", "c_call"}

        sys.setprofile(count_calls)
        try:
            found = router.match("GET", "h3.example", b"/s3/7/items", [(b"x-tenant", b"t3")], b"")
        finally:
            sys.setprofile(None)
        assert found is not None
        return calls

    shapes = [
        lambda n: Route(name="r", path=f"/s{n}/*", upstream="u"),
        lambda n: Route(name="r", path=f"/s{n}/{{id}}/items", upstream="u"),
        lambda n: Route(name="r", path="/*", host=f"h{n}.example", upstream="u"),
        lambda n: Route(name="r", path="/*", upstream="u", headers=(FieldMatch("x-tenant", f"t{n}"),)),
    ]
    for make in shapes:
        assert steps(10_000, make) == steps(10, make)
