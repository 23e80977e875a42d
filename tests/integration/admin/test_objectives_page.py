"""The page of objectives and silences: read by everyone without a tenant, changed by operators."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from gateway.admin.application import build
from gateway.admin.auth import Auth
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes
from gateway.identity import tokens
from tests.admin_client import ORIGIN
from tests.admin_fakes import NOW, QUICK, FakeAdmin


class Browser:
    """Somebody signed in, before the whole dashboard."""

    def __init__(self, name: str) -> None:
        self.fakes = FakeAdmin()
        auth = Auth(self.fakes.ports, passwords=QUICK, secure=False)
        pages = Pages(self.fakes.ports, auth)
        app = build(
            self.fakes.ports, auth, dashboard_routes=routes(self.fakes.ports, auth, pages), error_page=pages.error_page
        )
        self.client = TestClient(app, base_url=ORIGIN, follow_redirects=False)
        user = next(user for user in self.fakes.users.rows.values() if user.email == f"{name}@example.org")
        token, session = tokens.open_session(user.id, now=NOW)
        self.fakes.users.sessions[session.digest] = session
        self.client.cookies.set("sentinel_session", token)
        self.csrf = tokens.csrf_of(token)

    def get(self):
        return self.client.get("/dashboard/objectives", headers={"Accept": "text/html"})

    def post(self, path, **fields):
        data = {"csrf_token": self.csrf, **fields}
        headers = {"Origin": ORIGIN, "Accept": "text/html"}
        return self.client.post(f"/dashboard/silences{path}", data=data, headers=headers)


GOOD = {"upstream": "payments", "hours": "2", "why": "migration"}


def test_the_page_shows_budgets_advice_silences_and_maintenance():
    text = Browser("vera").get().text
    for said in ("payments-fast", "too fast over", "Only hotfixes", "upstream catalog", "nightly"):
        assert said in text
    assert "reindexing &lt;b&gt;all&lt;/b&gt;" in text
    assert "Tell nobody" not in text


def test_an_operator_silences_and_ends_it():
    otto = Browser("otto")
    assert otto.post("", **GOOD).headers["location"].startswith("/dashboard/objectives?done=silenced")
    made = list(otto.fakes.silences.rows.values())[-1]
    assert (made.matcher.upstream, made.ends_at, made.who) == ("payments", NOW + 7200, "user otto@example.org")
    assert otto.post(f"/{made.id}/end").status_code == 303
    assert otto.fakes.silences.rows[made.id].ends_at == NOW
    assert [entry.verb for entry in otto.fakes.audit.rows[:2]] == ["silence.ended", "silence.made"]


@pytest.mark.parametrize(
    "change", [{"hours": "0"}, {"hours": "x"}, {"hours": "9999"}, {"why": ""}, {"severities": "P9"}, {"upstream": ""}]
)
def test_what_makes_no_sense_is_told_and_what_was_typed_stays(change):
    otto = Browser("otto")
    answer = otto.post("", **{**GOOD, **change})
    assert answer.status_code == 422
    assert len(otto.fakes.silences.rows) == 1
    if "why" not in change:
        assert 'value="migration"' in answer.text


def test_viewers_may_not_silence_and_users_of_one_tenant_may_not_even_look():
    assert Browser("vera").post("", **GOOD).status_code == 403
    assert Browser("toni").get().status_code == 403
    assert Browser("toni").post("", **GOOD).status_code == 403
