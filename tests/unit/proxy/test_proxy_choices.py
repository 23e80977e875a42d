"""The ways to choose among targets in full service, and what retries may cost."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forwarding import Outbound
from gateway.domain.identity import Principal
from gateway.domain.routing import Retry, Route
from gateway.domain.upstreams import Target, Upstream
from gateway.proxy.consistent_hash import ConsistentHash, key_reader
from gateway.proxy.ewma import DECAY_S, Ewma
from gateway.proxy.least_requests import LeastRequests
from gateway.proxy.retry import FLOOR_PER_S, WINDOW_S, RetryBudget, pause_s, repeatable


def targets(**weights: int) -> tuple[Target, ...]:
    return tuple(Target(name, name, 80, weight) for name, weight in weights.items())


def chance(seed: int = 1):
    return Random(seed).random


def pick(balance, now: float = 0.0, key: bytes = b"") -> str:
    target = balance.pick(now, key=key)
    assert target is not None
    return target.name


# --- least requests ---


def test_of_two_the_one_with_fewer_requests_under_way_is_taken():
    balance = LeastRequests(targets(a=1, b=1), chance())
    balance.started("a")
    assert {pick(balance) for _ in range(20)} == {"b"}
    balance.started("b")
    balance.started("b")
    assert {pick(balance) for _ in range(20)} == {"a"}


def test_a_stuck_target_gets_hardly_anything_among_many():
    balance = LeastRequests(targets(a=1, b=1, c=1, d=1), chance())
    for _ in range(100):
        balance.started("a")
    assert "a" not in {pick(balance) for _ in range(200)}


def test_a_heavier_target_carries_more_requests_at_once():
    balance = LeastRequests(targets(a=1, b=3), chance())
    under_way: Counter[str] = Counter()
    for _ in range(400):
        name = pick(balance)
        balance.started(name)
        under_way[name] += 1
    assert under_way["b"] == pytest.approx(300, abs=4)


def test_load_evens_out_whatever_the_start():
    balance = LeastRequests(targets(a=1, b=1, c=1), chance())
    under_way = Counter({"a": 60, "b": 0, "c": 0})
    for _ in range(60):
        balance.started("a")
    for _ in range(120):
        name = pick(balance)
        balance.started(name)
        under_way[name] += 1
    assert max(under_way.values()) - min(under_way.values()) <= 3


def test_an_end_that_nobody_began_leaves_no_debt():
    balance = LeastRequests(targets(a=1, b=1), chance())
    balance.finished("a", 0.0, seconds=1.0, failed=False)
    balance.finished("gone", 0.0, seconds=1.0, failed=False)
    balance.started("gone")
    assert balance.active == {"a": 0, "b": 0}


def test_what_is_under_way_stays_known_when_targets_change():
    before = LeastRequests(targets(a=1, b=1), chance())
    before.started("a")
    after = LeastRequests(targets(a=2, c=1), chance())
    after.follow(before, 0.0)
    assert after.active == {"a": 1, "c": 0}


# --- peak EWMA ---


def answered(balance: Ewma, name: str, now: float, seconds: float, *, failed: bool = False) -> None:
    balance.started(name)
    balance.finished(name, now, seconds=seconds, failed=failed)


def test_the_faster_target_is_taken_until_it_is_busier_than_it_is_faster():
    balance = Ewma(targets(a=1, b=1), chance())
    answered(balance, "a", 0.0, 0.010)
    answered(balance, "b", 0.0, 0.035)
    assert pick(balance) == "a"
    for _ in range(3):
        balance.started("a")
    assert pick(balance) == "b"


def test_a_slow_answer_counts_at_once_and_is_won_back_over_time():
    balance = Ewma(targets(a=1, b=1), chance())
    answered(balance, "a", 0.0, 0.010)
    answered(balance, "b", 0.0, 0.050)
    answered(balance, "a", 0.1, 2.0)
    assert pick(balance, 0.1) == "b"
    now = 0.1
    while pick(balance, now) == "b" and now < 20 * DECAY_S:
        now += 0.5
        answered(balance, "a", now, 0.010)
        answered(balance, "b", now, 0.050)
    assert DECAY_S < now < 10 * DECAY_S


def test_a_target_that_refuses_everything_quickly_does_not_attract_the_traffic():
    balance = Ewma(targets(a=1, b=1), chance())
    answered(balance, "b", 0.0, 0.100)
    for number in range(40):
        answered(balance, "a", number / 20, 0.001, failed=True)
    answered(balance, "b", 2.0, 0.100)
    assert pick(balance, 2.0) == "b"


def test_a_busy_target_that_never_answered_is_taken_for_slow():
    balance = Ewma(targets(a=1, b=1), chance())
    balance.started("a")
    answered(balance, "b", 0.0, 5.0)
    assert {pick(balance) for _ in range(10)} == {"b"}


def test_a_target_that_was_slow_once_is_tried_again():
    balance = Ewma(targets(a=1, b=1), chance())
    answered(balance, "a", 0.0, 3.0)
    now = 0.0
    while now < 200 and pick(balance, now) == "b":
        answered(balance, "b", now, 0.010)
        now += 1.0
    assert now < 100


def test_what_was_learnt_stays_when_targets_change():
    before = Ewma(targets(a=1, b=1), chance())
    answered(before, "a", 0.0, 0.5)
    after = Ewma(targets(a=1, c=1), chance())
    after.follow(before, 0.0)
    assert after.costs.keys() == {"a"}


# --- consistent hashing ---

KEYS = [b"caller %d" % number for number in range(3000)]


def owners(balance: ConsistentHash, now: float = 0.0) -> dict[bytes, str]:
    return {key: pick(balance, now, key) for key in KEYS}


def test_the_same_caller_meets_the_same_target_in_every_worker():
    assert owners(ConsistentHash(targets(a=1, b=1, c=1))) == owners(ConsistentHash(targets(c=1, a=1, b=1)))


def test_callers_are_divided_by_weight():
    counts = Counter(owners(ConsistentHash(targets(a=1, b=2, c=3))).values())
    assert [counts[name] / len(KEYS) for name in "abc"] == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.04)


@given(st.integers(2, 12), st.integers(0, 11))
def test_only_the_callers_of_a_target_that_left_move_and_they_spread(count, leaves):
    names = [f"10.0.0.{number}:80" for number in range(count)]
    left = names[leaves % count]
    before = owners(ConsistentHash(targets(**dict.fromkeys(names, 1))))
    after = owners(ConsistentHash(targets(**dict.fromkeys((name for name in names if name != left), 1))))
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(before[key] == left for key in moved)
    assert len(moved) / len(KEYS) < 1.5 / count + 0.02
    if count > 2:
        assert max(Counter(after[key] for key in moved).values()) < len(moved) * (1 / (count - 1) + 0.35)


def test_while_the_first_is_out_the_next_stands_in_and_then_the_first_is_back():
    balance = ConsistentHash(targets(a=1, b=1, c=1))
    before = owners(balance)
    balance.eject([("a", 0.0, 60.0)], 0.0)
    meanwhile = owners(balance)
    assert all(meanwhile[key] == before[key] for key in KEYS if before[key] != "a")
    assert {meanwhile[key] for key in KEYS if before[key] == "a"} == {"b", "c"}
    assert owners(balance, 60.0) == before


def test_a_second_choice_is_the_next_in_the_callers_own_order():
    balance = ConsistentHash(targets(a=1, b=1, c=1))
    for key in KEYS[:50]:
        first = pick(balance, key=key)
        second = balance.pick(0.0, tried=(first,), key=key)
        third = balance.pick(0.0, tried=(first, second.name), key=key)
        assert {first, second.name, third.name} == {"a", "b", "c"}


def test_among_very_many_targets_a_deep_second_choice_is_found():
    names = [f"t{number}" for number in range(20)]
    balance = ConsistentHash(targets(**dict.fromkeys(names, 1)))
    assert balance.pick(0.0, tried=names[:19], key=b"k").name == "t19"


def outbound(headers=(), subject: str = "", client: bytes = b"192.0.2.7") -> Outbound:
    return Outbound(
        method=b"GET",
        path=b"/",
        query=b"",
        headers=list(headers),
        content_length=0,
        route=Route(name="r", path="/*", upstream="u"),
        upstream=Upstream("u", ()),
        client=client,
        principal=Principal(kind="jwt", subject=subject, tenant="acme") if subject else Principal(kind="", subject=""),
    )


@pytest.mark.parametrize(
    ("hash_by", "request_", "key"),
    [
        ("client", outbound(), b"c192.0.2.7"),
        ("", outbound(), b"c192.0.2.7"),
        ("header:x-shard", outbound([(b"x-shard", b"7")]), b"h7"),
        ("header:x-shard", outbound([(b"x-other", b"7")]), b"c192.0.2.7"),
        ("header:x-shard", outbound([(b"x-shard", b"")]), b"c192.0.2.7"),
        ("cookie:sid", outbound([(b"cookie", b"a=b; sid=abc=; x=y")]), b"kabc="),
        ("cookie:sid", outbound([(b"cookie", b"a=b"), (b"cookie", b"sid=two")]), b"ktwo"),
        ("cookie:sid", outbound([(b"cookie", b"xsid=1; sid")]), b"c192.0.2.7"),
        ("subject", outbound(subject="ann"), b"sacme\0ann"),
        ("subject", outbound(), b"c192.0.2.7"),
    ],
)
def test_whose_request_it_is(hash_by, request_, key):
    assert key_reader(hash_by)(request_) == key


def test_a_header_cannot_take_another_clients_place():
    forged = key_reader("header:x")(outbound([(b"x", b"c192.0.2.7")], client=b"198.51.100.1"))
    assert forged != key_reader("client")(outbound())


# --- retries ---


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=300),
    st.floats(0, 1),
)
def test_retries_never_exceed_the_budget_in_any_window(steps, share):
    budget, now = RetryBudget(), 1000.0
    requests: list[float] = []
    retries: list[float] = []
    for is_request, pause in steps:
        now += pause
        if is_request:
            budget.request(now)
            requests.append(now)
        elif budget.take(share, now):
            retries.append(now)
            recent = sum(at > now - WINDOW_S for at in retries if at >= int(now) - WINDOW_S + 1)
            allowed = share * sum(at >= int(now) - WINDOW_S + 1 for at in requests) + FLOOR_PER_S * WINDOW_S
            assert recent <= allowed + 1e-9


def test_a_quiet_upstream_still_gets_its_first_retries_and_no_more_than_those():
    budget = RetryBudget()
    assert sum(budget.take(0.0, 50.0) for _ in range(100)) == FLOOR_PER_S * WINDOW_S
    assert not budget.take(0.0, 50.0 + WINDOW_S - 1)
    assert budget.take(0.0, 50.0 + WINDOW_S)


def test_a_busy_upstream_gets_its_share_on_top():
    budget = RetryBudget()
    for _ in range(1000):
        budget.request(50.0)
    assert sum(budget.take(0.2, 50.5) for _ in range(1000)) == 200 + FLOOR_PER_S * WINDOW_S


@pytest.mark.parametrize(
    ("reason", "method", "body_kept", "expected"),
    [
        ("503", b"GET", True, True),
        ("503", b"POST", True, False),
        ("503", b"PUT", False, False),
        ("502", b"GET", True, False),
        ("connect", b"POST", False, True),
        ("timeout", b"GET", True, False),
    ],
)
def test_what_may_be_repeated(reason, method, body_kept, expected):
    retry = Retry(on=frozenset({"connect", "503"}))
    assert repeatable(retry, reason, method, body_kept=body_kept) is expected


def test_pauses_grow_are_bounded_and_differ():
    assert pause_s(1, 0.0) == pytest.approx(0.0125)
    assert pause_s(1, 0.999) < pause_s(3, 0.0)
    assert pause_s(100, 0.999) <= 0.25
