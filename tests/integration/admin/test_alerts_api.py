"""Alerts, dead letters and deploys over the API and on the pages: who may, what is answered, and how it is shown."""

from __future__ import annotations

from html import escape

import msgspec
import pytest

from gateway.admin.application import build
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes
from gateway.domain.diagnosis import Evidence
from gateway.domain.incident import AlertSource, AlertWords, ExternalAlert, Place, Severity
from gateway.domain.sources import Received
from gateway.ingest.alerts import KINDS
from tests.admin_client import API, Admin, assert_problem
from tests.admin_fakes import HOSTILE, NOW

ALERTS, DEPLOYS = "a" * 32, "d" * 32
FIRING = {"id": "disk-7", "service": "payments", "title": "The disk is full", "severity": "critical"}
DEPLOY = {"service": "payments", "version": "v2.3", "url": "https://ci.example.org/42", "at": "2026-11-21T03:00:00Z"}


@pytest.fixture
def admin():
    made = Admin()
    pages = Pages(made.fakes.ports, made.auth)
    options = {"dashboard_routes": routes(made.fakes.ports, made.auth, pages), "error_page": pages.error_page}
    made.app = build(made.fakes.ports, made.auth, **options)
    made.fakes.program_tokens = {"alerts": ALERTS, "deploys": DEPLOYS}
    return made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("source", KINDS)
def test_nobody_without_the_token_gets_as_far_as_the_body(admin, source):
    for headers in ({}, bearer("b" * 32), bearer(DEPLOYS), {"Authorization": f"Basic {ALERTS}"}):
        answer = admin.anonymous.post(f"{API}/alerts/{source}", content=b"no json", headers=headers)
        assert_problem(answer, 401)
    assert admin.fakes.letters.rows == {}


def test_a_sender_with_the_token_is_told_what_became_of_its_alerts(admin):
    answer = admin.anonymous.post(f"{API}/alerts/generic", json=FIRING, headers=bearer(ALERTS))
    assert answer.status_code == 200
    assert msgspec.json.decode(answer.content, type=Received) == Received(firing=1)
    (kept,) = admin.as_("vera").get(f"{API}/alerts").json()["items"]
    assert (kept["place"]["upstream"], kept["severity"], kept["ended_at"]) == ("payments", "P1", None)
    assert kept["words"]["name"] == "The disk is full"


def test_the_token_of_alerts_opens_nothing_else(admin):
    for method, path in (("GET", "alerts"), ("GET", "dead-letters"), ("POST", "deploys"), ("GET", "incidents")):
        assert_problem(admin.anonymous.request(method, f"{API}/{path}", headers=bearer(ALERTS)), 401)


def test_a_wrong_body_names_the_field_and_is_kept(admin):
    body = {"alerts": [FIRING, {**FIRING, "starts_at": "noon"}]}
    answer = admin.anonymous.post(f"{API}/alerts/generic", json=body, headers=bearer(ALERTS))
    problem = assert_problem(answer, 422, field="alerts[1].starts_at")
    (row,) = admin.as_("vera").get(f"{API}/dead-letters").json()["items"]
    assert (row["source"], row["field"]) == ("generic", "alerts[1].starts_at")
    assert "body" not in row
    assert row["id"] in problem["remedy"]
    assert "noon" in admin.as_("otto").get(f"{API}/dead-letters/{row['id']}").json()["body"]
    assert_problem(admin.as_("vera").get(f"{API}/dead-letters/{row['id']}"), 403)


def test_dead_letters_are_purged_by_operators_and_that_leaves_a_line(admin):
    for _ in range(3):
        admin.anonymous.post(f"{API}/alerts/grafana", content=b"{", headers=bearer(ALERTS))
    one = next(iter(admin.fakes.letters.rows))
    assert_problem(admin.as_("vera").delete(f"{API}/dead-letters"), 403)
    assert admin.as_("otto").delete(f"{API}/dead-letters/{one}").status_code == 204
    assert_problem(admin.as_("otto").delete(f"{API}/dead-letters/{one}"), 404)
    assert admin.as_("otto").delete(f"{API}/dead-letters").json() == {"purged": 2}
    assert admin.verbs[:2] == ["dead_letters.purged", "dead_letter.purged"]


def test_where_alerts_are_not_taken_it_is_said_how_they_would_be(admin):
    admin.fakes.alert_settings = None
    problem = assert_problem(admin.as_("otto").post(f"{API}/alerts/generic", json=FIRING), 404)
    assert "[sources.alerts]" in problem["remedy"]


def test_an_unknown_kind_of_alert_is_answered_with_the_known_ones(admin):
    problem = assert_problem(admin.anonymous.post(f"{API}/alerts/nagios", json={}, headers=bearer(ALERTS)), 404)
    assert "alertmanager, grafana, datadog, generic" in problem["remedy"]


def test_a_pipeline_tells_of_a_deploy_once_however_often_it_tries(admin):
    first, again = (admin.anonymous.post(f"{API}/deploys", json=DEPLOY, headers=bearer(DEPLOYS)) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    (kept,) = admin.as_("vera").get(f"{API}/deploys").json()["items"]
    assert (kept["service"], kept["version"], kept["at"]) == ("payments", "v2.3", "2026-11-21T03:00:00Z")
    assert kept["actor"] == "program deploys"


def test_deploys_are_listed_by_service_and_forgotten_by_operators(admin):
    otto = admin.as_("otto")
    made = [otto.post(f"{API}/deploys", json={"service": one, "version": "1"}).json() for one in ("orders", "payments")]
    listed = otto.get(f"{API}/deploys", params={"service": "orders"}).json()["items"]
    assert [one["id"] for one in listed] == [made[0]["id"]]
    assert made[0]["actor"] == "user otto@example.org"
    assert_problem(admin.as_("vera").delete(f"{API}/deploys/{made[0]['id']}"), 403)
    assert otto.delete(f"{API}/deploys/{made[0]['id']}").status_code == 204
    assert_problem(otto.delete(f"{API}/deploys/{made[0]['id']}"), 404)
    assert admin.verbs[:2] == ["deploy.deleted", "deploy.told"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"service": ""}, "service"),
        ({"version": "v\n2"}, "version"),
        ({"at": "2026-11-21T04:00:00Z"}, "at"),
        ({"at": "1999-11-21T04:00:00Z"}, "at"),
        ({"at": "2026-11-21T03:00:00"}, "at"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"commit": "abc"}, "commit"),
    ],
    ids=["no-service", "newline", "to-come", "long-ago", "no-zone", "script", "unknown"],
)
def test_a_deploy_that_makes_no_sense_is_refused_with_the_field(admin, change, field):
    answer = admin.anonymous.post(f"{API}/deploys", json={**DEPLOY, **change}, headers=bearer(DEPLOYS))
    assert_problem(answer, 422, field=field)
    assert admin.fakes.deploys.rows == {}


def test_users_of_one_tenant_see_nothing_of_it(admin):
    toni = admin.as_("toni")
    for path in ("alerts", "dead-letters", "deploys"):
        assert_problem(toni.get(f"{API}/{path}"), 403)


def test_the_overview_says_what_changed_and_what_could_not_be_read(admin):
    admin.anonymous.post(f"{API}/deploys", json={**DEPLOY, "version": HOSTILE}, headers=bearer(DEPLOYS))
    admin.anonymous.post(f"{API}/alerts/generic", json={"labels": {HOSTILE: {}}}, headers=bearer(ALERTS))
    admin.anonymous.post(f"{API}/alerts/grafana", content=b"{", headers=bearer(ALERTS))
    client, _ = admin.with_cookie("vera")
    page = client.get("/dashboard").text
    assert f"{escape(HOSTILE)} of payments deployed" in page
    assert 'href="https://ci.example.org/42" rel="noopener noreferrer"' in page
    assert "2 alert bodies from outside could not be read" in page
    assert HOSTILE not in page
    tenants, _ = admin.with_cookie("tina")
    assert "could not be read" not in tenants.get("/dashboard").text


def test_an_incident_shows_an_alert_in_its_own_words_and_a_deploy_in_its_chart(admin):
    alert = ExternalAlert(
        fingerprint="f",
        source=AlertSource.ALERTMANAGER,
        severity=Severity.P2,
        place=Place(upstream="payments"),
        starts_at=NOW - 400,
        received_at=NOW - 390,
        heard_at=NOW - 390,
        words=AlertWords("HighErrors", HOSTILE, HOSTILE, f"javascript:{HOSTILE}", ((HOSTILE, HOSTILE),)),
        ended_at=NOW - 100,
        resolved=True,
    )
    incidents = admin.fakes.incidents
    incidents.put(msgspec.structs.replace(incidents.rows[0], alerts=(alert,)))
    told = {"service": "payments", "version": "v2.3", "at": "2026-11-21T02:56:00Z"}
    admin.anonymous.post(f"{API}/deploys", json=told, headers=bearer(DEPLOYS))
    client, _ = admin.with_cookie("vera")
    page = client.get("/dashboard/incidents/inc-1").text
    assert "Said by other monitoring" in page
    assert "HighErrors" in page
    assert escape(HOSTILE) in page
    assert HOSTILE not in page
    assert 'href="javascript:' not in page
    assert "deploy: v2.3 of payments deployed" in page
    story = page[page.index('id="timeline"') :]
    assert story.index("v2.3 of payments deployed.") < story.index(incidents.rows[0].timeline[0].text)
    exported = client.get("/dashboard/incidents/inc-1.md").text
    assert "Said by Alertmanager, P2, since" in exported
    assert HOSTILE not in exported
    assert admin.as_("vera").get(f"{API}/incidents/inc-1").json()["alerts"][0]["words"]["summary"] == HOSTILE


def test_an_incident_shows_what_the_revision_before_it_changed(admin):
    incidents = admin.fakes.incidents
    before = incidents.rows[0]
    changed = Evidence(
        "e9",
        "change",
        "Configuration revision 7 was made 40 s before the onset.",
        {"reference": "7", "difference": f'route orders: limit "9/s" → "1/s"\nroute {HOSTILE} added'},
    )
    diagnosis = msgspec.structs.replace(before.diagnosis, evidence=(*before.diagnosis.evidence, changed))
    incidents.put(msgspec.structs.replace(before, diagnosis=diagnosis))
    client, _ = admin.with_cookie("vera")
    page = client.get("/dashboard/incidents/inc-1").text
    assert "route orders: limit &#34;9/s&#34; → &#34;1/s&#34;" in page
    assert 'href="/dashboard/configuration?revision=7"' in page
    assert HOSTILE not in page
    assert 'limit "9/s" → "1/s"' in client.get("/dashboard/incidents/inc-1.md").text
