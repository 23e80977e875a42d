"""Silences over the API: made, listed, ended, and refused where they make no sense."""

from __future__ import annotations

import pytest

from tests.admin_client import API, Admin, assert_problem

GOOD = {"upstream": "payments", "severities": ["P3"], "ends_at": "2026-11-21T05:00:00Z", "why": "migration"}


@pytest.fixture
def admin():
    return Admin()


def test_an_operator_makes_a_silence_and_ends_it_and_both_leave_a_line(admin):
    otto = admin.as_("otto")
    made = otto.post(f"{API}/silences", json=GOOD).json()
    assert (made["state"], made["upstream"], made["who"]) == ("in force", "payments", "user otto@example.org")
    assert otto.get(f"{API}/silences").json()["items"][0] == made
    assert otto.delete(f"{API}/silences/{made['id']}").status_code == 204
    assert otto.get(f"{API}/silences").json()["items"][0]["state"] == "over"
    assert_problem(otto.delete(f"{API}/silences/{made['id']}"), 404)
    assert admin.verbs[:2] == ["silence.ended", "silence.made"]
    assert admin.fakes.audit.rows[0].detail["matches"] == "upstream payments, P3"


def test_one_to_come_says_so(admin):
    made = admin.as_("otto").post(f"{API}/silences", json={**GOOD, "starts_at": "2026-11-21T04:00:00Z"}).json()
    assert made["state"] == "to come"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"upstream": "", "severities": []}, "upstream"),
        ({"ends_at": "2026-11-21T03:00:00Z"}, "ends_at"),
        ({"ends_at": "2027-01-21T03:00:00Z"}, "ends_at"),
        ({"starts_at": "2026-11-21T06:00:00Z"}, "ends_at"),
        ({"starts_at": "2027-11-21T06:00:00Z", "ends_at": "2027-11-22T06:00:00Z"}, "starts_at"),
        ({"why": ""}, "why"),
        ({"severities": ["P5"]}, "severities"),
        ({"signals": ["noise"]}, "signals"),
        ({"until": "tomorrow"}, None),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_field(admin, change, field):
    problem = assert_problem(admin.as_("otto").post(f"{API}/silences", json={**GOOD, **change}), 422)
    if field is not None:
        assert problem["field"].partition("[")[0] == field
    assert "silence.made" not in admin.verbs


def test_viewers_look_and_users_of_one_tenant_do_not_even_that(admin):
    assert admin.as_("vera").get(f"{API}/silences").status_code == 200
    assert_problem(admin.as_("vera").post(f"{API}/silences", json=GOOD), 403)
    assert_problem(admin.as_("toni").get(f"{API}/silences"), 403)
    assert_problem(admin.as_("toni").post(f"{API}/silences", json=GOOD), 403)
