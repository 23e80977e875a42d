"""Nobody gets in without a proof, nobody above their role, and nothing on TCP passes for the private socket."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import httpx2
import msgspec
import pytest
import uvicorn
from starlette.testclient import TestClient

from gateway.admin.api.table import ENDPOINTS
from gateway.admin.forwarded import FromWorkers
from gateway.admin.local import LocalSocket
from gateway.domain.identity import RANK, Role
from gateway.identity import tokens
from gateway.identity.throttle import ADDRESS
from tests.admin_client import API, ORIGIN, Admin, assert_problem, path_of
from tests.admin_fakes import PASSWORD

CLOSED = [row for row in ENDPOINTS if row.role is not None]
ABOVE_VIEWER = [row for row in CLOSED if RANK[row.role] > 0]


def name_of(row):
    return f"{row.method} {row.path}"


@pytest.fixture
def admin():
    return Admin()


@pytest.mark.parametrize("row", CLOSED, ids=name_of)
def test_every_closed_endpoint_refuses_strangers(admin, row):
    answer = admin.anonymous.request(row.method, path_of(row))
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("row", ABOVE_VIEWER, ids=name_of)
def test_every_endpoint_refuses_a_role_below_its_own(admin, row):
    below = "vera" if row.role == Role.OPERATOR else "otto"
    assert_problem(admin.as_(below).request(row.method, path_of(row), json={}), 403)


def test_only_these_endpoints_are_open_to_everybody():
    assert {name_of(row) for row in ENDPOINTS if row.role is None} == {
        "POST /auth/login",
        "POST /auth/setup",
        "GET /health",
        "POST /slack/interactions",
    }


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer st_",
        "Bearer st_wrong",
        "Bearer null",
        "Basic YW5hOmFuYQ==",
        "bearer\tst_x",
        "Bearer " + "st_" + "A" * 4000,
    ],
)
def test_made_up_tokens_are_refused(admin, header):
    assert_problem(admin.anonymous.get(f"{API}/incidents", headers={"Authorization": header}), 401)


def test_a_token_in_the_query_is_no_proof(admin):
    token = admin.token_of("ana")
    for query in (f"token={token}", f"access_token={token}"):
        assert_problem(admin.anonymous.get(f"{API}/incidents?{query}"), 401)


def test_a_wrong_token_is_not_rescued_by_a_good_cookie(admin):
    client, _ = admin.with_cookie("ana")
    assert client.get(f"{API}/auth/me").status_code == 200
    assert_problem(client.get(f"{API}/auth/me", headers={"Authorization": "Bearer st_wrong"}), 401)


def test_the_digest_kept_in_the_store_is_no_token(admin):
    digest = tokens.digest_of(admin.token_of("ana"))
    for text in (digest.hex(), f"st_{digest.hex()}"):
        assert_problem(admin.anonymous.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {text}"}), 401)


def test_a_session_ends_with_its_time(admin):
    client = admin.as_("ana")
    assert client.get(f"{API}/auth/me").status_code == 200
    admin.fakes.clock.now += tokens.SESSION_S
    assert_problem(client.get(f"{API}/auth/me"), 401)


def test_a_disabled_user_is_out_at_once_and_cannot_come_back(admin):
    otto = admin.as_("otto")
    changed = admin.as_("ana").put(f"{API}/users/u-2", json={"disabled": True})
    assert changed.status_code == 200
    assert_problem(otto.get(f"{API}/auth/me"), 401)
    login = {"email": "otto@example.org", "password": PASSWORD}
    assert_problem(admin.anonymous.post(f"{API}/auth/login", json=login), 401)


def test_a_lowered_role_holds_for_sessions_already_open(admin):
    otto = admin.as_("otto")
    admin.as_("ana").put(f"{API}/users/u-2", json={"role": "viewer"})
    assert_problem(otto.post(f"{API}/actions/a-2/approve"), 403)


def test_signing_out_ends_the_session(admin):
    client = admin.as_("ana")
    assert client.post(f"{API}/auth/logout").status_code == 204
    assert_problem(client.get(f"{API}/auth/me"), 401)


def test_refreshing_ends_the_old_token(admin):
    client = admin.as_("ana")
    fresh = client.post(f"{API}/auth/refresh").json()["token"]
    assert_problem(client.get(f"{API}/auth/me"), 401)
    answer = admin.anonymous.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {fresh}"})
    assert answer.json()["name"] == "ana@example.org"


def test_the_session_cookie_is_out_of_reach_for_scripts_and_other_sites(admin):
    login = {"email": "ana@example.org", "password": PASSWORD, "cookie": True}
    cookie = admin.anonymous.post(f"{API}/auth/login", json=login).headers["set-cookie"]
    assert cookie.startswith("sentinel_session=st_")
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie and "Domain" not in cookie


def test_behind_tls_the_cookie_is_bound_to_the_host_and_the_plain_name_is_not_believed():
    admin = Admin(secure=True)
    login = {"email": "ana@example.org", "password": PASSWORD, "cookie": True}
    cookie = admin.anonymous.post(f"{API}/auth/login", json=login).headers["set-cookie"]
    assert cookie.startswith("__Host-sentinel_session=st_")
    assert "Secure" in cookie and "Domain" not in cookie
    plain, _ = admin.with_cookie("ana")
    assert_problem(plain.get(f"{API}/auth/me"), 401)


def test_no_answer_holds_a_password_hash_or_a_digest(admin):
    ana = admin.as_("ana")
    for path in ("users", "users/u-1", "keys", "audit", "auth/me"):
        text = ana.get(f"{API}/{path}").text
        assert "$2b$" not in text
        assert "digest" not in text
        assert "password_hash" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Sentinel-Operator": "root"},
        {"X-Sentinel-Local": "1", "X-Forwarded-For": "unix:", "Forwarded": "for=unix"},
        {"sentinel.local": "1"},
    ],
)
def test_headers_cannot_pass_for_the_private_socket(admin, headers):
    assert_problem(admin.anonymous.get(f"{API}/auth/me", headers=headers), 401)


def test_the_wrapper_marks_nothing_on_a_listener_that_has_a_port(admin):
    client = TestClient(LocalSocket(admin.app), base_url=ORIGIN)
    assert_problem(client.get(f"{API}/auth/me"), 401)


def test_a_mark_of_anothers_making_is_not_believed(admin):
    async def forged(scope, receive, send):
        for mark in (True, "local", object()):
            scope["sentinel.local"] = mark
        await admin.app(scope, receive, send)

    assert_problem(TestClient(forged, base_url=ORIGIN).get(f"{API}/auth/me"), 401)


@contextmanager
def served(app, **where):
    """The application in a real server, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", **where))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server
    finally:
        server.should_exit = True
        thread.join(10)


def test_over_the_private_socket_the_command_line_is_an_administrator(admin, tmp_path):
    path = str(tmp_path / "c.sock")
    with served(LocalSocket(admin.app), uds=path):
        transport = httpx2.HTTPTransport(uds=path)
        with httpx2.Client(transport=transport, base_url="http://control") as client:
            me = client.get(f"{API}/auth/me", headers={"X-Sentinel-Operator": "root <b>evil</b>"}).json()
            issued = client.post(f"{API}/keys", json={"subject": "x"})
    assert (me["kind"], me["name"], me["role"]) == ("cli", "rootbevilb", "admin")
    assert issued.status_code == 201
    assert admin.fakes.audit.rows[0].actor == "cli local"


def test_the_same_application_on_a_unix_socket_without_the_wrapper_trusts_nobody(admin, tmp_path):
    """Shared mode: workers forward clients' requests to a Unix socket; those are strangers."""
    path = str(tmp_path / "c.sock")
    transport = httpx2.HTTPTransport(uds=path)
    with served(admin.app, uds=path), httpx2.Client(transport=transport, base_url="http://control") as client:
        assert client.get(f"{API}/auth/me").status_code == 401


def test_in_shared_mode_strangers_stay_strangers_and_each_has_an_address_of_its_own(admin, tmp_path):
    path = str(tmp_path / "a.sock")
    login = {"email": "nobody@example.org", "password": "wrong wrong wrong"}
    with (
        served(FromWorkers(admin.app), uds=path),
        httpx2.Client(transport=httpx2.HTTPTransport(uds=path), base_url="http://gateway") as client,
    ):
        assert client.get(f"{API}/auth/me", headers={"X-Sentinel-Operator": "root"}).status_code == 401
        for number in range(ADDRESS.free + 2):
            guess = {**login, "email": f"user{number}@example.org"}
            chain = {"X-Forwarded-For": f"198.51.100.{number}, 192.0.2.1"}  # what stands before the last is hearsay
            last = client.post(f"{API}/auth/login", json=guess, headers=chain)
        other = client.post(f"{API}/auth/login", json=login, headers={"X-Forwarded-For": "192.0.2.2"})
        good = {"email": "ana@example.org", "password": PASSWORD, "cookie": True}
        behind_tls = {"X-Forwarded-For": "192.0.2.3", "X-Forwarded-Proto": "https"}
        signed_in = client.post(f"{API}/auth/login", json=good, headers=behind_tls)
    assert (last.status_code, other.status_code) == (429, 401)
    assert signed_in.headers["set-cookie"].startswith("__Host-sentinel_session=")
    assert "192.0.2.1" in {entry.subject.removeprefix("address ") for entry in admin.fakes.audit.rows}


def test_forwarded_addresses_are_hearsay_on_tcp(admin):
    client = TestClient(FromWorkers(admin.app), base_url=ORIGIN)
    for number in range(ADDRESS.free + 2):
        guess = {"email": f"user{number}@example.org", "password": "wrong wrong wrong"}
        last = client.post(f"{API}/auth/login", json=guess, headers={"X-Forwarded-For": f"192.0.2.{number}"})
    assert last.status_code == 429


def test_the_wrapped_application_on_a_real_tcp_port_trusts_nobody(admin):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    with served(LocalSocket(admin.app), host="127.0.0.1", port=port):
        assert httpx2.get(f"http://127.0.0.1:{port}{API}/auth/me").status_code == 401


def test_metrics_may_want_a_token():
    admin = Admin(metrics_token="scrape-me")
    assert_problem(admin.anonymous.get("/metrics"), 401)
    assert_problem(admin.anonymous.get("/metrics", headers={"Authorization": "Bearer scrape-m"}), 401)
    assert admin.anonymous.get("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 200


def test_a_user_that_was_deleted_is_out(admin):
    otto = admin.as_("otto")
    assert admin.as_("ana").delete(f"{API}/users/u-2").status_code == 204
    assert_problem(otto.get(f"{API}/auth/me"), 401)


def test_a_session_of_a_user_the_store_no_longer_knows_is_nothing(admin):
    client = admin.as_("ana")
    admin.fakes.users.rows["u-1"] = msgspec.structs.replace(admin.fakes.users.rows["u-1"], disabled=True)
    assert_problem(client.get(f"{API}/auth/me"), 401)
