"""What was changed just before."""

from __future__ import annotations

from gateway.diagnose.changes import rank
from gateway.domain.incident import Change, Place
from gateway.domain.topology import Topology

ONSET = 1_700_000_000.0
SUSPECT = Place(upstream="payments", target="p1")
TOPOLOGY = Topology(upstream_of={"pay": "payments"})


def change(seconds_before, *, kind="deploy", place=Place()):  # noqa: B008 - a frozen value
    return Change(at=ONSET - seconds_before, kind=kind, title=f"{seconds_before}", place=place)


def titles(*changes):
    return [ranked.change.title for ranked in rank(changes, ONSET, SUSPECT, TOPOLOGY)]


def test_the_closer_change_comes_first():
    assert titles(change(600), change(40)) == ["40", "600"]


def test_a_change_that_touches_the_place_beats_a_closer_one_that_does_not():
    assert titles(change(30, place=Place(upstream="search")), change(300, place=Place(route="pay"))) == ["300", "30"]


def test_what_came_after_the_onset_is_no_cause_but_clocks_may_differ_by_seconds():
    assert titles(change(-60), change(-5)) == ["-5"]


def test_old_changes_and_the_systems_own_directives_are_left_out():
    assert titles(change(3600), change(10, kind="directive")) == []


def test_at_most_three_are_named():
    assert len(titles(*(change(seconds) for seconds in range(10, 100, 10)))) == 3
