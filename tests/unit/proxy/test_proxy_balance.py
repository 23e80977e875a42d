"""Whose turn it is, and who is out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.orders import Orders
from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.domain.upstreams import Target
from gateway.proxy.balance import Rotation
from gateway.proxy.orders import ejections_of


def rotation(**weights: int) -> Rotation:
    return Rotation(tuple(Target(name, name, 80, weight) for name, weight in weights.items()))


def picks(balance: Rotation, count: int, now: float = 0.0) -> list[str]:
    return [target.name for _ in range(count) if (target := balance.pick(now))]


def order(number: str = "d", *, fence: int = 1, issued: float = 100.0, until: float = 160.0, share: float = 0.0):
    return Directive(number, DirectiveKind.EJECT_TARGET, "u", "a", share, issued, until, fence, "health", "why")


def test_turns_interleave_by_weight():
    assert "".join(picks(rotation(a=5, b=1, c=1), 7)) == "aabacaa"


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_every_full_round_gives_each_target_exactly_its_weight(weights):
    names = {f"t{number}": weight for number, weight in enumerate(weights)}
    balance = rotation(**names)
    for _ in range(3):
        assert Counter(picks(balance, sum(weights))) == names


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_no_target_waits_much_longer_than_its_share(weights):
    names = {f"t{number}": weight for number, weight in enumerate(weights)}
    turns = picks(rotation(**names), sum(weights) * 3)
    for name, weight in names.items():
        at = [place for place, turn in enumerate(turns) if turn == name]
        assert max(after - before for before, after in pairwise(at)) <= 2 * sum(weights) / weight


def test_an_ejected_target_gets_nothing_and_the_others_share_by_weight():
    balance = rotation(a=1, b=1, c=2)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    assert Counter(picks(balance, 1200)) == {"b": 400 + 0, "c": 800}


def test_a_trial_gets_exactly_its_share_of_its_usual_traffic():
    balance = rotation(a=1, b=1)
    balance.eject([("a", 0.1, 60.0)], 0.0)
    assert Counter(picks(balance, 1000)) == {"a": 50, "b": 950}


def test_a_trial_gets_no_more_because_another_target_is_out():
    balance = rotation(a=1, b=1, c=2)
    balance.eject([("a", 0.5, 60.0), ("b", 0.0, 60.0)], 0.0)
    assert Counter(picks(balance, 800)) == {"a": 100, "c": 700}


def test_an_ejection_ends_by_itself():
    balance = rotation(a=1, b=1)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    assert set(picks(balance, 10, now=59.9)) == {"b"}
    assert set(picks(balance, 10, now=60.0)) == {"a", "b"}
    assert balance.shares(60.0) == {"a": 1.0, "b": 1.0}


def test_the_strictest_of_several_ejections_holds_until_it_ends():
    balance = rotation(a=1, b=1)
    balance.eject([("a", 0.0, 10.0), ("a", 0.5, 60.0)], 0.0)
    assert balance.shares(0.0)["a"] == 0.0
    assert balance.shares(10.0)["a"] == 0.5


def test_when_every_target_is_out_all_are_used_and_it_is_counted():
    balance = rotation(a=1, b=1)
    balance.eject([("a", 0.0, 60.0), ("b", 0.0, 60.0)], 0.0)
    assert Counter(picks(balance, 10)) == {"a": 5, "b": 5}
    assert balance.panicked == 10


def test_with_nothing_in_full_service_a_trial_is_preferred_to_one_that_is_out():
    balance = rotation(a=1, b=1)
    balance.eject([("a", 0.0, 60.0), ("b", 0.2, 60.0)], 0.0)
    assert Counter(picks(balance, 10)) == {"b": 10}
    assert balance.panicked == 0


def test_a_second_choice_is_never_one_that_was_tried_nor_one_that_is_out():
    balance = rotation(a=1, b=1, c=1)
    balance.eject([("c", 0.0, 60.0)], 0.0)
    second = balance.pick(0.0, tried=("a",))
    assert second is not None and second.name == "b"
    assert balance.pick(0.0, tried=("a", "b")) is None


def test_without_targets_there_is_no_choice():
    assert Rotation(()).pick(0.0) is None


def test_a_directive_ends_after_its_time_to_live_however_the_wall_clock_stands():
    behind = Orders().accept([order()], wall=-3600.0, now=5.0)  # this clock is an hour slow
    assert list(behind.values()) == [65.0]
    partly_over = Orders().accept([order()], wall=140.0, now=5.0)
    assert list(partly_over.values()) == [25.0]


def test_a_directive_seen_again_keeps_its_deadline_and_cannot_begin_anew():
    orders = Orders()
    assert orders.accept([order()], wall=100.0, now=0.0) == {order(): 60.0}
    assert orders.accept([order()], wall=100.0 - 3600, now=30.0) == {order(): 60.0}
    assert orders.accept([order()], wall=100.0, now=60.0) == {}
    assert orders.accept([order()], wall=100.0, now=61.0) == {}


def test_a_new_directive_of_a_replaced_leader_is_refused():
    orders = Orders()
    orders.accept([order("new", fence=5)], wall=100.0, now=0.0)
    assert orders.accept([order("late", fence=4)], wall=100.0, now=1.0) == {}
    assert (orders.refused, orders.highest_fence) == (1, 5)


def test_what_an_earlier_leader_ordered_stays_until_it_ends():
    orders = Orders()
    early, later = order("early", fence=4), order("later", fence=5)
    orders.accept([early], wall=100.0, now=0.0)
    assert orders.accept([later, early], wall=100.0, now=1.0).keys() == {early, later}


def test_a_directive_that_left_the_snapshot_no_longer_holds():
    orders = Orders()
    orders.accept([order()], wall=100.0, now=0.0)
    assert orders.accept([], wall=100.0, now=1.0) == {}


def test_ejections_are_taken_for_the_upstream_they_name():
    in_force = {order(share=0.25): 60.0}
    assert ejections_of("u", in_force) == [("a", 0.25, 60.0)]
    assert ejections_of("other", in_force) == []
