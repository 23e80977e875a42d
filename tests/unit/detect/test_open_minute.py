"""Detectors over the running minute, on simulated traffic."""

from __future__ import annotations

import pytest

from gateway.detect.detectors import examine_all, in_service
from gateway.domain.incident import Place, Severity, Signal
from gateway.domain.policy import DetectSettings
from gateway.domain.traffic import SeriesKey, Tally
from tests.unit.detect.traffic_model import START, Flow, Traffic

TWO = [Flow("orders", "orders", "o1", 2.5), Flow("orders", "orders", "o2", 2.5)]


def first_finding(traffic, fault_at, *, until_s=60, warm_s=600):
    """Passes every five seconds, 0.4 s after each bin; returns (seconds after the fault, findings)."""
    detectors = in_service(DetectSettings())
    for at in range(START, fault_at + until_s, 5):
        traffic.bin(at)
        if at < fault_at - 60:
            continue
        found = examine_all(detectors, traffic.window, at + 5.4)
        if found:
            return at + 5.4 - fault_at, found
    return None, []


def broken(**changes):
    """A fault at START + 600 that changes flows to ``target`` (or all with target "")."""
    target = changes.pop("target", "")

    def fault(flow, at):
        return flow._replace(**changes) if at >= START + 600 and target in {"", flow.target} else flow

    return fault


@pytest.mark.parametrize("seed", range(12))
def test_half_of_one_targets_requests_failing_at_five_a_second_is_found_within_fifteen_seconds(seed):
    after, found = first_finding(Traffic(TWO, seed, broken(target="o1", errors=0.5)), START + 600)
    assert after is not None and 0 < after <= 15
    assert any(anomaly.place == Place(upstream="orders", target="o1") for anomaly in found)
    assert not any(anomaly.place.target == "o2" for anomaly in found)


@pytest.mark.parametrize("seed", range(12))
def test_total_failure_is_found_within_about_ten_seconds(seed):
    after, found = first_finding(Traffic(TWO, seed, broken(errors=1.0)), START + 600)
    assert after is not None and 0 < after < 10.5  # ten seconds, and the 0.4 until the pass
    assert any(anomaly.severity is Severity.P1 for anomaly in found)


@pytest.mark.parametrize("seed", range(12))
def test_everything_ten_times_slower_is_found_within_twenty_seconds(seed):
    after, found = first_finding(Traffic(TWO, seed, broken(latency_ms=300.0)), START + 600)
    assert after is not None and 0 < after <= 20
    assert {anomaly.signal for anomaly in found} == {Signal.LATENCY}


@pytest.mark.parametrize("seed", range(6))
def test_a_broken_target_is_found_without_any_past(seed):
    traffic = Traffic(TWO, seed, lambda flow, _: flow._replace(errors=1.0) if flow.target == "o1" else flow)
    detectors = in_service(DetectSettings())
    found = []
    for at in range(START, START + 20, 5):
        traffic.bin(at)
        found = examine_all(detectors, traffic.window, at + 5.4)
    assert {anomaly.place.target for anomaly in found if anomaly.detector == "worse_than_siblings"} == {"o1"}


def test_onset_is_within_a_bin_of_the_fault():
    _, found = first_finding(Traffic(TWO, 3, broken(errors=1.0)), START + 600)
    assert all(abs(anomaly.onset - (START + 600)) <= 5 for anomaly in found)


def test_one_unlucky_bin_does_not_fire():
    def blip(flow, at):
        return flow._replace(errors=1.0) if at == START + 600 else flow

    after, _ = first_finding(Traffic(TWO, 5, blip), START + 600)
    assert after is None


def test_a_target_that_was_always_slower_than_its_sibling_is_no_news():
    far = [Flow("orders", "orders", "o1", 5, latency_ms=200.0), Flow("orders", "orders", "o2", 5, latency_ms=20.0)]
    after, _ = first_finding(Traffic(far, 2), START + 600)
    assert after is None


@pytest.mark.parametrize("error", ["rate_limited", "client_gone", "unauthenticated", "limiter_unavailable"])
def test_what_the_gateway_refused_or_the_client_broke_off_counts_against_no_target(error):
    traffic = Traffic(TWO, 4)
    detectors = in_service(DetectSettings())
    found = []
    for at in range(START, START + 700, 5):
        traffic.bin(at)
        if at >= START + 600:
            bad = Tally(requests=200, errors=200, latency={900: 200})
            traffic.window.add(at, {SeriesKey("orders", "orders", "o1", "acme", "GET", 503, error): bad})
        found += examine_all(detectors, traffic.window, at + 5.4)
    assert found == []


def test_refusals_do_not_dilute_a_failing_share():
    traffic = Traffic(TWO, 4, broken(target="o1", errors=0.5))
    detectors = in_service(DetectSettings())
    found = []
    for at in range(START, START + 615, 5):
        traffic.bin(at)
        refused = Tally(requests=5000, latency={10: 5000})
        traffic.window.add(at, {SeriesKey("orders", "", "", "acme", "GET", 429, "rate_limited"): refused})
        found = examine_all(detectors, traffic.window, at + 5.4)
    observed = {anomaly.place: anomaly.observed for anomaly in found}
    assert observed[Place(upstream="orders", target="o1")] > 0.3


def test_client_errors_are_no_errors():
    traffic = Traffic(TWO, 4)
    detectors = in_service(DetectSettings())
    found = []
    for at in range(START, START + 700, 5):
        traffic.bin(at)
        if at >= START + 600:
            missing = Tally(requests=100, latency={500: 100})
            traffic.window.add(at, {SeriesKey("orders", "orders", "o1", "acme", "GET", 404, ""): missing})
        found += examine_all(detectors, traffic.window, at + 5.4)
    assert [anomaly for anomaly in found if anomaly.signal is Signal.ERROR_RATE] == []


@pytest.mark.parametrize("seed", range(6))
def test_what_is_over_is_no_finding_and_no_finding_says_zero_percent(seed):
    def fault(flow, at):
        return flow._replace(errors=0.9) if START + 600 <= at < START + 615 else flow

    traffic = Traffic(TWO, seed, fault)
    detectors = in_service(DetectSettings())
    found = {}
    for at in range(START, START + 660, 5):
        traffic.bin(at)
        if at >= START + 600:
            found[at - START - 600] = examine_all(detectors, traffic.window, at + 5.4)
    assert found[10]
    assert all(anomaly.observed > 0 and anomaly.requests for one in found.values() for anomaly in one)
    later = [anomaly for after in range(25, 50, 5) for anomaly in found[after]]
    assert not any(anomaly.detector == "hard_failure" for anomaly in later), "two good bins in a row end it"
