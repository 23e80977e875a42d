"""Traffic that breaks off or bursts in, on the open minute."""

from __future__ import annotations

import pytest

from gateway.detect.baseline import Baseline
from gateway.detect.traffic_break import TrafficBreak
from gateway.domain.incident import Place, Severity, Signal
from tests.unit.detect.traffic_model import START, Flow, Traffic

BREAK = START + 700
FLOWS = [Flow("orders", "orders", "o1", 4.0), Flow("search", "search", "s1", 4.0)]


def first_finding(fault, *, flows=FLOWS, seed=1, begin=START, until=BREAK + 60):
    """Seconds from BREAK to the first findings, and those."""
    traffic = Traffic(flows, seed, lambda flow, at: fault(flow) if at >= BREAK else flow)
    detector = TrafficBreak(Baseline())
    for at in range(begin, until, 5):
        traffic.bin(at)
        if found := detector.examine(traffic.window, at + 6.0):
            return at + 6.0 - BREAK, found
    return None, []


def gone(flow):
    return flow._replace(rate=0.0) if flow.route == "orders" else flow


@pytest.mark.parametrize("seed", range(4))
def test_a_route_that_falls_silent_is_told_within_fifteen_seconds(seed):
    after, found = first_finding(gone, seed=seed)
    assert after is not None and 0 < after <= 16
    assert {(one.place, one.signal, one.severity) for one in found} == {
        (Place(route="orders"), Signal.TRAFFIC, Severity.P3)
    }
    assert found[0].observed == 0 and found[0].expected == pytest.approx(4.0, rel=0.3)
    assert abs(found[0].onset - BREAK) <= 5


def test_ten_times_the_traffic_is_told_within_fifteen_seconds():
    after, found = first_finding(lambda flow: flow._replace(rate=40.0) if flow.route == "orders" else flow)
    assert after is not None and after <= 16
    assert "burst in" in found[0].reason


def test_silence_everywhere_may_be_ours_and_takes_longer():
    after, found = first_finding(lambda flow: flow._replace(rate=0.0))
    assert after is not None and 25 <= after <= 36
    assert {one.place.route for one in found} == {"orders", "search"}


def test_a_third_more_or_less_is_nothing():
    for rate in (2.7, 5.3):
        after, _ = first_finding(lambda flow, rate=rate: flow._replace(rate=rate), until=BREAK + 120)
        assert after is None


def test_thin_traffic_that_pauses_is_nothing():
    after, _ = first_finding(lambda flow: flow._replace(rate=0.0), flows=[Flow("orders", "orders", "o1", 0.2)])
    assert after is None


def test_what_always_comes_in_bursts_may_pause():
    def bursts(flow, at):
        return flow._replace(rate=20.0 if at % 60 < 20 else 0.0) if flow.route == "orders" else flow

    traffic = Traffic(FLOWS, 3, bursts)
    detector = TrafficBreak(Baseline())
    found = []
    for at in range(START, START + 1500, 5):
        traffic.bin(at)
        found += detector.examine(traffic.window, at + 6.0)
    assert found == []


def test_a_route_that_has_just_come_is_no_burst():
    new = [*FLOWS, Flow("new", "search", "s1", 0.0)]
    after, _ = first_finding(lambda flow: flow._replace(rate=30.0) if flow.route == "new" else flow, flows=new)
    assert after is None
