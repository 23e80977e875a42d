"""Guessing passwords is slow, and tells nothing about who exists."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from gateway.identity.setup_link import SetupLink
from gateway.identity.throttle import ACCOUNT, ADDRESS
from tests.admin_client import API, ORIGIN, Admin, assert_problem
from tests.admin_fakes import PASSWORD

LOGIN = f"{API}/auth/login"


@pytest.fixture
def admin():
    return Admin()


def attempt(admin, email="ana@example.org", password="wrong wrong wrong"):
    return admin.anonymous.post(LOGIN, json={"email": email, "password": password})


def test_guessing_at_one_account_is_stopped_and_even_the_right_password_waits(admin):
    statuses = [attempt(admin).status_code for _ in range(ACCOUNT.free + 2)]
    assert statuses == [401] * (ACCOUNT.free + 1) + [429]
    refused = attempt(admin, password=PASSWORD)
    assert_problem(refused, 429)
    assert int(refused.headers["retry-after"]) >= 1
    admin.fakes.clock.now += ACCOUNT.longest_s
    assert attempt(admin, password=PASSWORD).status_code == 200


def test_guessing_one_password_at_many_accounts_is_stopped(admin):
    statuses = [attempt(admin, email=f"user{number}@example.org").status_code for number in range(ADDRESS.free + 2)]
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {401}


@pytest.mark.anyio
async def test_a_burst_of_parallel_guesses_does_not_slip_past_the_count(admin):
    guess = {"email": "ana@example.org", "password": "wrong wrong wrong"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(admin.app), base_url=ORIGIN) as client:
        answers = await asyncio.gather(*(client.post(LOGIN, json=guess) for _ in range(24)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) <= ACCOUNT.free + 1
    assert statuses.count(401) + statuses.count(429) == 24


def test_an_unknown_a_wrong_and_a_disabled_account_get_the_same_answer(admin):
    answers = [
        attempt(admin, email="nobody@example.org").json(),
        attempt(admin).json(),
        attempt(admin, email="dora@example.org", password=PASSWORD).json(),
    ]
    assert answers[0] == answers[1] == answers[2]


def test_failures_are_audited_without_the_password_and_without_naming_the_guesser_as_the_user(admin):
    attempt(admin, password="hunter2 hunter2 hunter2")
    line = admin.fakes.audit.rows[0]
    assert (line.verb, line.actor) == ("user.sign_in_failed", "anonymous")
    assert line.detail == {"email": "ana@example.org"}
    assert "hunter2" not in repr(line)


def test_guessing_set_up_tokens_is_slowed_down(tmp_path):
    admin = Admin(setup_link=SetupLink(tmp_path))
    admin.fakes.users.rows.clear()
    body = {"token": "guess", "email": "eve@example.org", "password": PASSWORD}
    statuses = [admin.anonymous.post(f"{API}/auth/setup", json=body).status_code for _ in range(ADDRESS.free + 2)]
    assert statuses[0] == 403 and statuses[-1] == 429
    assert not admin.fakes.users.rows


def test_the_set_up_link_makes_one_administrator_and_no_second(tmp_path):
    link = SetupLink(tmp_path)
    admin = Admin(setup_link=link)
    admin.fakes.users.rows.clear()
    token = link.issue(now=admin.fakes.clock())
    body = {"token": token, "email": "First@Example.org", "password": PASSWORD}
    made = admin.anonymous.post(f"{API}/auth/setup", json=body)
    assert made.status_code == 201
    assert made.json()["user"]["role"] == "admin"
    assert_problem(admin.anonymous.post(f"{API}/auth/setup", json=body | {"email": "second@example.org"}), 403)
    assert [user.email for user in admin.fakes.users.rows.values()] == ["first@example.org"]


def test_a_link_left_over_does_nothing_once_there_is_a_user(tmp_path):
    link = SetupLink(tmp_path)
    admin = Admin(setup_link=link)
    body = {"token": link.issue(now=admin.fakes.clock()), "email": "eve@example.org", "password": PASSWORD}
    assert_problem(admin.anonymous.post(f"{API}/auth/setup", json=body), 409)


def test_a_weak_first_password_does_not_spend_the_link(tmp_path):
    link = SetupLink(tmp_path)
    admin = Admin(setup_link=link)
    admin.fakes.users.rows.clear()
    body = {"token": link.issue(now=admin.fakes.clock()), "email": "first@example.org", "password": "short"}
    assert_problem(admin.anonymous.post(f"{API}/auth/setup", json=body), 422, field="password")
    assert admin.anonymous.post(f"{API}/auth/setup", json=body | {"password": PASSWORD}).status_code == 201
