"""What creeps past the other detectors, and a week that must not wake anybody."""

from __future__ import annotations

import random
import zlib
from copy import deepcopy
from math import pi, sin

import pytest

from gateway.detect.baseline import Baseline
from gateway.detect.detectors import in_service
from gateway.detect.recovery import recovered
from gateway.detect.unlike_itself import MOST_PLACES, UnlikeItself, Watched
from gateway.detect.watched_state import MOST_BYTES, from_bytes, to_bytes
from gateway.domain.histogram import bin_of
from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal
from gateway.domain.policy import DetectSettings
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.window import Window

DAY = 86_400
START = 1_700_000_000 // DAY * DAY
ROUTES = ("orders",)


class Week:
    """Minutes with a day, a night and a weekend, given to one detector as they close."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.window = Window()
        self.detector = UnlikeItself(Baseline(), DetectSettings())

    def minute(self, at, rate=1.0, slower=1.0, routes=ROUTES):
        cell = {}
        weekend = 0.6 if (at // DAY) % 7 >= 5 else 1.0
        daily = 1.2 + sin(2 * pi * (at % DAY) / DAY)
        for route in routes:
            requests = max(0, round(self.random.gauss(1, 0.12) * 200 * rate * weekend * daily))
            tally = Tally(requests=requests)
            for share in (0.5, 0.3, 0.15, 0.05):
                us = int(30_000 * slower * (1 + (1 - share)) * self.random.lognormvariate(0, 0.2))
                tally.latency[bin_of(us)] = tally.latency.get(bin_of(us), 0) + int(requests * share)
            cell[SeriesKey(route, route, f"{route}-1", "acme", "GET", 200, "")] = tally
        self.window.add_minute(at, cell)
        self.window.forget(at)
        return self.detector.examine(self.window, at + 66)

    def run(self, first_day, days, **shape):
        found = []
        for at in range(START + round(first_day * DAY), START + round((first_day + days) * DAY), 60):
            found += self.minute(at, **{name: of(at) for name, of in shape.items()})
        return found


def test_a_week_of_days_nights_and_a_weekend_raises_nothing():
    assert [anomaly.reason for anomaly in Week().run(0, 8)] == []


@pytest.fixture(scope="module")
def three_days():
    week = Week(2)
    assert week.run(0, 3) == []
    return week


@pytest.fixture
def week(three_days):
    return deepcopy(three_days)


@pytest.fixture
def crept(week):
    """The week, and what was found while p95 rose to five times the usual within five hours."""
    found = week.run(3, 0.2, slower=lambda at: 1 + 4 * (at - START - 3 * DAY) / (0.2 * DAY))
    return week, found


def test_what_creeps_over_hours_is_found(crept):
    _, found = crept
    assert {anomaly.signal for anomaly in found} == {Signal.LATENCY}
    assert {anomaly.severity for anomaly in found} == {Severity.P3}
    assert {anomaly.place for anomaly in found} == {
        place for name in ROUTES for place in (Place(route=name), Place(upstream=name))
    }
    assert all(anomaly.observed > 2 * anomaly.expected for anomaly in found)


def test_what_crept_is_not_over_because_it_was_slow_before_its_onset(crept):
    week, found = crept
    last = found[-1].seen_at
    for at in range(int(last) // 5 * 5 - 120, int(last), 5):  # still slow, in five-second cells
        tally = Tally(requests=20, latency={bin_of(300_000): 20})
        week.window.add(at, {SeriesKey(name, name, f"{name}-1", "acme", "GET", 200, ""): tally for name in ROUTES})
    incident = Incident(
        "inc-1", "orders:latency", IncidentState.OPEN, Severity.P3, Signal.LATENCY, Place(upstream="orders"), "",
        last - 600, last - 600, last, anomalies=(found[-1],),
    )  # fmt: skip
    assert not recovered(incident, week.window, last + 2).over


def test_traffic_that_ebbs_away_over_hours_is_found_and_is_mild(week):
    found = week.run(3, 0.2, rate=lambda at: 1 - 0.9 * (at - START - 3 * DAY) / (0.2 * DAY))
    assert {anomaly.signal for anomaly in found} == {Signal.TRAFFIC}
    assert {anomaly.severity for anomaly in found} == {Severity.P4}


def test_nothing_is_said_before_two_days_of_watching():
    week = Week(4)
    week.run(0, 1.5)
    assert week.run(1.5, 0.2, slower=lambda _: 10.0) == []


def test_an_outage_is_not_learned_as_usual(week):
    week.run(3, 0.1, slower=lambda _: 10.0)
    week.run(3.1, 0.9)
    assert week.run(4, 0.1, slower=lambda _: 10.0)


def test_after_a_day_of_it_this_is_how_things_are(week):
    assert week.run(3, 0.5, slower=lambda _: 10.0)
    week.run(3.5, 0.6, slower=lambda _: 10.0)
    assert week.run(4.1, 0.5, slower=lambda _: 10.0) == []


def test_the_number_of_series_is_bounded():
    week = Week(7)
    week.minute(START, routes=[f"route{n}" for n in range(MOST_PLACES)])
    assert len(week.detector._watched.places) == MOST_PLACES
    assert week.detector.left_out == MOST_PLACES


def test_it_is_in_service():
    assert "streaming" in {getattr(detector, "name") for detector in in_service(DetectSettings())}  # noqa: B009 - not in the Protocol


def test_what_was_learned_goes_on_after_a_restart_as_if_there_had_been_none(three_days):
    straight, restarted = deepcopy(three_days), deepcopy(three_days)
    watched = Watched()
    for place, pair in restarted.detector._watched.places.items():
        assert watched.go_on(place, from_bytes(to_bytes(pair)))
    restarted.detector = UnlikeItself(Baseline(), DetectSettings(), watched)

    def slower(at):
        return 1 + 4 * (at - START - 3 * DAY) / (0.1 * DAY)

    wanted = straight.run(3, 0.1, slower=slower)
    assert wanted
    assert restarted.run(3, 0.1, slower=slower) == wanted


def test_a_minute_that_was_known_before_the_restart_is_not_learned_twice(three_days):
    week = deepcopy(three_days)
    pair = next(iter(week.detector._watched.places.values()))
    before = pair[1].streaming.state()
    pair[1].feed(int(pair[1].newest), 1e6)
    assert pair[1].streaming.state() == before


def test_of_two_watchers_the_longer_one_counts(three_days):
    old = deepcopy(three_days).detector._watched
    young = Week(3)
    young.minute(START + 3 * DAY)
    for place, pair in old.places.items():
        assert young.detector._watched.go_on(place, pair)
    assert not any(old.go_on(place, pair) for place, pair in young.detector._watched.places.items())


def test_a_kept_place_is_small_and_anything_else_is_refused_whole(three_days):
    pair = next(iter(three_days.detector._watched.places.values()))
    raw = to_bytes(pair)
    assert len(raw) < 400_000
    for wrong in (b"", raw[:-9], b"?" + raw[1:], zlib.compress(b"\x90"), zlib.compress(bytes(2 * MOST_BYTES))):
        with pytest.raises(ValueError, match=r"."):
            from_bytes(wrong)
