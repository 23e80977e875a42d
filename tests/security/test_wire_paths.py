"""The path that is authorised is the path that is routed and the path that the origin gets, whoever writes it how."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.access import AuthMode
from gateway.domain.routing import HeaderRules
from tests.security.wire_world import HOST, bearer, bounded, gateway
from tests.unit.edge.edge_values import route


def named(name: str, path: str, **changes):
    rules = HeaderRules(set=(("x-route", name), ("x-path", "{path}")))
    return route(name=name, path=path, request_headers=rules, **changes)


@pytest.fixture(scope="module")
def shared_guarded(driver):
    routes = [
        named("open", "/*"),
        named("admin", "/admin/*", auth=AuthMode.JWT, roles=frozenset({"admin"})),
        named("stripped", "/api/*", strip_prefix="/api"),
        named("rewritten", "/old/{id}/*", rewrite="/new/{rest}/of/{id}"),
        named("joined", "/file/{name}", rewrite="/files/.{name}"),
    ]
    with gateway(driver, *routes) as made:
        yield made


@pytest.fixture
def guarded(shared_guarded):
    """Routes that are open, for administrators, stripped and rewritten; the origin is told which one was taken."""
    shared_guarded.clear()
    return shared_guarded


def asked(guarded, target: bytes, fields: bytes = b"") -> int:
    return guarded.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST + fields)[0]


@pytest.mark.parametrize(
    "target",
    [
        *(b"/x/../admin", b"/x/..;/admin", b"/./admin", b"//admin", b"/x//../admin", b"/%2e/admin", b"/x/%2e%2e/admin"),
        *(b"/%2fadmin", b"/x%2f..%2fadmin", b"/%5cadmin", b"/\\admin", b"/x\\..\\admin", b"/%61dmin", b"/adm%69n"),
        *(
            b"/admin%00",
            b"/x%00/../admin",
            b"/%c0%afadmin",
            b"/x/%c0%ae%c0%ae/admin",
            b"/%e0%80%afadmin",
            b"/x#/../admin",
        ),
        *(b"/.%2e/admin", b"/%2e./admin", b"/x/.;a/../admin", b"/%u002e/admin", b"/%%32e/admin", b"/admin%0d%0ax: y"),
        *(
            b"/x/%09../admin",
            b"/a%2",
            b"/a%",
            b"/a%g0",
            b"/a/..",
            b"/a/.",
            b"/..",
            b"/.",
            b"/;/../admin",
            b"/caf\xe9",
            b"/x?a=\xff",
        ),
    ],
)
def test_no_spelling_of_a_guarded_path_gets_past_its_guard(guarded, target):
    assert guarded.refuses(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")


@pytest.mark.parametrize("target", [b"/admin", b"/admin/", b"/admin/users", b"/admin?x=/open", b"/admin/;a=b"])
def test_a_guarded_path_needs_the_role_and_gets_through_with_it(guarded, target):
    assert asked(guarded, target) == 401
    assert asked(guarded, target, bearer()) == 403
    assert guarded.messages == []
    assert asked(guarded, target, bearer(roles=["admin"])) == 200
    assert (guarded.only().target, guarded.only().value(b"x-route")) == (target, b"admin")


@pytest.mark.parametrize(
    "target",
    [
        *(b"/Admin", b"/ADMIN/", b"/administrator", b"/admin;x", b"/admin.json", b"/admin,", b"/%E2%82%AC", b"/a%20b"),
        *(
            b"/x?../../admin",
            b"/x?%2e%2e/admin",
            b"/x?//admin",
            b"/a%3Fadmin",
            b"/a%23b",
            b"/a%3b..",
            b"/:80",
        ),
    ],
)
def test_what_only_looks_like_a_guarded_path_goes_to_the_origin_as_it_is(guarded, target):
    assert asked(guarded, target) == 200
    message = guarded.only()
    assert (message.target, message.value(b"x-route")) == (target, b"open")
    assert message.value(b"x-path") == target.partition(b"?")[0]
    record = guarded.records()[-1]
    assert (record.path.encode("latin-1"), record.route) == (target.partition(b"?")[0], "open")


@pytest.mark.parametrize(
    ("target", "at_origin"),
    [
        *((b"/api", b"/"), (b"/api/", b"/"), (b"/api/admin", b"/admin"), (b"/api/a;b/c?d=/api", b"/a;b/c?d=/api")),
        *((b"/api/api/x", b"/api/x"), (b"/apis/x", b"/apis/x"), (b"/api/%E2%82%AC", b"/%E2%82%AC")),
        *((b"/old/7/a/b?q", b"/new/a/b/of/7?q"), (b"/old/7", b"/new/of/7"), (b"/old/7/", b"/new/of/7")),
    ],
)
def test_a_stripped_or_rewritten_path_is_made_of_the_one_that_was_routed(guarded, target, at_origin):
    assert asked(guarded, target) == 200
    assert guarded.only().target == at_origin
    assert guarded.only().value(b"x-path") == target.partition(b"?")[0]


@pytest.mark.parametrize("target", [b"/file/.", b"/file/;x", b"/file/.;x"])
def test_a_rewrite_that_would_make_a_dot_segment_is_refused(guarded, target):
    assert asked(guarded, target) == 400
    assert guarded.messages == []


def test_a_method_override_field_changes_neither_the_route_nor_the_method(guarded):
    assert (
        asked(guarded, b"/x", b"x-http-method-override: DELETE\r\nx-original-url: /admin\r\nx-rewrite-url: /admin\r\n")
        == 200
    )
    assert (guarded.only().method, guarded.only().target) == (b"GET", b"/x")
    assert guarded.only().value(b"x-route") == b"open"


def readings(path: bytes) -> set[bytes]:
    """How servers of many kinds may read a path: decoded, with other slashes, dots resolved.

    Not without its parameters: "/admin;x" is another path than "/admin" to the router, as it is to RFC 3986.
    """
    found = {path, path.split(b"#")[0]}
    for _ in range(2):
        found |= {one.replace(b"\\", b"/") for one in found}
        found |= {one.split(b"\0")[0] for one in found}
        found |= {posixpath.normpath(re.sub(rb"/+", b"/", one)) for one in found if one}
        found |= {unquote_to_bytes(one) for one in found if b"%25" not in one}
        overlong = ((rb"\xc0[\xae]", b"."), (rb"\xc0\xaf|\xe0\x80\xaf", b"/"))
        for pattern, plain in overlong:
            found |= {re.sub(pattern, plain, one, flags=re.DOTALL) for one in found}
    return found


PIECES = [
    *(
        b"/",
        b"/",
        b"/",
        b"admin",
        b"admin",
        b"api",
        b"old",
        b"file",
        b"x",
        b".",
        b"..",
        b";",
        b";a=b",
        b"%2e",
        b"%2E%2e",
    ),
    *(
        b"%2f",
        b"%5c",
        b"\\",
        b"%00",
        b"#",
        b"%c0%af",
        b"%c0%ae",
        b"%25",
        b"%61",
        b"%",
        b"?",
        b"//",
        b"%3b",
        b"%23",
        b"~",
    ),
    *(b"%e0%80%af", b"%0a", b"%20", b"\t", b"\xff", b"%ff", b":", b"@", b"*"),
]
PATHS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: b"/" + b"".join(pieces)),
    st.binary(max_size=12).map(lambda tail: b"/" + tail),
).filter(lambda path: not re.search(rb"[ \r\n]", path))


@given(target=PATHS)
@bounded(120)
def test_any_path_is_refused_or_reaches_the_origin_as_it_was_routed_and_authorised(guarded, target):
    guarded.origin.messages.clear()
    status = asked(guarded, target)
    path, _, query = target.partition(b"?")
    if status != 200:
        assert 400 <= status < 500
        assert guarded.messages == []
        return
    message = guarded.only()
    route = message.value(b"x-route")
    assert message.value(b"x-path") == path
    if route == b"open":
        assert message.target == path + (b"?" + query if query else b"")
    for reading in readings(path):
        assert not reading.startswith(b"/admin/"), reading
        assert reading != b"/admin"
    assert message.target.count(b"?") <= 1 or query
    assert posixpath.normpath(message.target.partition(b"?")[0]).rstrip(b"/") == message.target.partition(b"?")[
        0
    ].rstrip(b"/")
