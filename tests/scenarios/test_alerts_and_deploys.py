"""Alerts and deploys on the running program: what the how-to page tells people to send, and what comes of it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from tests import running
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "alerts-and-deploys.md").read_text()
ALERTS, DEPLOYS = "a" * 32, "d" * 32
SEEN_S = 120.0  # a round comes every five seconds; the rest is for a busy machine
HEADERS = {"Authorization": f"Bearer {ALERTS}"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Gateway]:
    """A shop whose orders break just after a deploy; payments, cart and search are only spoken of."""
    with shop.targets(4) as made, shop.targets(1) as (orders,):
        upstreams = dict(zip(("payments", "cart", "search", "mail"), ([(one, 1)] for one in made), strict=True))
        text = shop.config(upstreams | {"orders": [(orders, 1)]}, more="[sources.alerts]\n[sources.deploys]\n")
        folder = tmp_path_factory.mktemp("alerts")
        tokens = {"SENTINEL_ALERTS_TOKEN": ALERTS, "SENTINEL_DEPLOYS_TOKEN": DEPLOYS}
        with running.gateway(folder, text, **tokens) as started, shop.calling(started.url, "/orders/1"):
            started.wait(lambda: orders.count > 100, SEEN_S, "there is traffic to compare with")
            started.sentinel("deploys", "add", "orders", "v2.3")
            orders.broken = True
            yield started


def send(gateway: running.Gateway, kind: str, body: Any) -> httpx2.Response:
    return httpx2.post(f"{gateway.admin_url}/api/v1/alerts/{kind}", json=body, headers=HEADERS, timeout=30)


def alertmanager(status: str, service: str) -> dict[str, Any]:
    """A delivery as Alertmanager makes it."""
    now = datetime.now(UTC).isoformat()
    labels = {"alertname": "QueueGrows", "service": service, "severity": "warning"}
    alert = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "The queue of <b>mails</b> grows"},
        "startsAt": now,
        "endsAt": now if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"c0ffee{service}",
    }
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "sentinel",
        "groupLabels": {},
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": [alert],
    }


def test_a_deploy_just_before_errors_is_named_as_what_changed(gateway: running.Gateway) -> None:
    named = re.compile(r'Deploy "v2\.3 of orders" was made \d+ s before the onset\. It concerns orders\.')

    def told(one: dict[str, Any]) -> bool:
        evidence = (one["diagnosis"] or {}).get("evidence", ())
        return any(fact["kind"] == "change" and named.search(fact["statement"]) for fact in evidence)

    found = shop.incident_when(gateway, "orders", told, SEEN_S, "the deploy is among the evidence")
    assert found["signal"] == "error_rate"
    assert any(named.search(step.replace("deploy", "Deploy", 1)) for step in found["diagnosis"]["report"]["steps"])
    (deploy,) = [one for one in gateway.api("/api/v1/deploys")["items"] if one["service"] == "orders"]
    assert deploy["version"] == "v2.3"


def test_an_alert_opens_an_incident_and_its_end_closes_it(gateway: running.Gateway) -> None:
    assert send(gateway, "alertmanager", alertmanager("firing", "mail")).json()["firing"] == 1
    opened = shop.incident_when(gateway, "mail", lambda one: one["diagnosis"], SEEN_S, "the alert is an incident")
    assert (opened["signal"], opened["severity"]) == ("alert", "P3")
    assert opened["title"] == "Alertmanager reports trouble at upstream mail"
    assert opened["alerts"][0]["words"]["summary"] == "The queue of <b>mails</b> grows"
    assert send(gateway, "alertmanager", alertmanager("firing", "mail")).json()["repeated"] == 1
    assert send(gateway, "alertmanager", alertmanager("resolved", "mail")).json()["resolved"] == 1
    closed = shop.incident_when(gateway, "mail", lambda one: one["state"] == "CLOSED", SEEN_S, "it is closed")
    assert closed["close_reason"] == "every alert that told of it is over"
    assert [kind for kind in shop.kinds(closed) if kind.startswith("alert.")] == ["alert.fired", "alert.resolved"]


def test_an_alert_whose_incident_was_closed_by_hand_is_set_aside(gateway: running.Gateway) -> None:
    send(gateway, "generic", {"id": "cart-1", "service": "cart", "title": "Too many carts"})
    opened = shop.incident_when(gateway, "cart", lambda one: one["diagnosis"], SEEN_S, "the alert is an incident")
    gateway.control.post(f"/api/v1/incidents/{opened['id']}/close", json={"reason": "known"}).raise_for_status()
    (rested,) = [one for one in gateway.api("/api/v1/alerts")["items"] if one["place"]["upstream"] == "cart"]
    assert (rested["set_aside"], rested["ended_at"]) == (True, None)


def test_an_alert_that_fires_outlives_the_death_of_control(gateway: running.Gateway) -> None:
    send(gateway, "grafana", alertmanager("firing", "search"))
    shop.incident_when(gateway, "search", lambda one: one["alerts"], SEEN_S, "the alert is an incident")
    before = gateway.child("control")
    before.kill()
    gateway.wait(lambda: not before.is_running() or before.status() == "zombie", SEEN_S, "control is dead")
    gateway.wait(gateway.ready, SEEN_S, "a new control answers")
    send(gateway, "grafana", alertmanager("resolved", "search"))
    closed = shop.incident_when(gateway, "search", lambda one: one["state"] == "CLOSED", SEEN_S, "it is closed")
    assert shop.kinds(closed).count("incident.opened") == 1


def test_a_broken_body_is_a_dead_letter_that_the_command_line_shows_and_purges(gateway: running.Gateway) -> None:
    answer = send(gateway, "alertmanager", {"version": "4", "alerts": [{"status": "firing", "labels": ["x"]}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "alerts[0].labels")
    (letter,) = json.loads(gateway.sentinel("dead-letters", "list", "--json").stdout)["items"]
    shown = gateway.sentinel("dead-letters", "show", letter["id"]).stdout
    assert '"labels":["x"]' in shown.replace(" ", "")
    assert gateway.sentinel("dead-letters", "purge").returncode == 0
    assert gateway.sentinel("dead-letters", "show", letter["id"]).returncode == 1
    assert shop.metric(gateway, 'sentinel_dead_letters_total{source="alertmanager"}') >= 1


def curls() -> list[tuple[str, str, Any]]:
    """Path, token and body of every curl of the page."""
    found = re.findall(
        r'http://127\.0\.0\.1:8001(\S+) \\\n\s+-H "Authorization: Bearer \$(\w+)" \\\n\s+-d \'(.+?)\'', PAGE, re.DOTALL
    )
    return [(path, variable, json.loads(body)) for path, variable, body in found]


def test_every_curl_of_the_page_is_taken(gateway: running.Gateway) -> None:
    tokens = {"SENTINEL_ALERTS_TOKEN": ALERTS, "SENTINEL_DEPLOYS_TOKEN": DEPLOYS}
    answers = [
        httpx2.post(
            f"{gateway.admin_url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {tokens[variable]}"},
            timeout=30,
        )
        for path, variable, body in curls()
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 201], [answer.text for answer in answers]
    assert (answers[0].json()["firing"], answers[1].json()["resolved"]) == (1, 1)


def test_the_pages_other_files_are_sound_and_lead_to_endpoints_that_exist() -> None:
    documents = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    receiver, contact, step = documents
    assert receiver["receivers"][0]["webhook_configs"][0]["url"].endswith("/api/v1/alerts/alertmanager")
    assert contact["contactPoints"][0]["receivers"][0]["settings"]["url"].endswith("/api/v1/alerts/grafana")
    body = re.search(r"-d '(.+)'$", step[0]["run"].strip())
    assert body is not None
    assert json.loads(body[1]).keys() <= {"service", "version", "actor", "url"}
