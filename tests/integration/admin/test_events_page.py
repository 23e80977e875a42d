"""The page of events: who reported, what, filtered, in pages, as text, and each tenant's alone."""

from __future__ import annotations

import pytest

from gateway.admin.application import build
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes
from gateway.domain.event import Event, EventSeverity
from tests.admin_client import Admin
from tests.admin_fakes import HOSTILE, NOW


@pytest.fixture
def admin():
    made = Admin()
    pages = Pages(made.fakes.ports, made.auth)
    options = {"dashboard_routes": routes(made.fakes.ports, made.auth, pages), "error_page": pages.error_page}
    made.app = build(made.fakes.ports, made.auth, **options)
    return made


def event(number, *, agent="deploy-7", tenant="", kind="deploy.finished", message=""):
    at = NOW - number
    fields = {"revision": number, "who": HOSTILE}
    return Event(f"e-{number}", agent, kind, EventSeverity.ERROR, at, at, message, fields, tenant)


def seen(admin, name, path=""):
    client, _ = admin.with_cookie(name)
    answer = client.get(f"/dashboard/events{path}")
    assert answer.status_code == 200
    return answer.text


def test_who_reported_within_a_day_is_listed_with_a_link(admin):
    admin.fakes.events.rows = [event(1), event(2), event(90_000, agent="long-ago")]
    text = seen(admin, "vera")
    assert '<a href="/dashboard/events?agent=deploy-7">deploy-7</a>' in text
    assert "long-ago" not in text


def test_an_agents_events_are_shown_as_text_and_go_on_with_the_same_filter(admin):
    admin.fakes.events.rows = [event(number, message=HOSTILE) for number in range(60)]
    text = seen(admin, "vera", "?agent=deploy-7&severity=error")
    assert HOSTILE not in text
    assert "revision 3" in text
    assert "/dashboard/events?agent=deploy-7&amp;severity=error&amp;cursor=50" in text
    assert "No event matches" in seen(admin, "vera", "?agent=deploy-7&kind=other&severity=nonsense")


def test_a_user_of_a_tenant_sees_its_own_alone(admin):
    admin.fakes.events.rows = [event(1, tenant="acme"), event(2, agent="theirs", tenant="globex")]
    assert "theirs" not in seen(admin, "tina")
    assert "No event matches" in seen(admin, "tina", "?agent=theirs")
    assert "theirs" in seen(admin, "vera")


def test_an_empty_page_says_how_to_begin(admin):
    assert "SENTINEL_EVENTS_TOKEN" in seen(admin, "vera")
