"""What the API answers and does."""

from __future__ import annotations

import re

import pytest

from gateway.errors import StoreUnavailableError
from tests.admin_client import API, Admin, assert_problem
from tests.admin_fakes import BROKEN, NOW, PASSWORD


@pytest.fixture
def admin():
    return Admin()


@pytest.fixture
def ana(admin):
    return admin.as_("ana")


def test_the_root_names_the_service(admin):
    answer = admin.anonymous.get("/").json()
    assert (answer["service"], answer["status"]) == ("SentinelStack", "operational")
    assert re.match(r"\d+\.\d+\.\d+", answer["version"])


def test_health_tells_why_control_is_not_ready(admin):
    assert admin.anonymous.get("/health/ready").status_code == 200
    admin.fakes.reasons.append("the store is away since 12 s")
    for path in ("/health/ready", f"{API}/health"):
        answer = admin.anonymous.get(path)
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["the store is away since 12 s"]
    assert admin.anonymous.get("/health/live").status_code == 200


def test_signing_in_with_a_password_gives_a_working_token(admin):
    login = {"email": " Ana@Example.org ", "password": PASSWORD}
    token = admin.anonymous.post(f"{API}/auth/login", json=login).json()["token"]
    me = admin.anonymous.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"}).json()
    assert (me["name"], me["role"]) == ("ana@example.org", "admin")
    assert admin.verbs[0] == "user.signed_in"


def test_requests_are_found_by_their_facts_page_by_page(ana):
    failed = ana.get(f"{API}/requests?status=5&limit=500").json()["items"]
    assert failed and all(row["status"] == 502 and row["target"] == BROKEN for row in failed)
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = ana.get(f"{API}/requests", params={"status": 5, "limit": 4, "cursor": cursor}).json()
        seen += page["items"]
        cursor, pages = page["next"], pages + 1
    assert seen == failed
    assert pages == -(-len(failed) // 4)


def test_requests_are_found_by_time(ana):
    window = {"since": "2026-11-21T03:03:00Z", "until": "2026-11-21T04:03:30+01:00", "limit": 500}
    times = [row["completed_at"] for row in ana.get(f"{API}/requests", params=window).json()["items"]]
    assert times and all("2026-11-21T03:03:00" <= time < "2026-11-21T03:03:30" for time in times)


def test_the_parts_of_an_incident_are_the_parts_of_the_whole(ana):
    whole = ana.get(f"{API}/incidents/inc-1").json()
    assert ana.get(f"{API}/incidents/inc-1/timeline").json()["items"] == whole["timeline"]
    assert ana.get(f"{API}/incidents/inc-1/plan").json()["items"] == whole["actions"]
    assert ana.get(f"{API}/incidents/inc-1/diagnosis").json() == whole["diagnosis"]
    assert ana.get(f"{API}/incidents/inc-1/evidence").json()["items"] == whole["diagnosis"]["evidence"]


def test_an_incident_without_a_diagnosis_says_so(ana):
    assert "no diagnosis yet" in assert_problem(ana.get(f"{API}/incidents/inc-3/diagnosis"), 404)["detail"]
    assert ana.get(f"{API}/incidents/inc-3/evidence").json() == {"items": [], "next": None}


def test_incidents_are_listed_by_state_and_severity(ana):
    def ids(query):
        return [row["id"] for row in ana.get(f"{API}/incidents?{query}").json()["items"]]

    assert ids("") == ["inc-1", "inc-2", "inc-3"]
    assert ids("state=open") == ["inc-1", "inc-3"]
    assert ids("state=CLOSED&severity=P3") == ["inc-2"]


def test_the_second_to_decide_learns_who_was_first(admin):
    assert admin.as_("otto").post(f"{API}/actions/a-2/approve").json()["state"] == "APPROVED"
    refused = assert_problem(admin.as_("ana").post(f"{API}/actions/a-2/reject", json={"reason": "no"}), 409)
    assert "otto@example.org" in refused["detail"]
    assert [row[0] for row in admin.fakes.decisions.made] == ["approve"]
    assert admin.verbs[0] == "action.approved"
    assert admin.fakes.audit.rows[0].actor == "user otto@example.org"


def test_an_approval_holds_for_exactly_the_action_that_was_shown(admin):
    ana = admin.as_("ana")
    shown = next(one for one in ana.get(f"{API}/incidents/inc-1/plan").json()["items"] if one["id"] == "a-2")
    other = assert_problem(ana.post(f"{API}/actions/a-2/approve", json={"fingerprint": "0" * 32}), 409)
    assert "not what was shown" in other["detail"]
    assert ana.post(f"{API}/actions/a-2/approve", json={"fingerprint": shown["fingerprint"]}).status_code == 200


def test_closing_by_hand_needs_a_reason_and_keeps_it(admin, ana):
    assert_problem(ana.post(f"{API}/incidents/inc-1/close", json={"reason": ""}), 422, field="reason")
    closed = ana.post(f"{API}/incidents/inc-1/close", json={"reason": "planned test"}).json()
    assert (closed["state"], closed["close_reason"]) == ("CLOSED", "planned test")
    assert_problem(ana.post(f"{API}/incidents/inc-1/close", json={"reason": "again"}), 409)
    assert admin.fakes.audit.rows[0].detail == {"reason": "planned test"}


def test_buckets_add_up_whatever_the_step(admin, ana):
    span = {"from": "2026-11-21T02:05:00Z", "to": "2026-11-21T03:05:00Z", "route": "payments"}
    sums = []
    for step in (60, 300, 3600):
        items = ana.get(f"{API}/buckets", params={**span, "step": step}).json()["items"]
        assert len(items) == 3600 // step
        sums.append([sum(row["numbers"][name] for row in items) for name in ("requests", "errors", "bytes_out")])
    assert sums[0] == sums[1] == sums[2]
    stored = [
        tally
        for key, tally in admin.fakes.buckets.rows
        if key.route == "payments" and key.minute >= NOW // 60 * 60 - 3540
    ]
    assert sums[0][:2] == [sum(tally.requests for tally in stored), sum(tally.errors for tally in stored)]


def test_percentiles_rise_where_the_target_failed(ana):
    calm, broken = (
        ana.get(
            f"{API}/buckets?route=payments&from=2026-11-21T{at}:00Z&to=2026-11-21T{at[:4]}{int(at[4]) + 1}:00Z"
        ).json()["items"][0]["numbers"]
        for at in ("02:20", "02:58")
    )
    assert calm["p50_ms"] <= calm["p95_ms"] <= calm["p99_ms"]
    assert broken["p99_ms"] > 3 * calm["p99_ms"]
    assert broken["error_share"] > 0.15 > calm["error_share"]


def test_minutes_without_traffic_are_there_with_null_percentiles(ana):
    items = ana.get(f"{API}/buckets?from=2026-11-20T00:00:00Z&to=2026-11-20T00:02:00Z").json()["items"]
    assert [(row["numbers"]["requests"], row["numbers"]["p95_ms"]) for row in items] == [(0, None), (0, None)]


def test_upstreams_show_the_state_of_each_target_and_why(ana):
    upstreams = {row["name"]: row for row in ana.get(f"{API}/upstreams").json()["items"]}
    states = {target["name"]: target for target in upstreams["payments"]["targets"]}
    assert states[BROKEN]["state"] == "ejected"
    assert states[BROKEN]["directive"]["action_id"] == "a-1"
    assert states[BROKEN]["last_minute"]["requests"] == 0
    assert {target["state"] for target in upstreams["orders"]["targets"]} == {"ok"}
    assert upstreams["orders"]["depends_on"] == ["payments"]


def test_the_overview_holds_what_matters_now(ana):
    overview = ana.get(f"{API}/overview").json()
    assert [row["id"] for row in overview["incidents"]] == ["inc-1", "inc-3"]
    assert len(overview["series"]) == 30
    assert overview["last_minute"]["per_second"] == round(overview["last_minute"]["requests"] / 60, 3)
    assert overview["directives"][0]["target"] == BROKEN


def test_keys_of_another_gateway_are_taken_over_once_by_their_digests(admin, ana):
    body = {"keys": [{"digest": f"{number:064x}", "subject": "shop", "tenant": "acme"} for number in range(3)]}
    made = ana.post(f"{API}/keys/import", json=body | {"expires_in_s": 3600})
    assert made.status_code == 201
    assert [key["subject"] for key in made.json()["imported"]] == ["shop"] * 3
    assert ana.post(f"{API}/keys/import", json=body).json() == {"imported": [], "known": 3}
    assert admin.verbs[0] == "key.imported"
    assert_problem(ana.post(f"{API}/keys/import", json={"keys": [{"digest": "a-plain-key"}]}), 422)
    assert_problem(ana.post(f"{API}/keys/import", json={"keys": []}), 422)


def test_a_key_is_shown_once_and_listed_without_its_secret(admin, ana):
    made = ana.post(f"{API}/keys", json={"subject": "shop", "tenant": "acme", "expires_in_s": 3600}).json()
    assert made["key"].startswith(f"sk_{made['id']}_")
    assert made["expires_at"] == "2026-11-21T04:04:05Z"
    secret = made["key"].rpartition("_")[2]
    assert made["id"] in ana.get(f"{API}/keys").text
    assert secret not in ana.get(f"{API}/keys").text + ana.get(f"{API}/audit").text
    assert ana.delete(f"{API}/keys/{made['id']}").status_code == 204
    assert_problem(ana.delete(f"{API}/keys/{made['id']}"), 404)
    assert admin.verbs[:2] == ["key.revoked", "key.issued"]


def test_a_token_is_revoked_listed_and_taken_back_with_a_line_for_each(admin, ana):
    body = {"id": "https://issuer.example;4f1c", "expires_at": "2027-01-01T00:00:00Z", "reason": "stolen"}
    made = ana.post(f"{API}/revocations", json=body).json()
    assert (made["id"], made["expires_at"], made["reason"]) == (body["id"], body["expires_at"], "stolen")
    assert body["id"] in ana.get(f"{API}/revocations").text
    assert ana.delete(f"{API}/revocations/000000000001").status_code == 204
    assert_problem(ana.delete(f"{API}/revocations/000000000001"), 404)
    assert admin.verbs[:2] == ["token.restored", "token.revoked"]


@pytest.mark.parametrize(
    "body",
    [
        {"id": ""},
        {"id": "a b"},
        {"id": "x" * 257},
        {"id": "a", "expires_at": "2001-01-01T00:00:00Z"},
        {"id": "a", "expires_at": "2100-01-01T00:00:00Z"},
    ],
)
def test_a_revocation_that_makes_no_sense_is_422(ana, body):
    assert_problem(ana.post(f"{API}/revocations", json=body), 422)


def test_revocations_are_the_operators_not_a_tenants(admin):
    toni = admin.as_("toni")
    assert_problem(toni.get(f"{API}/revocations"), 403)
    assert_problem(toni.post(f"{API}/revocations", json={"id": "4f1c"}), 403)


def test_a_user_can_be_made_changed_and_deleted(admin, ana):
    made = ana.post(f"{API}/users", json={"email": "New@Example.org", "password": PASSWORD, "role": "operator"}).json()
    assert (made["email"], made["role"]) == ("new@example.org", "operator")
    assert_problem(ana.post(f"{API}/users", json={"email": "new@example.org", "password": PASSWORD}), 409)
    path = f"{API}/users/{made['id']}"
    other = "another quite long password"
    changed = ana.put(path, json={"role": "viewer", "password": other}).json()
    assert changed["role"] == "viewer"
    login = f"{API}/auth/login"
    assert_problem(admin.anonymous.post(login, json={"email": made["email"], "password": PASSWORD}), 401)
    assert admin.anonymous.post(login, json={"email": made["email"], "password": other}).status_code == 200
    assert ana.delete(path).status_code == 204
    assert_problem(ana.get(path), 404)
    changes = [entry.detail for entry in admin.fakes.audit.rows if entry.verb == "user.changed"]
    assert changes == [{"changed": "password, role"}]


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"disabled": True}, {"tenant": "acme"}])
def test_the_last_administrator_stays_one(admin, ana, change):
    refused = assert_problem(ana.put(f"{API}/users/u-1", json=change), 409)
    assert "last administrator" in refused["detail"]
    assert_problem(ana.delete(f"{API}/users/u-1"), 409)
    ana.put(f"{API}/users/u-2", json={"role": "admin"})
    assert ana.put(f"{API}/users/u-1", json=change).status_code == 200


def test_a_bad_configuration_is_refused_with_every_problem_and_changes_nothing(admin, ana):
    found = ana.post(f"{API}/config/check", json={"text": "[server]\nprot = 1"}).json()
    assert found["good"] is False and "did you mean 'port'" in found["problems"][0]
    refused = assert_problem(ana.post(f"{API}/config/apply", json={"text": "[server]\nprot = 1"}), 422)
    assert refused["problems"] == found["problems"]
    assert ana.get(f"{API}/config").json()["text"] == admin.fakes.configuration.revisions[0].text
    assert "config.applied" not in admin.verbs[:1]


def test_a_good_configuration_becomes_a_revision(admin, ana):
    made = ana.post(f"{API}/config/apply", json={"text": "[server]\n", "note": "smaller"}).json()
    assert (made["revision"], made["actor"], made["note"]) == (8, "user ana@example.org", "smaller")
    assert [row["revision"] for row in ana.get(f"{API}/config/history?limit=2").json()["items"]] == [8, 7]
    assert admin.verbs[0] == "config.applied"


def test_what_a_configuration_would_change_is_told_without_changing_it(admin, ana):
    found = ana.post(f"{API}/config/diff", json={"text": "[server]\n"}).json()
    assert found == {
        "good": True,
        "problems": [],
        "warnings": [],
        "changes": ["server.port 8000 → (default)"],
        "restart": ["server.port"],
        "unified": "-port = 8000",
    }
    bad = ana.post(f"{API}/config/diff", json={"text": "[server]\nprot = 1"}).json()
    assert (bad["good"], bad["changes"]) == (False, [])
    assert ana.get(f"{API}/config/diff?revision=6").json()["changes"] == found["changes"]
    assert ana.get(f"{API}/config/diff").json()["changes"] == []
    assert_problem(ana.get(f"{API}/config/diff?revision=5"), 404)
    assert len(admin.fakes.configuration.revisions) == 2


def test_an_earlier_configuration_is_put_in_force_again_and_audited(admin, ana):
    made = ana.post(f"{API}/config/rollback", json={"revision": 6, "note": "it was better"}).json()
    assert (made["revision"], made["text"], made["note"]) == (8, "[server]\n", "it was better")
    assert admin.verbs[0] == "config.rolled_back"
    assert_problem(ana.post(f"{API}/config/rollback", json={"revision": 5}), 404)
    assert_problem(ana.post(f"{API}/config/rollback", json={}), 422)


def test_a_store_that_is_away_is_a_503_with_a_time_to_come_back(admin, ana):
    async def away(_wanted):
        raise StoreUnavailableError("the database does not answer")

    admin.fakes.requests.search = away
    answer = ana.get(f"{API}/requests")
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


def test_a_decision_stands_even_if_its_audit_line_cannot_be_written(admin):
    otto = admin.as_("otto")

    async def away(_entry):
        raise StoreUnavailableError("the database does not answer")

    admin.fakes.audit.write = away
    assert otto.post(f"{API}/actions/a-2/approve").status_code == 200


def test_the_trail_names_who_did_what(admin, ana):
    ana.post(f"{API}/keys", json={"subject": "x"})
    first = admin.as_("vera").get(f"{API}/audit")
    assert_problem(first, 403)
    items = admin.as_("otto").get(f"{API}/audit").json()["items"]
    assert (items[0]["verb"], items[0]["actor"]) == ("key.issued", "user ana@example.org")
