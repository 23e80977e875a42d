"""A page of another site cannot make a signed-in browser change anything."""

from __future__ import annotations

import pytest

from gateway.admin.api.table import ENDPOINTS
from gateway.domain.plan import ActionState
from tests.admin_client import API, ORIGIN, Admin, assert_problem, path_of
from tests.admin_fakes import PASSWORD

APPROVE = f"{API}/actions/a-2/approve"
CHANGING = [row for row in ENDPOINTS if row.method != "GET" and row.role is not None]


@pytest.fixture
def admin():
    return Admin()


def is_pending(admin):
    return any(action.state == ActionState.PENDING for action in admin.fakes.incidents.rows[0].actions)


def test_our_own_page_may_approve(admin):
    client, csrf = admin.with_cookie("otto")
    answer = client.post(APPROVE, headers={"Origin": ORIGIN, "X-CSRF-Token": csrf})
    assert answer.status_code == 200
    assert not is_pending(admin)


def test_a_form_field_serves_as_well_as_the_header(admin):
    client, csrf = admin.with_cookie("otto")
    answer = client.post(f"{API}/auth/logout", data={"csrf_token": csrf}, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ORIGIN + ".evil.example"},
        {"Origin": "http://testserver:81"},
        {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
        {"Sec-Fetch-Site": "same-site", "Origin": ORIGIN},
        {"Sec-Fetch-Site": "none", "Origin": ORIGIN},
        {"Referer": ORIGIN + "/dashboard"},
    ],
    ids=str,
)
def test_a_request_from_elsewhere_is_refused_even_with_the_right_token(admin, headers):
    client, csrf = admin.with_cookie("otto")
    assert_problem(client.post(APPROVE, headers={"X-CSRF-Token": csrf, **headers}), 403)
    assert is_pending(admin)


def test_a_request_from_our_page_is_refused_without_its_token(admin):
    client, _ = admin.with_cookie("otto")
    _, of_another = admin.with_cookie("otto")
    for token in ("", "wrong", of_another):
        assert_problem(client.post(APPROVE, headers={"Origin": ORIGIN, "X-CSRF-Token": token}), 403)
    assert is_pending(admin)


@pytest.mark.parametrize("row", CHANGING, ids=lambda row: f"{row.method} {row.path}")
def test_every_changing_endpoint_asks_cookies_for_more(admin, row):
    client, _ = admin.with_cookie("ana")
    path = path_of(row, "a-2")
    assert_problem(client.request(row.method, path, headers={"Origin": ORIGIN}, json={}), 403)


def test_reading_needs_no_form_token(admin):
    client, _ = admin.with_cookie("vera")
    assert client.get(f"{API}/incidents").status_code == 200


def test_a_get_cannot_decide(admin):
    client, _ = admin.with_cookie("otto")
    assert_problem(client.get(APPROVE), 405)
    assert is_pending(admin)


def test_a_method_override_is_not_heard(admin):
    client, _ = admin.with_cookie("otto")
    answer = client.get(APPROVE + "?_method=POST", headers={"X-HTTP-Method-Override": "POST"})
    assert answer.status_code == 405
    assert is_pending(admin)


def test_another_site_cannot_sign_a_browser_in_as_somebody_else(admin):
    login = {"email": "ana@example.org", "password": PASSWORD, "cookie": True}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = admin.anonymous.post(f"{API}/auth/login", json=login, headers=headers)
        assert_problem(answer, 403)
        assert "set-cookie" not in answer.headers


def test_no_answer_lets_another_origin_read_it(admin):
    answer = admin.as_("ana").get(f"{API}/incidents", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
