"""Detectors over whole minutes."""

from __future__ import annotations

import pytest

from gateway.detect.baseline import Baseline
from gateway.detect.closed_minute import ErrorThreshold, LatencyThreshold, RobustZ
from gateway.domain.incident import Place, Severity, Signal
from gateway.domain.policy import DetectSettings
from tests.unit.detect.traffic_model import START, Flow, Traffic

FLOWS = [Flow("orders", "orders", "o1", 5.0), Flow("orders", "orders", "o2", 5.0)]
MINUTE = 60


def findings(detector_of, fault, *, minutes=40, fault_minute=30, settings=None):
    """Findings of one detector over ``minutes`` of traffic whose fault starts at ``fault_minute``."""
    settings = settings or DetectSettings()
    onset = START + fault_minute * MINUTE
    traffic = Traffic(FLOWS, 7, lambda flow, at: flow._replace(**fault) if at >= onset else flow)
    detector = detector_of(Baseline(settings.baseline_s), settings)
    found = []
    for minute in range(minutes):
        at = START + minute * MINUTE
        traffic.run(at, at + MINUTE)
        found += detector.examine(traffic.window, at + MINUTE + 6)
    return onset, found


def test_errors_above_the_ceiling_for_a_minute_are_found_at_its_close():
    onset, found = findings(ErrorThreshold, {"errors": 0.12})
    assert min(anomaly.seen_at for anomaly in found) <= onset + 66
    assert {anomaly.place for anomaly in found} >= {Place(route="orders"), Place(upstream="orders")}
    assert {anomaly.severity for anomaly in found} <= {Severity.P2, Severity.P3}


def test_errors_well_below_the_ceiling_are_left_alone():
    _, found = findings(ErrorThreshold, {"errors": 0.03})
    assert found == []


def test_fewer_requests_than_the_minimum_say_nothing():
    _, found = findings(ErrorThreshold, {"errors": 1.0, "rate": 0.01}, settings=DetectSettings(min_requests=20))
    assert [anomaly for anomaly in found if anomaly.requests < 20] == []


def test_latency_ceiling_is_off_unless_the_operator_sets_one():
    _, found = findings(LatencyThreshold, {"latency_ms": 500.0})
    assert found == []


def test_latency_above_the_ceiling_for_two_minutes_is_found_at_the_route():
    _, found = findings(LatencyThreshold, {"latency_ms": 500.0}, settings=DetectSettings(latency_p95_s=0.3))
    assert {anomaly.place for anomaly in found} == {Place(route="orders")}
    assert found[0].observed > 300_000


def test_a_small_lasting_rise_of_errors_is_found_by_robust_z():
    onset, found = findings(RobustZ, {"errors": 0.04})
    errors = [anomaly for anomaly in found if anomaly.signal is Signal.ERROR_RATE]
    assert errors and min(anomaly.seen_at for anomaly in errors) <= onset + 6 * MINUTE
    assert all(anomaly.severity in {Severity.P3, Severity.P4} for anomaly in errors)


def test_latency_that_triples_for_good_is_found_by_robust_z():
    _, found = findings(RobustZ, {"latency_ms": 90.0})
    assert {anomaly.signal for anomaly in found} == {Signal.LATENCY}
    assert found[0].observed > 2 * found[0].expected


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_traffic_that_disappears_is_found_and_never_louder_than_p3(rate):
    _, found = findings(RobustZ, {"rate": rate})
    traffic = [anomaly for anomaly in found if anomaly.signal is Signal.TRAFFIC]
    assert traffic and all(anomaly.severity in {Severity.P3, Severity.P4} for anomaly in traffic)


def test_robust_z_is_silent_before_it_has_enough_minutes():
    _, found = findings(RobustZ, {"errors": 0.3}, minutes=12, fault_minute=8)
    assert found == []


def test_how_many_minutes_must_be_out_is_the_operators_choice():
    fault = {"errors": 0.03}
    onset, quick = findings(RobustZ, fault, settings=DetectSettings(fire_minutes=2, fire_of=3))
    _, usual = findings(RobustZ, fault)
    assert quick and usual
    assert onset < min(one.seen_at for one in quick) < min(one.seen_at for one in usual)
