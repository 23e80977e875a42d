"""Error budgets: how fast they burn, when that is worth a word, and when there is too little traffic to say."""

from __future__ import annotations

import pytest

from gateway.detect.burn_rate import BudgetBurn, Ledger, assess, hours, level_of, wilson_low
from gateway.domain.incident import Severity, Signal
from gateway.domain.objectives import BudgetLevel, Count, Objective
from gateway.domain.window import Window

NOW = 1_700_000_040.0
OBJECTIVE = Objective("orders", route="orders", objective=0.999)


def ledger(*stretches: tuple[float, int, int], until: float = NOW) -> Ledger:
    """Stretches of (seconds back, bad a minute, requests a minute), each until the next begins."""
    made = Ledger(OBJECTIVE.window_s)
    ends = [*(until - back for back, _, _ in stretches[1:]), until]
    for (back, bad, total), end in zip(stretches, ends, strict=True):
        for minute in range(int(until - back) // 60 * 60, int(end) // 60 * 60, 60):
            made.set_minute(minute, Count(bad, total))
    return made


def firing(made: Ledger, objective: Objective = OBJECTIVE) -> set[float]:
    return {burn.long_s for burn in assess(objective, made, NOW).firing}


def test_a_clean_month_leaves_the_whole_budget():
    state = assess(OBJECTIVE, ledger((86_400, 0, 100)), NOW)
    assert (state.remaining, state.level, state.firing) == (1.0, BudgetLevel.NORMAL, ())


def test_the_budget_left_is_what_was_not_spent():
    state = assess(OBJECTIVE, ledger((36_000, 0, 1000), (600, 20, 1000)), NOW)
    assert state.bad == 200
    assert state.remaining == pytest.approx(1 - 200 / (600_000 * 0.001), abs=0.001)
    assert state.level is BudgetLevel.NORMAL


def test_a_fast_burn_speaks_within_minutes():
    assert 3600 in firing(ledger((86_400, 0, 1000), (300, 400, 1000)))


def test_a_burn_that_ended_ten_minutes_ago_is_over_for_the_fast_pair():
    assert 3600 not in firing(ledger((86_400, 0, 1000), (1200, 400, 1000), (600, 0, 1000)))


def test_a_medium_burn_is_seen_over_six_hours_only():
    assert firing(ledger((86_400, 0, 1000), (21_600, 8, 1000))) == {21_600, 259_200}


def test_a_slow_burn_is_seen_over_three_days_only():
    assert firing(ledger((259_200, 2, 1000))) == {259_200}


def test_thirty_times_over_two_hours_is_seen():
    assert 7200 in firing(ledger((86_400, 0, 1000), (7200, 40, 1000)))


def test_ten_times_over_a_day_is_seen():
    assert 86_400 in firing(ledger((86_400, 12, 1000)))


def test_a_few_bad_requests_say_nothing_however_large_their_share():
    assert firing(ledger((180, 1, 1))) == set()


def test_twenty_failures_of_twenty_speak_although_traffic_is_thin():
    assert 3600 in firing(ledger((86_400, 0, 0), (1200, 1, 1)))


def test_a_share_at_the_limit_over_few_requests_is_not_believed():
    # 5 of 300 is 16.7 times the budget, but 14.4 times lies within what chance gives.
    made = Ledger(OBJECTIVE.window_s)
    for place in range(5):
        made.set_minute(int(NOW) // 60 * 60 - 60 * (place + 1), Count(1, 60))
    assert firing(made) & {3600} == set()


def test_a_loose_objective_can_burn_too_fast_as_well():
    loose = Objective("loose", route="orders", objective=0.9)
    assert 3600 in firing(ledger((3600, 1000, 1000)), loose)


def test_a_minute_counted_again_replaces_what_was_known():
    made = Ledger(OBJECTIVE.window_s)
    made.set_minute(600, Count(5, 10))
    made.set_minute(600, Count(6, 20))
    assert made.whole() == made.over(600, 660) == Count(6, 20)


def test_hours_outside_the_window_are_forgotten():
    made = Ledger(86_400)
    made.add_hour(int(NOW) // 3600 * 3600 - 200_000 // 3600 * 3600, Count(5, 10))
    made.forget(NOW)
    assert made.whole() == Count()


@pytest.mark.parametrize(
    ("remaining", "level"),
    [
        (0.51, BudgetLevel.NORMAL),
        (0.5, BudgetLevel.CAUTION),
        (0.25, BudgetLevel.FREEZE),
        (0.1, BudgetLevel.HOTFIXES),
        (-3.0, BudgetLevel.HOTFIXES),
    ],
)
def test_levels_change_at_a_half_a_quarter_and_a_tenth(remaining, level):
    assert level_of(remaining) is level


def test_wilsons_lower_end_rises_with_the_number_of_requests():
    assert wilson_low(Count(0, 0)) == 0.0
    assert wilson_low(Count(1, 10)) < wilson_low(Count(10, 100)) < wilson_low(Count(1000, 10_000)) < 0.1


def test_the_finding_names_the_place_the_budget_and_when_it_began():
    state = assess(OBJECTIVE, ledger((86_400, 0, 1000), (300, 400, 1000)), NOW)
    detector = BudgetBurn(lambda: [state])
    (found,) = detector.examine(Window(), NOW)
    assert (found.signal, found.severity, found.place.route) == (Signal.BUDGET, Severity.P1, "orders")
    assert NOW - 3600 <= found.onset <= NOW - 240
    assert "orders burns" in found.reason
    assert detector.examine(Window(), NOW + 5) == []  # once a minute, when there is something new


@pytest.mark.parametrize(("seconds", "words"), [(300, "5 min"), (3600, "1 h"), (86_400, "24 h"), (259_200, "3 d")])
def test_windows_are_spoken_of_in_words(seconds, words):
    assert hours(seconds) == words
