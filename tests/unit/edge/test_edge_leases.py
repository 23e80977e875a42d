"""Tokens on lease: however workers take, spend, keep and give them back, no window admits more than burst + rate·t."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.limits import Limit, LimitMode, Quota, Scope
from gateway.edge import leases
from gateway.edge.leases import Exhausted, Lease
from gateway.edge.limit_groups import Group
from gateway.edge.limits import LimitSet, Verdict
from gateway.edge.periods import TICKS_PER_S, period
from gateway.edge.token_bucket import PERIOD
from tests.unit.edge.script_model import Model

START = 1_740_000 * 1_000_000_000  # a tick in 2026
LATE_FRACTION = 0.999  # nearly the whole of a lease's life


def limits(rate: float = 100.0, burst: int = 200, *quotas: Quota, mode: LimitMode = LimitMode.ENFORCE) -> LimitSet:
    return LimitSet((Limit(name="n", rate=rate, burst=burst, scope=Scope.CLIENT, mode=mode),), quotas)


class Worker:
    """Asks as the limiter does, with the model for Redis and a clock of the test's."""

    def __init__(self, redis: Model, limited: LimitSet) -> None:
        self.redis = redis
        self.limits = limited
        self.group = Group([(rule.name, "x") for rule in limited.rules])
        self.lease: Lease | None = None
        self.over: Lease | None = None

    def take(self, now: int, wanted: int, *, reply_lost: bool) -> bool:
        seconds = now / TICKS_PER_S
        if self.lease is not None:
            if self.lease.verdict(seconds) is not None:
                return True
            self.over, self.lease = self.lease, None
        settle = tuple(self.over.settlement()) if self.over is not None else None
        self.over = None
        names, buckets = [rule.name for rule in self.limits.rules], list(self.limits.buckets(1))
        lease = (wanted, self.limits.lease) if wanted else None
        answers = self.redis.call(now, names, buckets, len(names), lease, settle)
        if reply_lost or any(answers[1 : 3 * len(names) : 3]):
            return False
        if lease is not None and answers[-2]:
            granted = (answers[-2], answers[-1])
            self.lease = Lease(self.group, self.limits, answers[: 3 * len(names)], granted, seconds)
        return True

    def give_back(self, now: int) -> None:
        """What the limiter's sweep does."""
        lease, self.lease = self.lease, None
        if lease is not None:
            names, buckets = [rule.name for rule in self.limits.rules], list(self.limits.buckets(1))
            self.redis.call(now, names, buckets, len(names), settle=tuple(lease.settlement()), charging=False)


moments = st.tuples(
    st.one_of(st.just(0), st.integers(0, TICKS_PER_S // 100), st.integers(0, 2 * TICKS_PER_S)),
    st.integers(0, 3),  # which worker
    st.sampled_from([0, 16, 40, 64]),  # tokens it asks for on lease
    st.integers(1, 90),  # requests at that moment
    st.sampled_from(["", "", "", "lost", "back"]),
)


@settings(max_examples=150, deadline=None)
@given(
    rate=st.floats(5, 3000),
    burst=st.integers(128, 400),
    story=st.lists(moments, min_size=2, max_size=25),
)
def test_over_any_window_no_more_than_burst_and_rate_is_admitted_by_all_workers(rate, burst, story):
    limited = limits(rate, burst)
    redis = Model()
    workers = [Worker(redis, limited) for _ in range(4)]
    now = START
    admitted: list[tuple[int, int]] = []  # when, how many
    for step, number, wanted, requests, happening in story:
        now += step
        worker = workers[number]
        if happening == "back":
            worker.give_back(now)
            continue
        passed = sum(worker.take(now, wanted, reply_lost=happening == "lost") for _ in range(requests))
        admitted.append((now, passed))
    [(interval, capacity)] = limited.buckets(1)
    for first in range(len(admitted)):
        total = 0
        for last in range(first, len(admitted)):
            total += admitted[last][1]
            assert total * interval <= capacity + admitted[last][0] - admitted[first][0]


def test_a_lease_spent_at_the_end_of_its_life_is_paid_for_as_if_it_had_been_taken_there():
    """The case that charging when leased gets wrong: the bucket fills again behind a lease that is still out."""
    limited = limits(100.0, 200)
    redis = Model()
    holder, other = Worker(redis, limited), Worker(redis, limited)
    assert holder.take(START, 64, reply_lost=False)
    assert holder.lease is not None and holder.lease.tokens == 23  # an eighth of what is left beside the lease's life
    late = START + int(limited.lease * LATE_FRACTION * leases.SAFE_PART)
    spent = sum(holder.lease.verdict(late / TICKS_PER_S) is not None for _ in range(64))
    others = sum(other.take(late, 0, reply_lost=False) for _ in range(400))
    assert spent == 23
    assert 199 <= spent + others <= 200


def test_what_a_lease_held_back_is_there_again_once_it_is_settled():
    limited = limits(100.0, 200)
    redis = Model()
    worker = Worker(redis, limited)
    assert sum(worker.take(START, 64, reply_lost=False) for _ in range(400)) == 200


def test_a_lease_given_back_late_gives_back_its_tokens_and_not_the_time_it_was_out():
    limited = limits(100.0, 200)
    redis = Model()
    holder, other = Worker(redis, limited), Worker(redis, limited)
    assert holder.take(START, 64, reply_lost=False)
    late = START + int(limited.lease * LATE_FRACTION)
    before = sum(other.take(late, 0, reply_lost=False) for _ in range(400))
    holder.give_back(late)
    after = sum(other.take(late, 0, reply_lost=False) for _ in range(400))
    assert before == 176
    assert after in {23, 24}, "the bucket had no room for what it would have gained meanwhile"


def test_tokens_that_nobody_came_for_are_given_back():
    limited = limits(1.0, 200)
    redis = Model()
    worker = Worker(redis, limited)
    worker.take(START, 64, reply_lost=False)
    worker.give_back(START)
    assert sum(worker.take(START, 0, reply_lost=False) for _ in range(400)) == 199


def test_a_lease_answers_with_what_is_left_as_if_each_token_had_been_asked_for():
    limited = limits(100.0, 200)
    leased, plain = Worker(Model(), limited), Worker(Model(), limited)
    assert leased.take(START, 64, reply_lost=False)
    plain.take(START, 0, reply_lost=False)
    assert leased.lease is not None
    for number in range(1, 20):
        now = START + number * 1000
        verdict = leased.lease.verdict(now / TICKS_PER_S)
        assert verdict is not None and verdict.answers is not None
        expected = plain.redis.call(now, ["n"], list(limited.buckets(1)), 1)
        assert verdict.answers[:2] == expected[:2]
        assert abs(verdict.answers[2] - expected[2]) <= 2
        assert verdict.fields()[1][1].startswith(b'"n";r=%d;t=' % (199 - number))


def test_a_lease_never_outlives_the_day_it_was_charged_to():
    day = period(-1, START)
    at = day.end - TICKS_PER_S // 10
    limited = limits(5000.0, 5000, Quota(name="q", count=1000, period="day", scope=Scope.CLIENT))
    redis = Model()
    worker = Worker(redis, limited)
    assert worker.take(at, 64, reply_lost=False)
    assert worker.lease is not None
    assert worker.lease.verdict(day.end / TICKS_PER_S) is None
    assert redis.states["q"] == day.number * PERIOD + 65
    worker.over, worker.lease = worker.lease, None
    worker.take(day.end, 0, reply_lost=False)
    assert redis.states["q"] == (day.number + 1) * PERIOD + 1, "yesterday's tokens are none of today's"


@pytest.mark.parametrize(
    "limited",
    [
        limits(10.0, 127),
        limits(1000.0, 1000, Quota(name="q", count=100, period="day", scope=Scope.CLIENT)),
        limits(mode=LimitMode.SHADOW),
    ],
    ids=["small burst", "small quota", "shadow"],
)
def test_limits_too_small_to_share_and_limits_that_only_watch_are_never_leased(limited):
    assert limited.lease == 0


def test_only_a_busy_caller_gets_a_lease_and_no_larger_than_it_spends():
    limited = limits(10_000.0, 10_000)  # a lease lives for a sixteenth of a second
    group = Group([("n", "x")])
    asked = []
    for number in range(200):
        now = 5.0 + number / 800
        asked.append(leases.wanted(group, limited, now) if leases.is_hot(group, now) else 0)
    assert set(asked[:7]) == {0}
    assert 45 <= max(asked) <= 64
    slow = Group([("n", "x")])
    assert not any(leases.wanted(slow, limited, n / 100) for n in range(50) if leases.is_hot(slow, n / 100))


def test_near_the_limit_leases_shrink_and_then_stop():
    limited = limits(1.0, 400)
    redis = Model()
    sizes = []
    for _ in range(400):
        answers = redis.call(START, ["n"], list(limited.buckets(1)), 1, (64, limited.lease))
        if answers[1]:
            break
        sizes.append(answers[-2])
    granted = [size for size in sizes if size]
    assert granted == sorted(granted, reverse=True)
    assert min(granted) >= leases.LEAST
    assert sum(sizes) + len(sizes) in {398, 399, 400}
    assert sizes[-100:] == [0] * 100


def test_a_refused_caller_is_refused_without_asking_until_redis_may_have_a_token():
    limited = limits(10.0, 1)
    refused = Exhausted(limited, Verdict(limits=limited, answers=[0, 800_000, 800_000]), 100.0)
    soon = refused.verdict(100.05)
    assert soon is not None and not soon.allowed
    assert soon.answers == pytest.approx([0, 400_000, 400_000], abs=2)
    assert refused.verdict(100.1) is None


def test_a_long_refusal_is_asked_for_again_after_a_second():
    limited = limits(0.001, 1)
    answers = [0, 1000 * TICKS_PER_S, 1000 * TICKS_PER_S]
    refused = Exhausted(limited, Verdict(limits=limited, answers=answers), 100.0)
    held = refused.verdict(100.99)
    assert held is not None and held.retry_after_s() == 1000
    assert refused.verdict(101.0) is None
