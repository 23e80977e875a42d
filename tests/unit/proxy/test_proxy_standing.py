"""What holds a target back, whichever way its upstream balances."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.upstreams import Balance, Outlier, Target, Upstream
from gateway.proxy.balance import balanced
from gateway.proxy.outlier import Outliers

if TYPE_CHECKING:
    from gateway.proxy.standing import Standing

WAYS = list(Balance)


def standing(
    way: Balance, *, outliers: Outliers | None = None, panic: float = 0.0, slow: float = 0.0, **weights: int
) -> Standing:
    targets = tuple(Target(name, name, 80, weight) for name, weight in weights.items())
    upstream = Upstream("u", targets, balance=way, panic=panic, slow_start_s=slow)
    return balanced(upstream, Random(7).random, outliers)


def picks(balance: Standing, count: int, now: float = 0.0) -> Counter[str]:
    """Requests of as many callers, one after the other."""
    chosen: Counter[str] = Counter()
    for number in range(count):
        target = balance.pick(now, key=b"caller %d" % number)
        assert target is not None
        balance.started(target.name)
        balance.finished(target.name, now, seconds=0.01, failed=False)
        chosen[target.name] += 1
    return chosen


def out(watch: Outliers, name: str, now: float) -> None:
    while name not in watch.away():
        watch.finished(name, watch.started(name, now), now, well=False)


@pytest.mark.parametrize("way", WAYS)
def test_weights_hold(way):
    chosen = picks(standing(way, a=1, b=1, c=2), 4000)
    assert chosen["a"] == pytest.approx(1000, rel=0.15)
    assert chosen["b"] == pytest.approx(1000, rel=0.15)
    assert chosen["c"] == pytest.approx(2000, rel=0.15)


@pytest.mark.parametrize("way", WAYS)
def test_an_ejected_target_gets_nothing_and_comes_back_when_the_order_ends(way):
    balance = standing(way, a=1, b=1, c=1)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    assert picks(balance, 500, 59.9)["a"] == 0
    assert picks(balance, 500, 60.0)["a"] > 100


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_gets_a_tenth_of_its_usual_traffic(way):
    usual = picks(standing(way, a=1, b=1), 2000)["a"]
    balance = standing(way, a=1, b=1)
    balance.eject([("a", 0.1, 60.0)], 0.0)
    assert picks(balance, 2000)["a"] == pytest.approx(usual / 10, rel=0.1)


@pytest.mark.parametrize("way", [Balance.ROUND_ROBIN, Balance.LEAST_REQUESTS, Balance.EWMA])
def test_a_trial_gets_exactly_its_share_however_busy_or_slow_it_is(way):
    balance = standing(way, a=1, b=1)
    balance.finished("a", 0.0, seconds=30.0, failed=True)
    for _ in range(50):
        balance.started("a")
    balance.eject([("a", 0.1, 60.0)], 0.0)
    assert picks(balance, 1000)["a"] == 50


@pytest.mark.parametrize("way", WAYS)
def test_when_every_target_is_out_all_are_used_and_it_is_counted(way):
    balance = standing(way, a=1, b=1)
    balance.eject([("a", 0.0, 60.0), ("b", 0.0, 60.0)], 0.0)
    assert set(picks(balance, 50)) == {"a", "b"}
    assert balance.panicked == 50


@pytest.mark.parametrize("way", WAYS)
def test_with_fewer_in_service_than_the_panic_threshold_ejections_are_ignored_and_counted(way):
    balance = standing(way, panic=0.5, a=1, b=1, c=1)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    assert picks(balance, 300)["a"] == 0
    balance.eject([("a", 0.0, 60.0), ("b", 0.1, 60.0)], 0.0)
    chosen = picks(balance, 600)
    assert min(chosen.values()) > 150
    assert balance.panicked == chosen["a"] + chosen["b"]


@pytest.mark.parametrize("way", WAYS)
def test_a_target_out_by_its_answers_gets_one_probe_at_a_time_when_its_time_is_over(way):
    watch = Outliers(Outlier(consecutive=1, eject_s=10.0), ["a", "b"])
    balance = standing(way, outliers=watch, a=1, b=1)
    out(watch, "a", 0.0)
    assert balance.outliers_changed(0.0)
    assert not balance.outliers_changed(0.0)
    assert picks(balance, 200, 9.9)["a"] == 0
    assert balance.shares(10.0) == {"a": 0.0, "b": 1.0}
    probes = 0
    for number in range(200):
        target = balance.pick(10.0, key=b"%d" % number)
        assert target is not None
        probe = watch.started(target.name, 10.0)
        probes += target.name == "a"
        if target.name == "a":
            assert probe
            ticket = probe
    assert probes == 1
    watch.finished("a", ticket, 10.5, well=True)
    balance.outliers_changed(10.5)
    assert picks(balance, 200, 10.5)["a"] > 50


def test_an_order_of_control_is_not_undone_by_a_probe():
    watch = Outliers(Outlier(consecutive=1, eject_s=10.0), ["a", "b"])
    balance = standing(Balance.ROUND_ROBIN, outliers=watch, a=1, b=1)
    out(watch, "a", 0.0)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    assert picks(balance, 100, 20.0)["a"] == 0


def test_a_second_choice_does_not_add_to_a_probe_under_way():
    watch = Outliers(Outlier(consecutive=1, eject_s=10.0), ["a", "b"])
    balance = standing(Balance.ROUND_ROBIN, outliers=watch, a=1, b=1)
    out(watch, "a", 0.0)
    balance.outliers_changed(0.0)
    second = balance.pick(10.0, tried=("b",))
    assert second is not None and second.name == "a"
    watch.started("a", 10.0)
    assert balance.pick(10.0, tried=("b",)) is None


@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_came_back_gains_its_weight_step_by_step(way):
    usual = picks(standing(way, a=1, b=1), 4000)["a"]
    balance = standing(way, slow=20.0, a=1, b=1)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    for after, share in ((0.0, 0.05), (5.0, 0.3), (10.0, 0.55), (20.0, 1.0)):
        balance.shares(60.0)
        assert balance.shares(60.0 + after)["a"] == pytest.approx(share)
        assert picks(balance, 4000, 60.0 + after)["a"] == pytest.approx(usual * share, rel=0.1)


def test_a_target_that_was_there_from_the_start_needs_no_slow_start():
    assert standing(Balance.ROUND_ROBIN, slow=20.0, a=1, b=1).shares(0.0) == {"a": 1.0, "b": 1.0}


def test_a_target_that_joins_later_starts_slowly_and_the_others_go_on():
    before = standing(Balance.ROUND_ROBIN, slow=20.0, a=1, b=1)
    after = standing(Balance.ROUND_ROBIN, slow=20.0, a=1, b=1, c=1)
    after.follow(before, 100.0)
    assert after.shares(100.0) == {"a": 1.0, "b": 1.0, "c": 0.05}
    assert after.shares(120.0) == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_if_all_start_slowly_the_warmest_count_as_in_full_service():
    before = standing(Balance.ROUND_ROBIN, slow=20.0, a=1)
    after = standing(Balance.ROUND_ROBIN, slow=20.0, b=1, c=1)
    after.follow(before, 100.0)
    assert after.shares(100.0) == {"b": 1.0, "c": 1.0}
    assert picks(after, 100, 100.0) == {"b": 50, "c": 50}


def test_a_new_definition_keeps_orders_and_what_was_counted():
    before = standing(Balance.ROUND_ROBIN, a=1, b=1)
    before.eject([("a", 0.0, 60.0), ("b", 0.0, 60.0)], 0.0)
    picks(before, 3)
    after = standing(Balance.LEAST_REQUESTS, a=1, b=1, c=1)
    after.follow(before, 1.0)
    assert after.shares(1.0) == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert after.panicked == 3


@pytest.mark.parametrize("way", [Balance.ROUND_ROBIN, Balance.LEAST_REQUESTS, Balance.EWMA])
def test_second_choices_are_spread_over_all_others(way):
    balance = standing(way, a=1, b=1, c=1, d=1)
    second: Counter[str] = Counter()
    for _ in range(400):
        first = balance.pick(0.0)
        assert first is not None
        if first.name == "a":
            other = balance.pick(0.0, tried=("a",))
            assert other is not None
            second[other.name] += 1
    assert min(second[name] for name in "bcd") > 0.2 * second.total()


def test_one_that_came_back_by_its_answers_starts_slowly_as_well():
    watch = Outliers(Outlier(consecutive=1, eject_s=10.0), ["a", "b"])
    balance = standing(Balance.ROUND_ROBIN, outliers=watch, slow=20.0, a=1, b=1)
    out(watch, "a", 0.0)
    balance.outliers_changed(0.0)
    watch.finished("a", watch.started("a", 10.0), 10.0, well=True)
    balance.outliers_changed(10.0)
    assert balance.shares(10.0) == {"a": 0.05, "b": 1.0}
    assert balance.shares(30.0) == {"a": 1.0, "b": 1.0}


NAMES = ["a", "b", "c", "d"]
HELD = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([0.0, 0.1, 0.5]), st.floats(1, 50)), max_size=6)


@given(
    st.sampled_from(WAYS),
    HELD,
    st.lists(st.sampled_from(NAMES), max_size=3),
    st.floats(0, 60),
    st.sets(st.sampled_from(NAMES)),
)
def test_who_is_out_is_never_picked_outside_a_panic(way, held, failed, now, tried):
    watch = Outliers(Outlier(consecutive=1, eject_s=20.0, max_ejected=1.0), NAMES)
    balance = standing(way, outliers=watch, a=1, b=2, c=3, d=4)
    for name in failed:
        out(watch, name, 0.0)
    balance.eject(held, 0.0)
    for number in range(20):
        before = balance.panicked
        target = balance.pick(now, tried=frozenset(tried), key=b"%d" % number)
        if target is None:
            assert tried
            continue
        assert target.name not in tried
        ordered_out = any(name == target.name and share == 0 and until > now for name, share, until in held)
        ejected = watch.away().get(target.name, 0.0) > now
        assert (balance.panicked > before) == (ordered_out or ejected)
        if balance.panicked > before and not tried:
            shares = balance.shares(now)
            assert not any(shares[name] for name in NAMES if not watch.away().get(name))
