"""When an upstream is left alone, and how it is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.upstreams import Breaker
from gateway.proxy.circuit_breaker import CircuitBreaker, State
from gateway.proxy.probe import GOES_ON_S, PATIENCE_S

SETTINGS = Breaker(errors=0.5, requests=10, open_s=10.0, window_s=10.0)


def ask(breaker: CircuitBreaker, now: float, *, well: bool | None, times: int = 1) -> int:
    """Requests one after the other; how many were let through."""
    through = 0
    for _ in range(times):
        ticket = breaker.admit(now)
        if ticket is not None:
            through += 1
            breaker.finished(ticket, now, well=well)
    return through


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(SETTINGS)
    ask(breaker, 100.0, well=False, times=10)
    assert breaker.state is State.OPEN
    return breaker


def test_it_opens_when_the_failing_share_is_reached():
    breaker = CircuitBreaker(SETTINGS)
    ask(breaker, 100.0, well=True, times=5)
    ask(breaker, 100.0, well=False, times=4)
    assert breaker.state is State.CLOSED
    ask(breaker, 100.0, well=False)
    assert (breaker.state, breaker.opened) == (State.OPEN, 1)
    assert breaker.admit(100.0) is None


def test_it_does_not_open_on_too_few_requests():
    breaker = CircuitBreaker(SETTINGS)
    ask(breaker, 100.0, well=False, times=9)
    assert breaker.state is State.CLOSED


def test_a_smaller_failing_share_never_opens_it():
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(100):
        ask(breaker, 100.0, well=True, times=6)
        ask(breaker, 100.0, well=False, times=4)
    assert breaker.state is State.CLOSED


def test_failures_older_than_the_window_no_longer_count():
    breaker = CircuitBreaker(SETTINGS)
    ask(breaker, 100.0, well=False, times=9)
    ask(breaker, 110.5, well=False, times=9)
    assert breaker.state is State.CLOSED
    ask(breaker, 112.0, well=False)
    assert breaker.state is State.OPEN


def test_ends_that_are_not_the_upstreams_doing_are_not_counted():
    breaker = CircuitBreaker(SETTINGS)
    ask(breaker, 100.0, well=None, times=50)
    ask(breaker, 100.0, well=False, times=9)
    assert breaker.state is State.CLOSED


def test_while_it_is_open_nobody_goes_through_and_clients_hear_when_to_come_back():
    breaker = opened()
    assert ask(breaker, 109.9, well=True, times=5) == 0
    assert breaker.retry_after_s(100.0) == 10
    assert breaker.retry_after_s(109.5) == 1
    assert breaker.retry_after_s(500.0) == 1


def test_after_its_time_one_request_at_a_time_is_let_through_until_one_succeeds():
    breaker = opened()
    probe = breaker.admit(110.0)
    assert probe is not None
    assert breaker.state is State.HALF_OPEN
    assert breaker.admit(110.1) is None
    breaker.finished(probe, 110.2, well=True)
    assert breaker.state is State.CLOSED
    assert ask(breaker, 110.3, well=True, times=3) == 3


def test_a_failed_probe_opens_it_again():
    breaker = opened()
    assert ask(breaker, 110.0, well=False) == 1
    assert (breaker.state, breaker.opened) == (State.OPEN, 2)
    assert breaker.admit(119.9) is None
    assert breaker.admit(120.0) is not None


def test_a_probe_whose_client_left_lets_the_next_one_go():
    breaker = opened()
    assert ask(breaker, 110.0, well=None) == 1
    assert ask(breaker, 110.0, well=True) == 1
    assert breaker.state is State.CLOSED


def test_a_probe_without_a_verdict_does_not_hold_up_the_next_for_ever():
    breaker = opened()
    assert breaker.admit(110.0) is not None
    assert breaker.admit(110.0 + PATIENCE_S - 0.1) is None
    assert breaker.admit(110.0 + PATIENCE_S) is not None


def test_a_probe_that_streams_well_closes_it_after_a_while():
    breaker = opened()
    probe = breaker.admit(110.0)
    assert probe is not None
    breaker.answered(probe, 110.1)
    assert breaker.admit(110.2) is None
    assert breaker.admit(110.1 + GOES_ON_S) is not None
    assert breaker.state is State.CLOSED


def test_requests_from_before_it_opened_say_nothing_afterwards():
    breaker = CircuitBreaker(SETTINGS)
    early = [breaker.admit(100.0) for _ in range(20)]
    for ticket in early[:10]:
        assert ticket is not None
        breaker.finished(ticket, 100.0, well=False)
    ask(breaker, 110.0, well=True)
    assert breaker.state is State.CLOSED
    for ticket in early[10:]:
        assert ticket is not None
        breaker.finished(ticket, 110.1, well=False)
    assert breaker.state is State.CLOSED


def test_closing_forgets_what_opened_it():
    breaker = opened()
    ask(breaker, 110.0, well=True)
    ask(breaker, 110.0, well=False, times=9)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("pause", [0.0, 3600.0 * 24 * 30])
def test_a_clock_that_stands_still_or_leaps_is_no_trouble(pause):
    breaker = opened()
    assert ask(breaker, 110.0 + pause, well=True) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "good", "bad", "gone", "head"]), st.integers(0, 30), st.floats(0, 5)),
    max_size=120,
)


@given(STEPS)
def test_it_is_never_stuck_whatever_happened_before(steps):
    """Requests overlap, end in any order or never; after that two successes are enough to close the circuit."""
    breaker = CircuitBreaker(Breaker(errors=0.5, requests=2, open_s=3.0, window_s=4.0))
    now, under_way = 0.0, []
    for what, which, pause in steps:
        now += pause
        if what == "ask":
            ticket = breaker.admit(now)
            if ticket is not None:
                under_way.append(ticket)
            assert breaker.state is not State.OPEN or ticket is None
        elif under_way and what == "head":
            breaker.answered(under_way[which % len(under_way)], now)
        elif under_way:
            ticket = under_way.pop(which % len(under_way))
            breaker.finished(ticket, now, well={"good": True, "bad": False, "gone": None}[what])
    now += 3.0 + PATIENCE_S
    assert ask(breaker, now, well=True, times=2) == 2
    assert breaker.state is State.CLOSED
