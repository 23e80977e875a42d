"""What each monitoring sends is read; what is wrong is named by its path, and touches nothing else in a body."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.domain.incident import AlertSource
from gateway.ingest.alerts import KINDS, read
from gateway.ingest.reported import MOST_PER_BODY

ROOT = Path(__file__).resolve().parents[3]


def alertmanager(**more: object) -> dict[str, object]:
    """One alert as Alertmanager sends it, with fields nobody here asks for."""
    return {
        "status": "firing",
        "labels": {"alertname": "HighErrors", "service": "payments", "severity": "critical"},
        "annotations": {"summary": "5 % fail", "description": "since the deploy", "runbook_url": "https://x/r"},
        "startsAt": "2026-11-21T09:30:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "https://prometheus/graph",
        "fingerprint": "a1b2",
        "somethingNew": {"deep": [1]},
    } | more


def delivery(*alerts: object, **more: object) -> bytes:
    whole = {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "alerts": list(alerts)}
    return json.dumps(whole | more).encode()


def test_an_alert_of_alertmanager_is_read_whole():
    body = read(AlertSource.ALERTMANAGER, delivery(alertmanager()))
    (alert,) = body.alerts
    assert body.wrong == ()
    assert (alert.key, alert.firing, alert.severity) == ("a1b2", True, "critical")
    assert alert.starts_at == 1795253400.123
    assert alert.ended_at is None
    assert (alert.words.name, alert.words.summary, alert.words.link) == ("HighErrors", "5 % fail", "https://x/r")


def test_the_end_of_a_resolved_alert_is_read_and_a_year_1_means_not_yet():
    resolved = alertmanager(status="resolved", endsAt="2026-11-21T09:40:00+01:00")
    (alert,) = read(AlertSource.ALERTMANAGER, delivery(resolved)).alerts
    assert (alert.firing, alert.ended_at) == (False, 1795250400.0)
    (alert,) = read(AlertSource.ALERTMANAGER, delivery(alertmanager(status="resolved"))).alerts
    assert alert.ended_at is None


def test_alerts_without_a_fingerprint_are_the_same_by_their_labels_in_any_order():
    one = alertmanager(fingerprint=None, labels={"a": "1", "b": "2"})
    other = alertmanager(fingerprint="", labels={"b": "2", "a": "1"})
    first, second = read(AlertSource.ALERTMANAGER, delivery(one, other)).alerts
    assert first.key == second.key


def test_grafana_names_the_rule_that_has_no_data_and_links_to_its_panel():
    alert = alertmanager(
        labels={"alertname": "DatasourceNoData", "rulename": "Payments latency"},
        annotations={},
        panelURL="https://grafana/d/1?viewPanel=2",
        valueString="[ var='A' value=3 ]",
        silenceURL="https://grafana/silence",
    )
    (found,) = read(AlertSource.GRAFANA, delivery(alert, version="1", orgId=1, state="alerting")).alerts
    assert (found.words.name, found.words.link) == ("Payments latency", "https://grafana/d/1?viewPanel=2")


def test_the_test_button_of_grafana_opens_nothing():
    test = alertmanager(labels={"alertname": "TestAlert", "instance": "Grafana", "grafana_folder": "x"})
    body = read(AlertSource.GRAFANA, delivery(test, alertmanager()))
    assert [alert.words.name for alert in body.alerts] == ["HighErrors"]
    assert body.wrong == ()


def datadog(**values: str) -> bytes:
    """The shipped payload with its variables filled in as Datadog does it."""
    text = (ROOT / "dashboards" / "datadog-webhook.json").read_text()
    usual = {
        "ALERT_ID": "1234",
        "ALERT_SCOPE": "service:payments",
        "ALERT_TRANSITION": "Triggered",
        "ALERT_TYPE": "error",
        "ALERT_PRIORITY": "P2",
        "ALERT_TITLE": "[Triggered] payments fail",
        "ALERT_STATUS": "errors over service:payments were > 5",
        "TEXT_ONLY_MSG": "look",
        "TAGS": "service:payments,env:prod,bare",
        "HOSTNAME": "i-0abc",
        "DATE": "1795253400000",
        "LAST_UPDATED": "1795253460000",
        "LINK": "https://app.datadoghq.com/monitors/1234",
    }
    for name, value in sorted((usual | values).items(), reverse=True):
        text = text.replace(f"${name}", value)
    return text.encode()


def test_the_shipped_payload_of_datadog_is_what_is_read():
    assert b"$" not in datadog()
    (alert,) = read(AlertSource.DATADOG, datadog()).alerts
    assert (alert.firing, alert.severity, alert.starts_at) == (True, "p2", 1795253400.0)
    assert (alert.labels["service"], alert.labels["host"], alert.labels["env"]) == ("payments", "i-0abc", "prod")
    (over,) = read(AlertSource.DATADOG, datadog(ALERT_TRANSITION="Recovered")).alerts
    assert (over.firing, over.ended_at, over.key) == (False, 1795253460.0, alert.key)


@pytest.mark.parametrize("transition", ["Re-Triggered", "No Data", "Warn", "Renotify"])
def test_every_other_transition_of_datadog_fires(transition):
    (alert,) = read(AlertSource.DATADOG, datadog(ALERT_TRANSITION=transition)).alerts
    assert alert.firing


def test_a_monitor_without_priority_is_as_grave_as_its_transition():
    (alert,) = read(AlertSource.DATADOG, datadog(ALERT_PRIORITY="", ALERT_TRANSITION="Warn")).alerts
    assert alert.severity == "warning"


def test_a_variable_that_a_monitor_does_not_have_says_nothing():
    (alert,) = read(
        AlertSource.DATADOG, datadog(ALERT_PRIORITY="$ALERT_PRIORITY", DATE="$DATE", HOSTNAME="$HOSTNAME")
    ).alerts
    assert (alert.severity, alert.starts_at, "host" in alert.labels) == ("error", 1795253460.0, False)


def test_a_generic_alert_needs_no_more_than_a_title():
    (alert,) = read(AlertSource.GENERIC, b'{"title": "The disk is full", "service": "payments", "own": 1}').alerts
    assert (alert.firing, alert.words.name, alert.labels) == (True, "The disk is full", {"service": "payments"})
    body = read(AlertSource.GENERIC, b'{"alerts": [{"id": "1", "status": "resolved", "ends_at": 1795253400}]}')
    assert (body.alerts[0].firing, body.alerts[0].ended_at) == (False, 1795253400.0)


WRONG = {
    "no-json": (AlertSource.ALERTMANAGER, b"{", ""),
    "not-utf8": (AlertSource.GENERIC, b'{"title": "\xff"}', ""),
    "a-list": (AlertSource.ALERTMANAGER, b"[]", ""),
    "too-deep": (AlertSource.GENERIC, b"[" * 100_000, ""),
    "no-alerts": (AlertSource.ALERTMANAGER, b'{"version": "4"}', "alerts"),
    "alerts-is-text": (AlertSource.GRAFANA, b'{"alerts": "x"}', "alerts"),
    "version-3": (AlertSource.ALERTMANAGER, delivery(version="3"), "version"),
    "alert-is-number": (AlertSource.ALERTMANAGER, delivery(7), "alerts[0]"),
    "no-status": (AlertSource.ALERTMANAGER, delivery(alertmanager(), alertmanager(status=None)), "alerts[1].status"),
    "status": (AlertSource.GRAFANA, delivery(alertmanager(status="ok")), "alerts[0].status"),
    "labels": (AlertSource.ALERTMANAGER, delivery(alertmanager(labels=["x"])), "alerts[0].labels"),
    "label": (AlertSource.ALERTMANAGER, delivery(alertmanager(labels={"a": {}})), "alerts[0].labels.a"),
    "time": (AlertSource.ALERTMANAGER, delivery(alertmanager(startsAt="noon")), "alerts[0].startsAt"),
    "time-without-zone": (
        AlertSource.ALERTMANAGER,
        delivery(alertmanager(startsAt="2026-11-21T09:30:00")),
        "alerts[0].startsAt",
    ),
    "time-is-list": (AlertSource.ALERTMANAGER, delivery(alertmanager(startsAt=[])), "alerts[0].startsAt"),
    "time-is-huge": (AlertSource.GENERIC, b'{"title": "x", "starts_at": 1e300}', "starts_at"),
    "datadog-schema": (AlertSource.DATADOG, b'{"id": "1"}', "schema"),
    "datadog-not-filled-in": (
        AlertSource.DATADOG,
        (ROOT / "dashboards" / "datadog-webhook.json").read_bytes(),
        "id",
    ),
    "datadog-transition": (AlertSource.DATADOG, datadog(ALERT_TRANSITION="Sideways"), "transition"),
    "generic-empty": (AlertSource.GENERIC, b"{}", "title"),
    "generic-status": (AlertSource.GENERIC, b'{"title": "x", "status": "maybe"}', "status"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_wrong_is_named_by_its_path(name):
    source, raw, field = WRONG[name]
    body = read(source, raw)
    assert [one.field for one in body.wrong] == [field]
    assert body.wrong[0].reason


def test_good_alerts_beside_a_wrong_one_are_read():
    body = read(AlertSource.ALERTMANAGER, delivery(alertmanager(), {"status": "x"}, alertmanager(fingerprint="2")))
    assert [alert.key for alert in body.alerts] == ["a1b2", "2"]


def test_a_body_of_too_many_alerts_is_read_up_to_the_bound():
    body = read(
        AlertSource.GENERIC, json.dumps({"alerts": [{"id": str(n)} for n in range(MOST_PER_BODY + 5)]}).encode()
    )
    assert len(body.alerts) == MOST_PER_BODY
    assert body.wrong[0].field == f"alerts[{MOST_PER_BODY}]"


def test_texts_and_labels_are_cut_where_they_are_read():
    labels = {f"l{n}": "v" * 5000 for n in range(500)}
    alert = alertmanager(labels=labels, annotations={"summary": "s" * 50_000})
    (found,) = read(AlertSource.ALERTMANAGER, delivery(alert)).alerts
    assert len(found.labels) == 64
    assert max(map(len, found.labels.values())) == 256
    assert len(found.words.summary) == 2000


@pytest.mark.parametrize("source", KINDS)
def test_no_value_in_any_place_makes_reading_raise(source):
    values: list[object] = [None, True, 0, -1, 1e18, "", "x", [], {}, [None], {"a": None}]
    names = ["schema", "version", "alerts", "status", "labels", "annotations", "startsAt", "endsAt", "fingerprint"]
    names += ["id", "scope", "transition", "tags", "priority", "date", "title", "starts_at", "service", "severity"]
    for name in names:
        for value in values:
            good = json.loads(datadog()) | alertmanager() | {"version": "4", "title": "t"}
            for whole in (good | {name: value}, {"alerts": [good | {name: value}]}):
                body = read(source, json.dumps(whole).encode())
                assert body.alerts or body.wrong or whole.get("alerts") == []
