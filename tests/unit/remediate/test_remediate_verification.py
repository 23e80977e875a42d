"""Verdicts on exact numbers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.incident import Signal
from gateway.domain.plan import Action, ActionKind, ActionState, Risk, Sample, Watch
from gateway.domain.traffic import ErrorKind, SeriesKey, Tally
from gateway.domain.window import Window
from gateway.remediate.comparison import bad, forwarded, less, log_odds, lower
from gateway.remediate.verification import begin, verify
from tests.unit.remediate.world import A, B

T0 = 1_000_000.0


def action(before: tuple[int, int], siblings: tuple[int, int], **watch: object) -> Action:
    base = Watch(
        onset=T0 - 30,
        before=Sample(*before),
        target=Sample(before[0] - siblings[0], before[1] - siblings[1]),
        siblings=Sample(*siblings),
    )
    return Action(
        id="a-1",
        incident_id="i-1",
        kind=ActionKind.EJECT_TARGET,
        upstream="payments",
        target=A,
        ttl_s=600.0,
        risk=Risk.SAFE,
        risk_reason="",
        effect="",
        undo="",
        success_signal="",
        state=ActionState.EXECUTED,
        created_at=T0,
        expires_at=T0 + 1800,
        executed_at=T0,
        effect_until=T0 + 600,
        watch=msgspec.structs.replace(base, **watch),
    )


def put(window: Window, at: float, failed: int, requests: int, *, upstream: str = "payments", target: str = B) -> None:
    cell = {
        SeriesKey(upstream, upstream, target, "", "GET", 200, ""): Tally(requests=requests - failed),
        SeriesKey(upstream, upstream, target, "", "GET", 500, ""): Tally(requests=failed, errors=failed),
    }
    window.add(int(T0 + at), cell)


def seen(failed: int, requests: int, *, at: float = 5.0) -> Window:
    window = Window()
    put(window, at, failed, requests)
    return window


def test_nothing_is_said_before_two_whole_cells_have_passed() -> None:
    assert verify(action((50, 100), (0, 50)), seen(0, 100), T0 + 11.9).verdict == "watching"
    assert verify(action((50, 100), (0, 50)), seen(0, 100), T0 + 12).verdict == "helped"


def test_a_clear_recovery_helped_and_the_outcome_holds_the_numbers() -> None:
    outcome = verify(action((50, 100), (0, 50)), seen(0, 100), T0 + 15)
    assert (outcome.before, outcome.after, outcome.requests_after) == (0.5, 0.0, 100)
    assert outcome.statement == "It helped. payments: 50 of 100 (50 %) failed before, 0 of 100 (0 %) after."


def test_no_change_is_watched_until_stragglers_must_be_over_and_then_called_useless() -> None:
    window = seen(50, 100, at=20.0)
    assert verify(action((50, 100), (0, 50)), window, T0 + 30).verdict == "watching"
    put(window, 40, 50, 100)
    assert verify(action((50, 100), (0, 50)), window, T0 + 48).verdict == "no_effect"


def test_a_late_look_leaves_stragglers_behind() -> None:
    window = seen(60, 120)  # begun before the action, hung until the timeout
    put(window, 30, 0, 120)
    assert verify(action((50, 100), (0, 50)), window, T0 + 40).verdict == "helped"


def test_what_is_better_but_may_be_luck_is_called_too_little_traffic_not_useless() -> None:
    window = seen(0, 10)
    thin = action((6, 30), (0, 15))
    assert verify(thin, window, T0 + 60).verdict == "watching"
    outcome = verify(thin, window, T0 + 123)
    assert outcome.verdict == "too_little_traffic"
    assert "may be luck" in outcome.statement


def test_hardly_any_request_is_too_little_traffic_after_two_minutes() -> None:
    assert verify(action((50, 100), (0, 50)), seen(0, 7), T0 + 100).verdict == "watching"
    assert verify(action((50, 100), (0, 50)), seen(0, 7), T0 + 123).verdict == "too_little_traffic"


def test_less_than_half_of_what_was_promised_is_no_effect() -> None:
    window = seen(0, 0)
    put(window, 40, 40, 100)
    outcome = verify(action((60, 100), (5, 50)), window, T0 + 50)
    assert outcome.verdict == "no_effect"
    assert "less than half" in outcome.statement


def test_worse_is_said_at_once() -> None:
    assert verify(action((50, 100), (0, 50)), seen(80, 100), T0 + 15).verdict == "worse"


def test_when_everything_gets_worse_the_action_is_not_to_blame() -> None:
    window = seen(80, 100)
    put(window, 5, 90, 100, upstream="catalog", target="10.0.2.1:1")
    blamed = action((50, 100), (0, 50), others=Sample(0, 100))
    assert verify(blamed, window, T0 + 15).verdict == "watching"


def test_harm_at_the_incidents_place_counts_as_worse() -> None:
    window = seen(0, 100)
    put(window, 5, 90, 100, upstream="orders", target="10.0.1.1:1")
    watched = action((50, 100), (0, 50), route="orders", place_upstream="orders", place=Sample(30, 100))
    outcome = verify(watched, window, T0 + 15)
    assert outcome.verdict == "worse"
    assert outcome.statement.startswith("route orders got worse")


def test_a_place_that_does_not_recover_is_said() -> None:
    window = seen(0, 100)
    put(window, 5, 50, 100, upstream="orders", target="10.0.1.1:1")
    watched = action((50, 100), (0, 50), route="orders", place_upstream="orders", place=Sample(50, 100))
    outcome = verify(watched, window, T0 + 15)
    assert outcome.verdict == "helped"
    assert outcome.statement.endswith("50 of 100 (50 %) after, not better yet.")


def test_begin_measures_all_groups_and_keeps_what_was_shown_when_nothing_came_since() -> None:
    window = Window()
    put(window, -10, 20, 20, target=A)
    put(window, -10, 1, 20)
    put(window, -10, 2, 30, upstream="catalog", target="10.0.2.1:1")
    watch = begin(action((0, 0), (0, 0)), window, T0).watch
    assert (watch.target, watch.siblings, watch.before, watch.others) == (
        Sample(20, 20),
        Sample(1, 20),
        Sample(21, 40),
        Sample(2, 30),
    )
    assert begin(action((50, 100), (0, 50)), Window(), T0).watch.target == Sample(50, 50)


@pytest.mark.parametrize("error", [ErrorKind.RATE_LIMITED, ErrorKind.UNAUTHENTICATED, ErrorKind.CLIENT_GONE])
def test_what_the_gateway_refused_or_the_client_left_says_nothing_of_the_upstream(error: ErrorKind) -> None:
    assert not forwarded(SeriesKey("r", "payments", "", "", "GET", 429, error))
    assert not forwarded(SeriesKey("r", "", "", "", "GET", 404, ""))
    assert forwarded(SeriesKey("r", "payments", A, "", "GET", 502, ErrorKind.UPSTREAM_UNAVAILABLE))


def test_a_slow_request_that_failed_counts_once() -> None:
    watch = Watch(signal=Signal.LATENCY, slow_us=1000)
    assert bad(Tally(requests=10, errors=3, latency={10: 7, 900: 3}), watch) == 3
    assert bad(Tally(requests=10, errors=5, latency={10: 7, 900: 3}), watch) == 5


SAMPLES = st.integers(0, 300).flatmap(lambda n: st.integers(0, n).map(lambda bad: Sample(bad, n)))


@given(SAMPLES, SAMPLES)
def test_two_samples_are_never_each_lower_than_the_other(a: Sample, b: Sample) -> None:
    assert 0.0 <= less(a, b) <= 1.0
    assert not (lower(a, b) and lower(b, a))
    if lower(a, b):
        assert a.share < b.share


@given(SAMPLES, st.floats(0.001, 0.4), st.floats(0.41, 0.99))
def test_more_bad_ones_always_speak_more_for_the_fault(seen: Sample, well: float, ill: float) -> None:
    worse = Sample(seen.bad + 1, seen.requests + 1)
    better = Sample(seen.bad, seen.requests + 1)
    assert log_odds(better, well, ill) < log_odds(seen, well, ill) < log_odds(worse, well, ill)


def test_fishers_test_gives_the_textbook_value() -> None:
    # Fisher's lady tasting tea: three of four against one of four, p = 17/70.
    assert less(Sample(1, 4), Sample(3, 4)) == pytest.approx(17 / 70)


def test_large_samples_agree_with_the_exact_test() -> None:
    exact, normal = less(Sample(30, 990), Sample(45, 1000)), less(Sample(31, 1023), Sample(45, 1000))
    assert normal == pytest.approx(exact, rel=0.35)
