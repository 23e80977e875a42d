"""Kinds of failure that are named: no room, an open circuit, and what was never seen before."""

from __future__ import annotations

from gateway.detect.signatures import NewError, Saturation
from gateway.domain.incident import Place, Severity, Signal
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.window import Window

START = 1_700_000_040


def key(status=200, error="", *, method="GET"):
    return SeriesKey("pay", "payments", "" if error == "circuit_open" else "p1", "acme", method, status, error)


def fed(window, start, end, rows):
    """Every five seconds the same rows: key → requests."""
    for at in range(start, end, 5):
        window.add(
            at, {one: Tally(requests=count, errors=count if one.status >= 500 else 0) for one, count in rows.items()}
        )


def minutes(detector, window, start, end):
    return [found for at in range(start, end, 60) for found in detector.examine(window, at + 66.0)]


def test_an_open_circuit_is_named_with_its_share():
    window = Window()
    fed(window, START, START + 600, {key(): 20})
    fed(window, START + 600, START + 660, {key(): 10, key(503, "circuit_open"): 10})
    (found,) = Saturation().examine(window, START + 661.0)
    assert (found.signal, found.place, found.severity) == (Signal.SATURATION, Place(upstream="payments"), Severity.P1)
    assert "110 of 220" in found.reason and "circuit was open" in found.reason


def test_a_few_refusals_for_want_of_room_and_failures_of_another_kind_are_none_of_it():
    window = Window()
    fed(window, START, START + 600, {key(): 200})
    fed(window, START + 600, START + 605, {key(503, "overloaded"): 9})
    fed(window, START + 600, START + 660, {key(): 200, key(502, "upstream_unavailable"): 50})
    assert Saturation().examine(window, START + 661.0) == []


def test_a_kind_of_failure_never_seen_there_is_told_once():
    window, detector = Window(), NewError()
    fed(window, START, START + 3720, {key(): 5, key(502, "upstream_unavailable"): 1})
    assert minutes(detector, window, START, START + 3720) == []
    fed(window, START + 3720, START + 3900, {key(): 5, key(504, "upstream_timeout"): 1})
    (found,) = minutes(detector, window, START + 3720, START + 3900)
    assert (found.place, found.severity) == (Place(route="pay"), Severity.P4)
    assert "504 (upstream timeout), which was never seen there before" in found.reason


def test_nothing_is_new_in_the_first_hour_or_with_hardly_any_traffic():
    window, detector = Window(), NewError()
    fed(window, START, START + 600, {key(): 5, key(504, "upstream_timeout"): 1})
    assert minutes(detector, window, START, START + 600) == []
    thin, other = Window(), NewError()
    for at in range(START, START + 7200, 300):
        fed(thin, at, at + 5, {key(): 1})
    fed(thin, START + 7000 // 60 * 60, START + 7000 // 60 * 60 + 60, {key(504, "upstream_timeout"): 1})
    assert minutes(other, thin, START, START + 7200) == []


def test_a_kind_that_came_singly_before_is_not_new_when_several_come_together():
    window, detector = Window(), NewError()
    fed(window, START, START + 3900, {key(): 5})
    fed(window, START + 600, START + 605, {key(500): 1})
    assert minutes(detector, window, START, START + 3900) == []
    fed(window, START + 3900, START + 4020, {key(): 5, key(500): 1})
    assert minutes(detector, window, START + 3900, START + 4020) == []


def test_a_kind_that_is_over_within_two_minutes_was_a_stumble():
    window, detector = Window(), NewError()
    fed(window, START, START + 4020, {key(): 5})
    fed(window, START + 3775, START + 3800, {key(502, "upstream_unavailable"): 1})
    assert minutes(detector, window, START, START + 4020) == []


def test_a_kind_that_goes_on_is_told_once():
    window, detector = Window(), NewError()
    fed(window, START, START + 3780, {key(): 5})
    fed(window, START + 3775, START + 4200, {key(): 5, key(504, "upstream_timeout"): 1})
    assert len(minutes(detector, window, START, START + 4200)) == 1


def test_what_other_nodes_stored_without_its_kind_is_not_called_new():
    window, detector = Window(), NewError()
    fed(window, START, START + 3720, {key(): 5})
    fed(window, START + 3720, START + 3900, {key(): 5, key(500, method=""): 3})
    assert minutes(detector, window, START, START + 3900) == []
