"""Whatever is sent gets a clear refusal: the field, never a stack trace, never a 500."""

from __future__ import annotations

import asyncio
import itertools
import re
from urllib.parse import quote

import httpx2
import pytest

from gateway.admin.api.table import ENDPOINTS
from tests.admin_client import API, ORIGIN, Admin, assert_problem, path_of
from tests.admin_fakes import HOSTILE

NASTY = (
    "",
    "\x00",
    "'",
    "%",
    "../../etc/passwd",
    "-1",
    "1e400",
    "NaN",
    "9" * 40,
    "null",
    "{}",
    "\u202e\u0000",
    HOSTILE,
    "a" * 3000,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59+14:00",
)
BODIES = (
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"a":' * 5000,
    b"[" * 200_000,
    b'{"__class__": "x"}',
    b'{"email": "\\ud800", "password": "\\ud800 long enough", "text": "\\ud800", "reason": "\\ud800"}',
    b'{"subject": "\\ud800"}',
    b'{"email": 1e400}',
    b'{"reason": "a\\u0000b"}',
    b'{"limit": 99999999999999999999999999}',
)


@pytest.fixture
def admin():
    return Admin()


@pytest.fixture(scope="module")
def shared():
    return Admin()


@pytest.mark.parametrize("row", [row for row in ENDPOINTS if row.method != "GET"], ids=lambda row: row.name)
def test_no_body_brings_an_endpoint_down(shared, row):
    client = shared.as_("ana") if row.role else shared.anonymous
    path = path_of(row, "nothing")
    for body, kind in itertools.product(BODIES, ("application/json", "text/plain")):
        if row.name in {"refresh", "logout"}:
            client = shared.as_("ana")
        answer = client.request(row.method, path, content=body, headers={"Content-Type": kind})
        assert answer.status_code < 500, (body[:40], answer.text)
        if answer.status_code >= 400:
            assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("row", [row for row in ENDPOINTS if row.method == "GET"], ids=lambda row: row.name)
def test_no_parameter_brings_an_endpoint_down(shared, row):
    client = shared.as_("ana")
    names = [*(row.query.__struct_encode_fields__ if row.query else ()), "unheard_of"]
    path = path_of(row)
    for name, value in itertools.product(names, NASTY):
        if row.name in {"follow_requests", "live_events"} and name != "unheard_of":
            continue  # it would open an endless stream
        answer = client.get(path.replace("{id}", "x"), params={name: value})
        assert answer.status_code < 500, (name, value, answer.text)
    for value in NASTY:
        if "{id}" in path:
            answer = client.get(path.replace("{id}", quote(value, safe="")))
            assert answer.status_code < 500, (value, answer.text)


def test_a_wrong_value_names_its_field(admin):
    ana = admin.as_("ana")
    assert_problem(ana.get(f"{API}/requests?limit=501"), 422, field="limit")
    assert_problem(ana.get(f"{API}/requests?since=yesterday"), 422, field="since")
    assert_problem(ana.get(f"{API}/requests?since=2026-11-21T00:00:00"), 422, field="since")
    assert_problem(ana.get(f"{API}/requests?colour=red"), 422, field="colour")
    assert_problem(ana.get(f"{API}/requests?route=a&route=b"), 422, field="route")
    assert_problem(ana.get(f"{API}/incidents?state=SLEEPING"), 422, field="state")
    assert_problem(ana.get(f"{API}/buckets?step=61"), 422, field="step")
    assert_problem(ana.get(f"{API}/buckets?from=2026-01-01T00:00:00Z"), 422, field="from")
    assert_problem(ana.get(f"{API}/routes?limit=1"), 422, field="limit")
    assert_problem(ana.post(f"{API}/users", json={"email": "x", "password": "long enough here"}), 422, field="email")
    assert_problem(ana.post(f"{API}/users", json={"email": "x@y.z", "password": "short"}), 422, field="password")
    assert_problem(ana.post(f"{API}/keys", json={"scopes": ["a", "b c"]}), 422, field="scopes[1]")
    assert_problem(ana.post(f"{API}/keys", json={"subject": "x", "expires_in_s": 0}), 422, field="expires_in_s")
    assert_problem(ana.post(f"{API}/keys", json={"colour": "red"}), 422, field="colour")
    assert_problem(ana.post(f"{API}/incidents/inc-1/close", json={}), 422)


def test_a_name_cannot_carry_a_header_or_markup(admin):
    ana = admin.as_("ana")
    for bad in ("a\r\nX-Evil: 1", HOSTILE, "a b", "ä", "x" * 129):
        assert_problem(ana.post(f"{API}/keys", json={"subject": bad}), 422, field="subject")
        assert_problem(ana.post(f"{API}/keys", json={"subject": "x", "tenant": bad}), 422, field="tenant")


def test_a_body_announced_too_large_is_refused_unread(admin):
    answer = admin.as_("ana").post(f"{API}/config/check", content=b"x", headers={"Content-Length": "999999999999"})
    assert_problem(answer, 413)


def test_a_body_that_grows_too_large_is_cut_off(admin):
    def endless():
        for _ in range(40):
            yield b"x" * 65536

    assert_problem(admin.as_("ana").post(f"{API}/config/check", content=endless()), 413)


@pytest.mark.anyio
async def test_a_body_that_never_comes_is_given_up_on():
    admin = Admin(timeout_s=0.05)

    async def drip():
        yield b"{"
        await asyncio.sleep(30)

    headers = {"Authorization": f"Bearer {admin.token_of('ana')}"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(admin.app), base_url=ORIGIN) as client:
        answer = await client.post(f"{API}/config/check", content=drip(), headers=headers)
    assert_problem(answer, 503)


def test_a_crash_says_nothing_of_its_inside(admin):
    async def broken(**_):
        message = "secret detail of the inside"
        raise RuntimeError(message)

    admin.fakes.users.page = broken
    answer = admin.as_("ana").get(f"{API}/users")
    assert_problem(answer, 500)
    assert "secret" not in answer.text and "RuntimeError" not in answer.text


def test_unknown_paths_and_methods_are_problems_too(admin):
    for path in ("/nothing", "/api/v1/nothing", "/api/v1/incidents/", "/dashboard/nothing"):
        assert_problem(admin.anonymous.get(path), 404)
    answer = admin.anonymous.delete("/metrics")
    assert_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/metrics", "/health/live", "/nothing", f"{API}/users"]
)
def test_every_answer_carries_the_security_headers(admin, path):
    headers = admin.as_("ana").get(path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_pages_allow_only_scripts_with_a_fresh_nonce(admin):
    policies = [admin.anonymous.get("/docs").headers["content-security-policy"] for _ in range(2)]
    nonces = [re.search(r"script-src 'self' 'nonce-([\w-]{20,})'", policy).group(1) for policy in policies]
    assert nonces[0] != nonces[1]
    assert "unsafe" not in policies[0] and "*" not in policies[0]
    page = admin.anonymous.get("/docs")
    assert page.headers["content-security-policy"].count(re.search(r'nonce="([\w-]+)"', page.text).group(1)) == 2
    assert "<script" not in page.text


def test_hostile_text_of_the_traffic_stays_data(admin):
    answer = admin.as_("ana").get(f"{API}/requests?limit=500")
    assert HOSTILE in answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_error_reflects_markup_as_a_page(admin):
    answer = admin.anonymous.get(f"/{HOSTILE}", headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"
