"""From a sender's terms to ours: place, severity, times, and what another telling of the same alert changes."""

from __future__ import annotations

import pytest

from gateway.domain.incident import AlertSource, AlertWords, ExternalAlert, Place, Severity
from gateway.domain.sources import AlertSettings
from gateway.domain.topology import Topology
from gateway.ingest.placing import merged, place_of, placed, severity_of
from gateway.ingest.reported import Reported

NOW = 1_795_253_400.0
LABELS = ("service", "job", "instance")
SHOP = Topology(
    upstream_of={"checkout": "orders", "pay": "payments"},
    targets={
        "orders": ("10.0.0.1:80", "10.0.0.9:80"),
        "payments": ("10.0.0.2:80", "10.0.0.9:80"),
        "Cart": ("10.0.0.3:80",),
    },
)


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({"service": "payments"}, Place(upstream="payments")),
        ({"service": "checkout"}, Place(route="checkout")),
        ({"instance": "10.0.0.2:80"}, Place(upstream="payments", target="10.0.0.2:80")),
        ({"job": "payments", "instance": "10.0.0.2:80"}, Place(upstream="payments", target="10.0.0.2:80")),
        ({"job": "orders", "instance": "10.0.0.2:80"}, Place(upstream="orders")),
        ({"instance": "10.0.0.9:80"}, Place()),  # a target of two upstreams names neither
        ({"service": "unknown", "job": "payments"}, Place(upstream="payments")),
        ({"service": "cart"}, Place(upstream="Cart")),
        ({"team": "payments"}, Place()),
        ({"service": "payments'; DROP TABLE"}, Place()),
        ({}, Place()),
    ],
    ids=[
        "upstream",
        "route",
        "target",
        "upstream-and-its-target",
        "upstream-and-anothers-target",
        "ambiguous",
        "next-label",
        "case",
        "label-not-asked",
        "hostile",
        "none",
    ],
)
def test_the_labels_in_question_name_a_configured_place_or_none(labels, place):
    assert place_of(labels, LABELS, SHOP) == place


def test_the_word_for_severity_is_theirs_then_usual_then_a_middle_one():
    settings = AlertSettings(severities=(("sev-a", Severity.P1), ("warning", Severity.P2)))
    words = ("SEV-A", "warning", "critical", "Info", "whatever", "")
    assert [severity_of(word, settings) for word in words] == ["P1", "P2", "P1", "P4", "P3", "P3"]


def reported(*, firing: bool = True, starts_at: float | None = None, ended_at: float | None = None) -> Reported:
    return Reported("k", firing, "critical", starts_at, ended_at, {"service": "payments"}, AlertWords("Errors"))


def told(at: float, **more: object) -> ExternalAlert:
    return placed(reported(**more), AlertSource.GRAFANA, AlertSettings(), SHOP, at)


@pytest.mark.parametrize(
    ("starts_at", "expected"),
    [(None, NOW), (NOW - 60, NOW - 60), (NOW + 900, NOW), (NOW - 90_000, NOW - 3600)],
    ids=["unknown", "said", "in-the-future", "yesterday"],
)
def test_a_start_that_cannot_be_is_moved_to_where_it_can(starts_at, expected):
    assert told(NOW, starts_at=starts_at).starts_at == expected


def test_the_same_key_of_two_sources_is_two_alerts():
    other = placed(reported(), AlertSource.DATADOG, AlertSettings(), SHOP, NOW)
    assert other.fingerprint != told(NOW).fingerprint


def test_an_alert_told_again_keeps_its_start_and_takes_what_is_new():
    first = told(NOW, starts_at=NOW - 60)
    again, outcome = merged(first, told(NOW + 300))
    assert outcome == "repeated"
    assert again is not None
    assert (again.starts_at, again.received_at, again.heard_at) == (NOW - 60, NOW, NOW + 300)


def test_an_end_ends_what_fires_and_nothing_else():
    over = told(NOW + 60, firing=False, ended_at=NOW + 50)
    ended, outcome = merged(told(NOW), over)
    assert outcome == "resolved"
    assert ended is not None
    assert (ended.ended_at, ended.resolved) == (NOW + 50, True)
    assert merged(None, over) == (None, "unknown")
    assert merged(ended, over) == (None, "unknown")


def test_an_old_delivery_that_arrives_after_the_end_changes_nothing():
    ended, _ = merged(told(NOW, starts_at=NOW - 60), told(NOW + 60, firing=False, ended_at=NOW + 50))
    assert merged(ended, told(NOW + 70, starts_at=NOW - 60)) == (None, "stale")


def test_a_new_outbreak_after_the_end_fires_whatever_start_it_tells():
    ended, _ = merged(told(NOW, starts_at=NOW - 60), told(NOW + 60, firing=False, ended_at=NOW + 50))
    for again in (told(NOW + 70, starts_at=NOW + 65), told(NOW + 70), told(NOW + 900, starts_at=NOW - 60)):
        fired, outcome = merged(ended, again)
        assert outcome == "firing"
        assert fired is not None
        assert fired.ended_at is None
        assert fired.starts_at > NOW + 50  # the last outbreak ended then
