"""What a scenario saw is counted and judged as its words say."""

from __future__ import annotations

import pytest

from gateway.loadtest import judging
from gateway.loadtest.figures import MAX_ERRORS_KEPT, MAX_KINDS, OTHER, Recorder


def recorder(**durations_ms: list[float]) -> Recorder:
    seen = Recorder(100.0)
    for name, values in durations_ms.items():
        for at, value in enumerate(values):
            seen.add(name, 101.0 + at / 10, value, 10)
    return seen


def test_quantiles_are_of_all_kinds_together_and_of_each():
    whole = recorder(quick=[1.0] * 98, slow=[100.0] * 2).seen(())
    assert whole.whole.p50_ms == pytest.approx(1.0, rel=0.02)
    assert whole.whole.p99_ms == pytest.approx(100.0, rel=0.02)
    assert {kind.name: kind.requests for kind in whole.kinds} == {"quick": 98, "slow": 2}


def test_a_second_holds_only_what_came_in_it():
    seen = recorder(a=[1.0, 1.0])
    first = seen.second(101.0, users=3)
    seen.add("a", 101.5, 1.0, 10, error="no")
    second = seen.second(102.0, users=3)
    assert (first.requests, first.errors, second.requests, second.errors) == (2, 0, 1, 1)
    assert seen.second(103.0, users=0).p95_ms is None


def test_the_span_begins_when_the_first_request_was_sent_not_when_it_was_answered():
    seen = Recorder(0.0)
    seen.add("a", 10.0, 4000.0, 0)
    seen.add("a", 11.0, 1.0, 0)
    assert seen.span_s() == pytest.approx(5.0)


def test_error_texts_and_kinds_are_bounded():
    seen = Recorder(0.0)
    for number in range(500):
        seen.add(f"kind {number}", 1.0, 1.0, 0, error=f"error {number}")
    whole = seen.seen(())
    assert len(whole.error_texts) == MAX_ERRORS_KEPT + 1
    assert whole.error_texts[OTHER] == 500 - MAX_ERRORS_KEPT
    assert len(whole.kinds) == MAX_KINDS + 1
    assert whole.requests == whole.errors == 500


@pytest.mark.parametrize(("admitted", "held"), [(600, True), (601, True), (602, False)])
def test_a_limit_lets_pass_burst_and_rate_times_time_and_the_request_that_rounds_it_up(admitted: int, held: bool):  # noqa: FBT001 - the expectation
    assert judging.within_limit(admitted, rate=50.0, burst=100, span_s=10.0).held is held


def test_a_limit_that_lets_much_less_pass_is_found():
    assert judging.not_stricter(560, asked=9000, rate=50.0, burst=100, span_s=10.0).held
    assert not judging.not_stricter(400, asked=9000, rate=50.0, burst=100, span_s=10.0).held
    assert judging.not_stricter(30, asked=30, rate=50.0, burst=100, span_s=10.0).held


def test_others_may_be_slower_by_half_a_tenth_of_a_second_or_by_as_much_again():
    few_ms, many_ms = [2.0] * 50, [200.0] * 50
    assert judging.not_slower(recorder(a=few_ms, b=[50.0] * 50), "a", "b", "w").held
    assert not judging.not_slower(recorder(a=few_ms, b=[60.0] * 50), "a", "b", "w").held
    assert judging.not_slower(recorder(a=many_ms, b=[390.0] * 50), "a", "b", "w").held
    assert not judging.not_slower(recorder(a=many_ms, b=[420.0] * 50), "a", "b", "w").held


def test_too_few_answers_are_no_proof():
    check = judging.not_slower(recorder(a=[1.0] * 50, b=[1.0] * 3), "a", "b", "w")
    assert not check.held and "too few" in check.detail
    assert not judging.none_failed(Recorder(0.0)).held
    assert not judging.all_true("w", 0, 0).held
    assert not judging.was_refused(0).held
    assert not judging.quick_enough(Recorder(0.0), "a", 10).held


def test_a_failure_is_named_with_its_commonest_reason():
    seen = recorder(a=[1.0] * 3)
    for error in ("rare", "common", "common"):
        seen.add("a", 102.0, 1.0, 0, error)
    check = judging.none_failed(seen)
    assert (check.held, check.detail) == (False, "3 of 6 failed; most often: common")
    assert judging.none_failed(recorder(a=[1.0]), "a").held


def test_memory_is_judged_by_its_peak_not_by_its_end():
    assert not judging.memory_bounded((60.0, 200.0, 61.0), 48.0).held
    assert judging.memory_bounded((60.0, 100.0, 100.0), 48.0).held


def test_what_is_offered_and_not_answered_is_found():
    assert judging.kept_up(95, 100).held
    assert not judging.kept_up(80, 100).held
