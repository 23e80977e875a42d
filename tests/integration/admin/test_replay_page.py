"""Replays through the API and on a route's page, over a desk that gives known answers."""

from __future__ import annotations

import pytest

from gateway.admin.application import build
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes
from gateway.errors import ConflictError
from tests.admin_client import Admin


@pytest.fixture
def admin() -> Admin:
    """The application with its dashboard."""
    made = Admin()
    pages = Pages(made.fakes.ports, made.auth)
    made.app = build(
        made.fakes.ports,
        made.auth,
        dashboard_routes=routes(made.fakes.ports, made.auth, pages),
        error_page=pages.error_page,
    )
    return made


def test_a_limit_is_tried_for_the_time_asked_for(admin):
    body = {"route": "orders", "limit": "5/s per subject", "since": "90m"}
    answer = admin.as_("ana").post("/api/v1/replay", json=body)
    assert answer.status_code == 200
    assert admin.fakes.replays.asked == [("orders", "5/s per subject", 5400.0, "")]
    found = answer.json()
    assert found["headline"] == "would have rejected 212 of 9,431 requests, 1 caller"
    assert found["top"][0] == {
        "caller": "subject <ana> of acme",
        "requests": 8000,
        "rejected": 212,
        "peak": 40,
        "first_rejected_at": "2026-09-21T14:13:20Z",
        "last_rejected_at": "2026-09-21T14:14:20Z",
    }


def test_a_time_that_does_not_read_is_refused_with_its_field(admin):
    answer = admin.as_("ana").post(
        "/api/v1/replay", json={"route": "orders", "limit": "5/s per subject", "since": "soon"}
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "since")


def test_the_page_of_a_route_begins_with_its_own_limit(admin):
    page = admin.as_("ana").get("/dashboard/routes/orders").text
    assert 'value="100/s burst 200 per subject"' in page
    assert admin.fakes.replays.asked == []


def test_the_answer_names_callers_safely_and_the_lines_to_write(admin):
    page = admin.as_("ana").get("/dashboard/routes/orders?limit=5/s+per+subject&since=7d").text
    assert "would have rejected 212 of 9,431 requests" in page
    assert "subject &lt;ana&gt; of acme" in page
    assert "&#34;5/s burst 5 per subject&#34;, mode = &#34;shadow&#34;" in page
    assert "With burst 41 nobody would have been rejected." in page


def test_a_replay_that_cannot_run_is_said_on_the_page(admin, monkeypatch):
    async def busy(*_: object, **__: object) -> None:
        raise ConflictError("another replay is under way", remedy="wait until it has ended")

    monkeypatch.setattr(admin.fakes.replays, "limit", busy)
    answer = admin.as_("ana").get("/dashboard/routes/orders?limit=5/s+per+subject")
    assert answer.status_code == 409
    assert "another replay is under way. Wait until it has ended" in answer.text


def test_a_route_that_is_not_there_is_said_to_be_gone(admin):
    assert admin.as_("ana").get("/dashboard/routes/nothing").status_code == 404
