"""The switch over the API and on the dashboard, and taking actions back."""

from __future__ import annotations

import pytest

from gateway.domain.plan import Action, ActionKind, ActionState, Risk
from gateway.domain.stop import Stop
from gateway.errors import ConflictError
from gateway.remediate.approval import may_take_back, not_stopped
from tests.admin_client import API, ORIGIN, Admin, assert_problem
from tests.integration.admin.test_objectives_page import Browser


@pytest.fixture
def admin():
    return Admin()


def test_an_operator_stops_all_actions_and_lets_them_run_and_both_leave_a_line(admin):
    otto = admin.as_("otto")
    stopped = otto.post(f"{API}/stop", json={"why": "moving the database"}).json()
    assert (stopped["stopped"], stopped["by"]) == (True, "user otto@example.org")
    assert otto.get(f"{API}/stop").json() == stopped
    assert otto.delete(f"{API}/stop").json()["stopped"] is False
    assert admin.verbs[:2] == ["actions.released", "actions.stopped"]


def test_viewers_may_look_at_the_switch_and_not_turn_it(admin):
    vera = admin.as_("vera")
    assert vera.get(f"{API}/stop").json() == {"stopped": False, "by": "", "at": None, "why": ""}
    assert_problem(vera.post(f"{API}/stop", json={}), 403)


def test_what_is_refused_while_it_is_on_says_who_turned_it_and_what_mends_it():
    with pytest.raises(ConflictError, match="stopped by user ana at 2023-11-14 22:13 UTC") as refused:
        not_stopped(Stop(on=True, by="user ana", at=1_700_000_000.0, why="moving"))
    assert "stop-actions off" in refused.value.remedy


def test_what_was_done_outside_cannot_be_taken_back_by_the_gateway(admin):
    done = Action(
        id="a-9",
        incident_id="in-1",
        kind=ActionKind.RUN_OUTSIDE,
        upstream="payments",
        target="",
        ttl_s=0.0,
        risk=Risk.SAFE,
        risk_reason="",
        effect="",
        undo="",
        success_signal="",
        state=ActionState.EXECUTED,
        created_at=0.0,
        expires_at=1.0,
        command="restart",
        undo_command="stop",
    )
    otto = next(user for user in admin.fakes.users.rows.values() if user.email == "otto@example.org")
    with pytest.raises(ConflictError, match="outside the gateway"):
        may_take_back(done, otto)


def test_the_dashboard_stops_all_actions_shows_it_on_every_page_and_lets_them_run_again():
    otto = Browser("otto")
    headers = {"Origin": ORIGIN, "Accept": "text/html"}
    made = otto.client.post("/dashboard/stop", data={"csrf_token": otto.csrf, "why": "<b>moving</b>"}, headers=headers)
    assert (made.status_code, otto.fakes.stop.known.on) == (303, True)
    page = otto.get().text
    assert "Actions are stopped" in page and "&lt;b&gt;moving&lt;/b&gt;" in page
    otto.client.post("/dashboard/stop/off", data={"csrf_token": otto.csrf}, headers=headers)
    assert "Actions are stopped" not in otto.get().text
    assert not otto.fakes.stop.known.on


def test_a_viewer_sees_that_actions_are_stopped_and_has_no_button():
    vera = Browser("vera")
    vera.fakes.stop.known = Stop(on=True, by="user ana", at=1.0)
    text = vera.get().text
    assert "Actions are stopped" in text and "/dashboard/stop/off" not in text
