"""When an incident is over."""

from __future__ import annotations

from gateway.detect.recovery import recovered
from gateway.domain.incident import Anomaly, Incident, IncidentState, Place, Severity, Signal
from tests.unit.detect.traffic_model import START, Flow, Traffic

FLOWS = [Flow("pay", "pay", "p1", 5.0), Flow("pay", "pay", "p2", 5.0)]
ONSET = START + 600
TARGET = Place(upstream="pay", target="p1")
WHOLE = Place(upstream="pay")


def incident(*places, signal=Signal.ERROR_RATE, expected=0.0):
    found = tuple(
        Anomaly("d", signal, place, Severity.P1, 1.0, expected, 9.0, 50, float(ONSET), ONSET + 10.0, "")
        for place in places
    )
    return Incident(
        "i", "k", IncidentState.OPEN, Severity.P1, signal, places[0], "", ONSET + 10.0, float(ONSET), ONSET + 10.0,
        anomalies=found,
    )  # fmt: skip


def traffic(fault, until_s):
    """Healthy until ONSET, then ``fault(flow, seconds since)``."""
    made = Traffic(FLOWS, 3, lambda flow, at: fault(flow, at - ONSET) if at >= ONSET else flow)
    made.run(START, ONSET + until_s)
    return made.window, float(ONSET + until_s)


def broken_for(seconds, **changes):
    return lambda flow, since: flow._replace(**changes) if flow.target == "p1" and since < seconds else flow


def test_it_is_not_over_while_the_target_fails():
    window, now = traffic(broken_for(1e9, errors=1.0), 120)
    verdict = recovered(incident(TARGET, WHOLE), window, now)
    assert not verdict.over
    assert "p1" in verdict.why


def test_it_is_over_after_a_clear_minute():
    window, now = traffic(broken_for(60, errors=1.0), 130)
    assert recovered(incident(TARGET, WHOLE), window, now).over


def test_half_a_clear_minute_is_not_enough():
    window, now = traffic(broken_for(60, errors=1.0), 90)
    assert not recovered(incident(TARGET, WHOLE), window, now).over


def test_slowness_is_over_when_it_is_as_quick_as_before():
    window, now = traffic(broken_for(60, latency_ms=500.0), 130)
    assert recovered(incident(TARGET, signal=Signal.LATENCY), window, now).over
    window, now = traffic(broken_for(1e9, latency_ms=500.0), 130)
    assert not recovered(incident(TARGET, signal=Signal.LATENCY), window, now).over


def test_a_target_that_merely_stopped_getting_traffic_is_not_over_at_once():
    window, now = traffic(
        lambda flow, since: flow._replace(rate=0.0 if since > 30 else 5.0, errors=1.0) if flow.target == "p1" else flow,
        120,
    )
    verdict = recovered(incident(TARGET, WHOLE), window, now)
    assert not verdict.over
    assert "too little traffic" in verdict.why


def test_a_target_set_aside_is_not_judged_but_its_callers_are():
    window, now = traffic(
        lambda flow, since: flow._replace(rate=0.0 if since > 30 else 5.0, errors=1.0) if flow.target == "p1" else flow,
        120,
    )
    assert recovered(incident(TARGET, WHOLE), window, now, set_aside={("pay", "p1")}).over
    window, now = traffic(broken_for(1e9, errors=1.0), 120)
    assert not recovered(incident(TARGET, WHOLE), window, now, set_aside={("pay", "p1")}).over
    assert not recovered(incident(TARGET), window, now, set_aside={("pay", "p1")}).over


def test_long_quiet_is_over():
    window, now = traffic(lambda flow, since: flow._replace(rate=0.0 if since > 20 else 5.0, errors=1.0), 400)
    assert recovered(incident(TARGET, WHOLE), window, now).over


def test_one_stray_error_does_not_keep_it_open():
    window, now = traffic(lambda flow, since: flow._replace(errors=1.0 if since < 60 else 0.01), 135)
    assert recovered(incident(TARGET, WHOLE), window, now).over


def test_traffic_is_over_when_it_is_back_near_the_usual():
    dropped = incident(Place(route="pay"), signal=Signal.TRAFFIC, expected=10.0)
    window, now = traffic(lambda flow, since: flow._replace(rate=0.0 if since < 120 else 5.0), 240)
    assert recovered(dropped, window, now).over
    window, now = traffic(lambda flow, _: flow._replace(rate=0.0), 240)
    assert not recovered(dropped, window, now).over


def test_how_long_it_must_be_clear_is_the_operators_choice():
    window, now = traffic(broken_for(60, errors=1.0), 100)
    assert recovered(incident(TARGET, WHOLE), window, now, clear_s=30.0).over
    assert not recovered(incident(TARGET, WHOLE), window, now, clear_s=120.0).over
    window, now = traffic(broken_for(60, errors=1.0), 200)
    assert recovered(incident(TARGET, WHOLE), window, now, clear_s=120.0).over
