"""When an executed action is tried, prolonged and brought back, on exact numbers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.plan import Action, ActionState, Outcome, Sample, Trial
from gateway.domain.window import Window
from gateway.remediate.half_open import Extend, Keep, Restore, Revert, TrialAt, TrialPolicy, next_step
from tests.unit.remediate.test_remediate_verification import T0, action, put
from tests.unit.remediate.world import A

HELPED = Outcome("helped", 0.5, 0.0, 100, T0 + 15, "It helped.")


def held(**fields: object) -> Action:
    base = action((50, 100), (0, 50), target=Sample(50, 50))
    fresh = msgspec.structs.replace(base, outcome=HELPED, trial=Trial(since=T0, pause_s=30.0))
    return msgspec.structs.replace(fresh, **fields)


def on_trial(share: float = 0.1, *, since: float = T0 + 30, failed: int = 0, **fields: object) -> Action:
    return held(trial=Trial(share=share, since=since, failed=failed), **fields)


def trial_traffic(failed: int, requests: int) -> Window:
    window = Window()
    put(window, 35, failed, requests, target=A)
    put(window, 35, 0, 200)
    return window


def test_the_first_trial_begins_after_the_pause() -> None:
    assert next_step(held(), Window(), T0 + 29) == Keep()
    step = next_step(held(), Window(), T0 + 30)
    assert isinstance(step, TrialAt)
    assert step.share == 0.1


def test_no_trial_begins_before_there_is_a_verdict() -> None:
    assert next_step(held(outcome=None), Window(), T0 + 100) == Keep()


def test_a_short_time_to_live_brings_the_trial_forward() -> None:
    brief = held(ttl_s=40.0, effect_until=T0 + 40)
    assert next_step(brief, Window(), T0 + 19) == Keep()
    assert isinstance(next_step(brief, Window(), T0 + 20), TrialAt)


def test_a_few_failures_end_a_trial_at_once() -> None:
    step = next_step(on_trial(), trial_traffic(2, 2), T0 + 36)
    assert isinstance(step, Extend)
    assert "2 of 2 (100 %) failed" in step.reason


@pytest.mark.parametrize(("failed", "pause"), [(0, 30.0), (1, 60.0), (2, 120.0), (3, 240.0), (4, 300.0), (50, 300.0)])
def test_pauses_between_trials_grow_to_a_ceiling(failed: int, pause: float) -> None:
    step = next_step(on_trial(failed=failed), trial_traffic(5, 5), T0 + 36)
    assert isinstance(step, Extend)
    assert step.pause_s == pause


def test_a_pause_never_outlasts_half_of_the_time_to_live() -> None:
    step = next_step(on_trial(failed=9, ttl_s=60.0), trial_traffic(5, 5), T0 + 36)
    assert isinstance(step, Extend)
    assert step.pause_s == 30.0


def test_a_clean_trial_restores_once_slow_failures_would_have_shown() -> None:
    assert next_step(on_trial(), trial_traffic(0, 20), T0 + 39) == Keep()
    step = next_step(on_trial(), trial_traffic(0, 20), T0 + 40)
    assert isinstance(step, Restore)
    assert "the fault is gone" in step.reason


def test_a_fault_that_became_milder_is_still_a_fault() -> None:
    assert isinstance(next_step(on_trial(), trial_traffic(12, 30), T0 + 45), Extend)


def test_the_odd_failure_of_a_healthy_target_does_not_keep_it_out() -> None:
    window = Window()
    put(window, 35, 1, 50, target=A)
    put(window, 35, 4, 200)
    assert isinstance(next_step(on_trial(), window, T0 + 45), Restore)


def test_a_trial_too_thin_to_tell_widens_and_then_stops_widening() -> None:
    window = trial_traffic(0, 2)
    first = next_step(on_trial(), window, T0 + 41)
    assert isinstance(first, TrialAt)
    assert first.share == 0.25
    second = next_step(on_trial(0.25), window, T0 + 51)
    assert isinstance(second, TrialAt)
    assert second.share == 0.5
    assert next_step(on_trial(0.5), window, T0 + 80) == Keep()


def test_little_but_clean_traffic_restores_in_the_end_and_says_how_little() -> None:
    step = next_step(on_trial(0.5), trial_traffic(0, 2), T0 + 90)
    assert isinstance(step, Restore)
    assert "little traffic" in step.reason


def test_little_and_unclean_traffic_prolongs() -> None:
    assert isinstance(next_step(on_trial(0.5), trial_traffic(1, 2), T0 + 90), Extend)


def test_without_any_traffic_a_trial_waits_for_the_end_of_the_effect() -> None:
    assert next_step(on_trial(0.5), Window(), T0 + 599) == Keep()
    assert next_step(on_trial(0.5), Window(), T0 + 600) == Restore("its time to live of 10 min ended")


@pytest.mark.parametrize("verdict", ["no_effect", "worse"])
def test_what_did_not_help_is_reverted(verdict: str) -> None:
    useless = held(outcome=msgspec.structs.replace(HELPED, verdict=verdict, statement="No use."))
    assert next_step(useless, Window(), T0 + 20) == Revert("No use.")


def test_too_little_traffic_to_tell_goes_on_to_a_trial() -> None:
    unclear = held(outcome=msgspec.structs.replace(HELPED, verdict="too_little_traffic"))
    assert isinstance(next_step(unclear, Window(), T0 + 150), TrialAt)


def test_after_a_day_of_prolonging_a_person_has_to_decide_anew() -> None:
    old = held(effect_until=T0 + 90_000)
    step = next_step(old, Window(), T0 + 86_401)
    assert isinstance(step, Revert)
    assert "24 h" in step.reason


@pytest.mark.parametrize("state", [state for state in ActionState if state is not ActionState.EXECUTED])
def test_only_an_executed_action_moves(state: ActionState) -> None:
    assert next_step(held(state=state), Window(), T0 + 10_000) == Keep()


@given(
    failed=st.integers(0, 60),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    verdict=st.sampled_from(["watching", "helped", "no_effect", "worse", "too_little_traffic"]),
    late=st.floats(0, 1e6),
)
def test_nothing_outlives_its_time_to_live(failed: int, share: float, verdict: str, late: float) -> None:
    some = held(
        outcome=msgspec.structs.replace(HELPED, verdict=verdict),
        trial=Trial(share=share, since=T0 + 30, failed=failed),
    )
    assert isinstance(next_step(some, Window(), T0 + 600 + late), Restore)


@given(requests=st.integers(0, 40), share=st.floats(0, 1), after_s=st.integers(0, 60), failed=st.integers(0, 99))
def test_steps_stay_within_the_policy(requests: int, share: float, after_s: int, failed: int) -> None:
    policy = TrialPolicy()
    step = next_step(
        on_trial(failed=failed), trial_traffic(round(requests * share), requests), T0 + 30 + after_s, policy
    )
    if isinstance(step, TrialAt):
        assert policy.share < step.share <= policy.largest_share
    if isinstance(step, Extend):
        assert policy.first_pause_s <= step.pause_s <= policy.longest_pause_s
