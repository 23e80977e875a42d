"""Objectives over the API: what is left, what burns, the report, and who may see it."""

from __future__ import annotations

from gateway.domain.objectives import ADVICE, BudgetLevel
from gateway.notify.objective_report import daily_report
from tests.admin_client import API, Admin, assert_problem
from tests.admin_fakes import NOW, some_objectives


def test_objectives_say_what_is_left_and_what_to_do():
    orders, payments = Admin().as_("vera").get(f"{API}/slos").json()["items"]
    assert (orders["remaining"], orders["level"]) == (1.0, "normal")
    assert payments["level"] == "hotfixes"
    assert payments["advice"] == ADVICE[BudgetLevel.HOTFIXES]
    assert "P1" in {burn["severity"] for burn in payments["burns"] if burn["firing"]}


def test_the_report_is_markdown_and_neither_is_for_users_of_one_tenant():
    admin = Admin()
    answer = admin.as_("vera").get(f"{API}/slos/report")
    assert answer.headers["content-type"].startswith("text/markdown")
    assert "payments-fast" in answer.text
    for path in ("slos", "slos/report"):
        assert_problem(admin.as_("tina").get(f"{API}/{path}"), 403)


def test_the_daily_report_puts_trouble_first_and_says_what_to_do():
    text = daily_report(some_objectives(), NOW)
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| payments-fast", "| orders-availability"]
    assert "look now" in text
    assert "Only hotfixes" in text


def test_the_daily_report_of_a_calm_day_says_so():
    assert "none burns too fast" in daily_report(some_objectives()[:1], NOW)
    assert "[[slos]]" in daily_report([], NOW)
