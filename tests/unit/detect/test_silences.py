"""Who is not told: silences, maintenance, and callers of a service that is down."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from gateway.detect.silences import why_quiet
from gateway.domain.hours import Hours
from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal
from gateway.domain.silence import Maintenance, Matcher, Silence
from gateway.domain.topology import Topology

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC).timestamp()  # a Saturday
PAYMENTS = Place(upstream="payments", target="p1")
TOPOLOGY = Topology(
    upstream_of={"orders": "orders"}, depends_on={"orders": ("payments",), "payments": ("bank",), "bank": ("orders",)}
)


def incident(place=PAYMENTS, severity=Severity.P2, *, name="in-1", at=NOW - 60, tenant=""):
    return Incident(
        id=name,
        dedup_key="",
        state=IncidentState.ANALYZING,
        severity=severity,
        signal=Signal.LATENCY,
        place=place,
        title="",
        opened_at=at,
        onset=at,
        updated_at=at,
        tenant=tenant,
    )


def silence(matcher, *, starts_at=NOW - 10, ends_at=NOW + 10):
    return Silence("si-1", matcher, NOW - 10, starts_at, ends_at, "user ana", "migration")


def quiet(one, silences=(), maintenance=(), others=()):
    return why_quiet(one, (one, *others), silences, maintenance, TOPOLOGY, NOW)


@pytest.mark.parametrize(
    ("matcher", "fits"),
    [
        (Matcher(upstream="payments"), True),
        (Matcher(upstream="orders"), False),
        (Matcher(target="p1"), True),
        (Matcher(target="p2"), False),
        (Matcher(route="payments"), False),
        (Matcher(upstream="payments", severities=(Severity.P2, Severity.P3)), True),
        (Matcher(upstream="payments", severities=(Severity.P3,)), False),
        (Matcher(signals=(Signal.LATENCY,)), True),
        (Matcher(signals=(Signal.ERROR_RATE,)), False),
        (Matcher(tenant="acme"), False),
    ],
)
def test_everything_that_a_silence_names_must_fit(matcher, fits):
    assert bool(quiet(incident(), [silence(matcher)])) is fits


def test_a_silence_of_an_upstream_takes_in_the_routes_that_lead_to_it():
    assert quiet(incident(Place(route="orders")), [silence(Matcher(upstream="orders"))])


def test_the_reason_says_who_why_and_until_when():
    said = quiet(incident(), [silence(Matcher(upstream="payments"))])
    assert said == "silenced by user ana until 2026-11-21 03:00 UTC: migration"


@pytest.mark.parametrize(("starts_at", "ends_at"), [(NOW + 1, NOW + 10), (NOW - 10, NOW)])
def test_a_silence_holds_from_its_beginning_until_before_its_end(starts_at, ends_at):
    assert quiet(incident(), [silence(Matcher(upstream="payments"), starts_at=starts_at, ends_at=ends_at)]) == ""


@pytest.mark.parametrize(("days", "held"), [((5,), True), ((6,), False)])
def test_maintenance_comes_round_at_its_hours(days, held):
    planned = Maintenance("import", Hours(days, 120, 240), Matcher(upstream="payments"), "slow then")
    assert (quiet(incident(), maintenance=[planned]) == "within the maintenance import: slow then") is held


def test_a_p1_of_a_callee_keeps_its_callers_quiet_over_any_number_of_calls():
    bank = incident(Place(upstream="bank"), Severity.P1, name="in-0", at=NOW - 90)
    orders = incident(Place(upstream="orders"), Severity.P1)
    assert "in-0" in quiet(orders, others=[bank])


def test_a_p2_of_a_callee_or_one_that_is_over_keeps_nobody_quiet():
    orders = incident(Place(upstream="orders"))
    p2 = incident(Place(upstream="bank"), Severity.P2, name="in-0", at=NOW - 90)
    over = msgspec.structs.replace(p2, severity=Severity.P1, state=IncidentState.CLOSED)
    assert quiet(orders, others=[p2, over]) == ""


def test_in_a_ring_of_calls_exactly_the_first_speaks():
    ring = [
        incident(Place(upstream=name), Severity.P1, name=f"in-{place}", at=NOW - 60 + place)
        for place, name in enumerate(("bank", "orders", "payments"))
    ]
    assert [bool(quiet(one, others=[other for other in ring if other is not one])) for one in ring] == [
        False,
        True,
        True,
    ]
