"""The event log over HTTP: who may report and read, what of a batch is taken, and what a refusal names."""

from __future__ import annotations

import json

import pytest

from gateway.errors import StoreUnavailableError
from gateway.ingest import event_intake
from tests.admin_client import Admin, assert_problem

GOOD = {"agent_id": "web-1", "kind": "deploy.finished", "at": "2026-11-21T03:00:00Z", "id": "d-57"}
TOKEN = "an events token of decent length"


@pytest.fixture
def admin():
    return Admin()


def report(client, body, **more):
    return client.post("/v1/events", json=body, **more)


def test_an_event_is_taken_and_read_back(admin):
    otto = admin.as_("otto")
    sent = {**GOOD, "severity": "warning", "message": "57", "fields": {"revision": 57, "ok": True}}
    assert report(otto, sent).json() == {"stored": 1, "duplicates": 0, "refused": []}
    (read,) = otto.get("/v1/agents/web-1/events").json()["items"]
    assert sent.items() <= read.items()
    assert (read["received_at"], read["tenant"]) == ("2026-11-21T03:04:05Z", "")


def test_a_batch_is_taken_item_by_item_and_says_which_were_not(admin):
    otto = admin.as_("otto")
    bad = [
        {**GOOD, "severity": "fatal"},
        {"agent_id": "web-1"},
        {**GOOD, "kind": "No Kind"},
        {**GOOD, "at": "2026-11-23T00:00:00Z"},
        {**GOOD, "fields": {"much": "x" * 2000}},
        {**GOOD, "colour": "red"},
        {**GOOD, "at": "2026-11-21T03:00:00"},
        "event",
    ]
    answer = report(otto, {"events": [GOOD, *bad, {**GOOD, "id": "d-58"}, GOOD]}).json()
    assert (answer["stored"], answer["duplicates"]) == (2, 1)
    assert [(one["index"], one["field"]) for one in answer["refused"]] == [
        (1, "severity"),
        (2, "kind"),
        (3, "kind"),
        (4, "at"),
        (5, "fields.much"),
        (6, "colour"),
        (7, "at"),
        (8, ""),
    ]
    assert all(one["detail"] for one in answer["refused"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "events"),
        (b"{", ""),
        (b"null", "events[0]"),
        (b'"x"', "events[0]"),
        (b'{"events": 3}', "events"),
        (b'{"events": [], "more": 1}', "more"),
        (json.dumps({**GOOD, "kind": ""}).encode(), "events[0].kind"),
        (b'{"agent_id": "a", "kind": "k", "message": "\\ud800"}', ""),
        (b'{"agent_id": "a", "kind": "k", "message": "\\u0000"}', "events[0].message"),
        (b"\xff\xfe", "events[0]"),
    ],
    ids=["empty", "broken", "null", "text", "no-list", "unknown", "one-bad", "surrogate", "nul", "no-utf8"],
)
def test_where_nothing_can_be_taken_the_field_is_named(admin, body, field):
    answer = admin.as_("otto").post("/v1/events", content=body)
    assert_problem(answer, 422, field=field)
    assert admin.fakes.events.rows == []


def test_a_batch_beyond_the_bound_is_refused_whole(admin):
    answer = report(admin.as_("otto"), [GOOD] * 1001)
    assert "at most 1000" in assert_problem(answer, 422, field="events")["detail"]


def test_the_token_of_programs_reports_and_reads_nothing(admin):
    admin.fakes.program_tokens["events"] = TOKEN
    shown = {"Authorization": f"Bearer {TOKEN}"}
    assert report(admin.anonymous, GOOD, headers=shown).json()["stored"] == 1
    assert_problem(admin.anonymous.get("/v1/agents/web-1/events", headers=shown), 401)
    assert_problem(admin.anonymous.get("/api/v1/incidents", headers=shown), 401)
    assert_problem(report(admin.anonymous, GOOD, headers={"Authorization": f"Bearer {TOKEN}x"}), 401)


def test_without_a_configured_token_no_empty_one_is_good(admin):
    assert_problem(report(admin.anonymous, GOOD, headers={"Authorization": "Bearer "}), 401)
    assert_problem(report(admin.anonymous, GOOD), 401)


def test_viewers_read_but_do_not_report(admin):
    assert_problem(report(admin.as_("vera"), GOOD), 403)
    assert admin.as_("vera").get("/v1/agents/web-1/events").status_code == 200


def test_a_user_of_a_tenant_reports_for_it_and_sees_nothing_else(admin):
    toni, otto = admin.as_("toni"), admin.as_("otto")
    assert report(toni, {**GOOD, "tenant": "globex"}).json()["problems"] == [
        "events[0].tenant: you may only report for tenant acme"
    ]
    report(toni, GOOD)
    report(otto, {**GOOD, "tenant": "globex"})
    seen = {
        name: [row["tenant"] for row in client.get("/v1/agents/web-1/events").json()["items"]]
        for name, client in (("toni", toni), ("otto", otto))
    }
    assert seen == {"toni": ["acme"], "otto": ["acme", "globex"]}
    assert [row["tenant"] for row in toni.get("/v1/agents/web-1/events?tenant=globex").json()["items"]] == ["acme"]


def test_a_query_that_makes_no_sense_names_its_parameter(admin):
    vera = admin.as_("vera")
    for query, field in (
        ("severity=fatal", "severity"),
        ("from=yesterday", "from"),
        ("trace_id=x", "trace_id"),
        ("limit=0", "limit"),
    ):
        assert_problem(vera.get(f"/v1/agents/web-1/events?{query}"), 422, field=field)


def test_too_many_at_once_and_a_dead_store_are_told_to_come_again(admin, monkeypatch):
    admin.fakes.events.failure = StoreUnavailableError("the database is not available")
    assert_problem(report(admin.as_("otto"), GOOD), 503)
    monkeypatch.setattr(event_intake, "MOST_AT_ONCE", 0)
    answer = report(admin.as_("otto"), GOOD)
    assert_problem(answer, 429)
    assert answer.headers["retry-after"] == "1"
