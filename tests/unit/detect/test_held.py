"""Nothing that happens during an incident becomes what is usual."""

from __future__ import annotations

import pytest

from gateway.detect.baseline import Baseline
from gateway.detect.held import Held
from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal
from gateway.domain.topology import Topology
from gateway.domain.window import Window
from tests.unit.detect.traffic_model import START, Flow, Traffic

TOPOLOGY = Topology(upstream_of={"pay": "payments", "find": "search"})
PAYMENTS, SEARCH = Place(upstream="payments"), Place(upstream="search")
FLOWS = [Flow("pay", "payments", "p1", 5.0, errors=0.0), Flow("find", "search", "s1", 5.0, errors=0.0)]
ONSET = START + 1200


def incident(*, onset=ONSET, state=IncidentState.ANALYZING, signal=Signal.ERROR_RATE):
    return Incident(
        id="in-1",
        dedup_key="payments:error_rate",
        state=state,
        severity=Severity.P1,
        signal=signal,
        place=Place(upstream="payments", target="p1"),
        title="",
        opened_at=onset,
        onset=onset,
        updated_at=onset,
    )


class World:
    """Traffic of which payments fail from ONSET on, a baseline over it, and incidents that come and go."""

    def __init__(self) -> None:
        self.open: list[Incident] = []
        self.traffic = Traffic(
            FLOWS,
            fault=lambda flow, at: flow._replace(errors=0.5) if at >= ONSET and flow.upstream == "payments" else flow,
        )
        self.baseline = Baseline(1800.0, lambda: Held(self.open, TOPOLOGY))
        self.at = START

    def until(self, end: int) -> None:
        for at in range(self.at, end, 5):
            self.traffic.bin(at)
            self.baseline.advance(self.traffic.window, at + 6.0)
        self.at = end


def test_every_place_of_the_upstream_is_held_and_no_other():
    held = Held([incident()], TOPOLOGY)
    assert {held.since(place) for place in (PAYMENTS, Place(route="pay"), Place(upstream="payments", target="p2"))} == {
        ONSET
    }
    assert held.since(SEARCH) is held.since(Place(route="find")) is None


@pytest.mark.parametrize("change", [{"state": IncidentState.CLOSED}, {"signal": Signal.TRAFFIC}])
def test_what_is_over_or_only_a_change_of_traffic_holds_nothing(change):
    assert not Held([incident(**change)], TOPOLOGY)


def test_without_an_incident_a_fault_becomes_usual():
    world = World()
    world.until(ONSET + 900)
    assert world.baseline.usual(PAYMENTS).error_share > 0.4


def test_during_an_incident_what_was_usual_before_stays_usual():
    world = World()
    world.until(ONSET + 20)
    before = world.baseline.usual(PAYMENTS).requests
    world.open = [incident()]
    world.until(ONSET + 3000)
    usual = world.baseline.usual(PAYMENTS)
    assert usual.errors == 0
    assert usual.requests > before / 2
    assert all(tally.errors == 0 for tally in world.baseline.usual_minutes(PAYMENTS, world.at))
    assert world.baseline.usual_minutes(PAYMENTS, world.at)


def test_an_incident_that_is_found_late_takes_back_what_was_learned_of_it():
    world = World()
    world.until(ONSET + 300)
    assert world.baseline.usual(PAYMENTS).errors
    world.open = [incident()]
    world.until(ONSET + 305)
    assert world.baseline.usual(PAYMENTS).errors == 0
    assert all(tally.errors == 0 for tally in world.baseline.usual_minutes(PAYMENTS, world.at))


def test_other_places_are_learned_all_the_while():
    world = World()
    world.until(ONSET + 20)
    world.open = [incident()]
    world.until(ONSET + 900)
    assert abs(world.baseline.usual(SEARCH).requests - 3000) < 400


def test_after_the_incident_only_what_came_after_it_is_learned():
    world = World()
    world.until(ONSET + 20)
    world.open = [incident()]
    world.until(ONSET + 400)
    world.traffic.fault = None
    world.open = []
    world.until(ONSET + 1200)
    usual = world.baseline.usual(PAYMENTS)
    assert usual.errors == 0
    assert abs(usual.requests - 3000) < 400
    fault = range(ONSET // 60 * 60, ONSET + 400, 60)
    assert all(world.baseline.in_trouble(PAYMENTS, minute) for minute in fault)
    assert not world.baseline.in_trouble(PAYMENTS, ONSET // 60 * 60 + 480)


def test_memory_is_bounded_however_long_an_incident_lasts():
    world = World()
    world.until(ONSET + 20)
    world.open = [incident()]
    world.until(ONSET + 6000)
    assert len(world.baseline.minutes) <= 2 * 1800 // 60 + 2


def test_a_window_without_traffic_is_no_trouble():
    baseline = Baseline(1800.0, lambda: Held([incident()], TOPOLOGY))
    baseline.advance(Window(), ONSET + 5.0)
    assert baseline.past == {}
