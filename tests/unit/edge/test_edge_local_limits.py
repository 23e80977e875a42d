"""Limits without Redis: quotas on a node, what only watches, and what is under way at once."""

from __future__ import annotations

import fcntl
import os

import pytest

from gateway.domain.identity import Principal
from gateway.domain.limits import ConcurrencyLimit, Limit, LimitMode, Quota, Scope, TenantPlan
from gateway.edge.concurrency import UnderWay, part
from gateway.edge.limits import LimitSet
from gateway.edge.local_limits import LocalLimits
from gateway.edge.periods import DAY, MONTH, TICKS_PER_S, period
from gateway.edge.quotas import ROWS, WAYS, Quotas
from gateway.edge.rate_limit import RateLimiter
from gateway.edge.token_bucket import PERIOD
from gateway.metrics import WorkerCounters
from tests.unit.edge.edge_values import exchange, route, snapshot, steps

NOON = period(DAY, 200_000_000 * TICKS_PER_S).start + 12 * 3600 * TICKS_PER_S
DAILY = Quota(name="n", count=3, period="day", scope=Scope.CLIENT)
SHADOWED = "sentinel_rate_limit_shadowed_total"
FORGOTTEN = "sentinel_quotas_forgotten_total"


def shadow(rule):
    return type(rule)(**{name: getattr(rule, name) for name in rule.__struct_fields__} | {"mode": LimitMode.SHADOW})


class Clock:
    def __init__(self, ticks: int = NOON) -> None:
        self.ticks = ticks

    def __call__(self) -> int:
        return self.ticks


def local(path=None, clock=None, workers: int = 1, counters: WorkerCounters | None = None) -> LocalLimits:
    return LocalLimits(lambda: workers, Quotas(path, counters or WorkerCounters()), 1000, clock or Clock())


def take(limiter: LocalLimits, *rules, whom: str = "ana") -> bool:
    limits = LimitSet(
        tuple(rule for rule in rules if isinstance(rule, Limit)),
        tuple(rule for rule in rules if isinstance(rule, Quota)),
    )
    return limiter.decide(limits, [(rule.name, whom) for rule in limits.rules]).allowed


@pytest.fixture(params=["in the process", "in a file"])
def path(request, tmp_path):
    return tmp_path / "quotas" if request.param == "in a file" else None


def test_a_quota_is_used_up_and_begins_anew_at_midnight_utc(path):
    clock = Clock()
    limiter = local(path, clock)
    assert [take(limiter, DAILY) for _ in range(5)] == [True, True, True, False, False]
    clock.ticks = period(DAY, NOON).end - 1
    assert not take(limiter, DAILY)
    clock.ticks += 1
    assert take(limiter, DAILY)


def test_a_clock_that_jumps_back_over_midnight_gives_no_second_quota(path):
    clock = Clock()
    limiter = local(path, clock)
    assert [take(limiter, DAILY) for _ in range(3)] == [True] * 3
    clock.ticks -= 24 * 3600 * TICKS_PER_S
    assert not take(limiter, DAILY)


def test_a_request_refused_by_a_quota_costs_no_token_and_one_refused_by_a_rate_no_quota(path):
    rate = Limit(name="r", rate=0.001, burst=4, scope=Scope.CLIENT)
    limiter = local(path)
    assert [take(limiter, rate, DAILY) for _ in range(4)] == [True, True, True, False]
    assert take(limiter, rate), "the fourth token is still there"
    once = Limit(name="once", rate=0.001, burst=1, scope=Scope.CLIENT)
    assert [take(limiter, once, DAILY, whom="bob") for _ in range(4)] == [True, False, False, False]
    assert [take(limiter, DAILY, whom="bob") for _ in range(3)] == [True, True, False]


def test_a_restart_gives_nobody_a_new_quota_and_workers_count_together(tmp_path):
    first, second = local(tmp_path / "quotas", workers=2), local(tmp_path / "quotas", workers=2)
    assert [take(first, DAILY), take(second, DAILY), take(first, DAILY), take(second, DAILY)] == [True] * 3 + [False]
    restarted = local(tmp_path / "quotas", workers=2)
    assert not take(restarted, DAILY)
    assert take(restarted, DAILY, whom="bob")


def test_the_file_is_private(tmp_path):
    take(local(tmp_path / "quotas"), DAILY)
    assert (tmp_path / "quotas").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["quotas"]


def test_a_file_of_another_size_is_made_anew(tmp_path):
    (tmp_path / "quotas").write_bytes(b"half")
    limiter = local(tmp_path / "quotas")
    assert [take(limiter, DAILY) for _ in range(4)] == [True] * 3 + [False]
    assert (tmp_path / "quotas").stat().st_size == ROWS * WAYS * 24


def test_without_room_on_disk_quotas_are_counted_in_the_process(tmp_path):
    limiter = local(tmp_path / "missing" / "quotas")
    assert [take(limiter, DAILY) for _ in range(4)] == [True] * 3 + [False]


def test_a_disk_that_fails_later_loses_nothing_counted_from_then_on(tmp_path, monkeypatch):
    limiter = local(tmp_path / "quotas")
    assert take(limiter, DAILY)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert [take(limiter, DAILY) for _ in range(4)] == [True, True, False, False]


def test_a_frozen_worker_that_holds_the_lock_stops_nobody(tmp_path):
    limiter = local(tmp_path / "quotas")
    take(limiter, DAILY)
    with (tmp_path / "quotas").open("rb+") as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        assert [take(limiter, DAILY) for _ in range(3)] == [True, True, False]


def test_a_full_row_forgets_who_used_least_and_counts_it(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.edge.quotas._offset", lambda _digest: 0)
    counters = WorkerCounters()
    limiter = local(tmp_path / "quotas", counters=counters)
    for number in range(WAYS):
        for _ in range(2 if number else 1):
            take(limiter, DAILY, whom=str(number))
    assert counters.take() == {}
    assert take(limiter, DAILY, whom="one more")
    assert counters.take() == {FORGOTTEN: 1}
    assert [take(limiter, DAILY, whom="1") for _ in range(2)] == [True, False], "who used more is still known"


def test_places_of_days_that_are_over_are_free_again(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.edge.quotas._offset", lambda _digest: 0)
    counters, clock = WorkerCounters(), Clock()
    limiter = local(tmp_path / "quotas", clock, counters=counters)
    for number in range(WAYS):
        take(limiter, DAILY, whom=str(number))
    clock.ticks += 24 * 3600 * TICKS_PER_S
    for number in range(WAYS):
        take(limiter, DAILY, whom=f"new {number}")
    assert counters.take() == {}


def test_what_redis_had_counted_counts_when_it_is_gone(path):
    limiter = local(path)
    limits = LimitSet((), (DAILY,))
    seen = (NOON - TICKS_PER_S, [1, 0, 5])
    verdicts = [limiter.decide(limits, [("n", "ana")], seen).allowed for _ in range(3)]
    assert verdicts == [True, False, False]
    yesterday = (NOON - 24 * 3600 * TICKS_PER_S, [0, 1, 5])
    assert limiter.decide(limits, [("n", "bob")], yesterday).allowed


def test_quotas_are_in_the_fields_with_their_period_in_seconds():
    monthly = Quota(name="many.month", count=1000, period="month", scope=Scope.CLIENT)
    rate = Limit(name="a%b", rate=1.0, burst=5, scope=Scope.CLIENT)
    limits = LimitSet((rate,), (DAILY, monthly))
    verdict = local().decide(limits, [(rule.name, "ana") for rule in limits.rules])
    fields = dict(verdict.fields())
    days = period(MONTH, NOON).seconds // 86_400
    assert days in range(28, 32)
    policy = fields[b"ratelimit-policy"].decode()
    assert policy.startswith('"a%b";q=1;w=1, "n";q=3;w=86400, "many.month";q=1000;w=')
    assert int(policy.rpartition("=")[2]) in {28 * 86_400, 29 * 86_400, 30 * 86_400, 31 * 86_400}
    left = fields[b"ratelimit"].decode().split(", ")
    assert left[1] == '"n";r=2;t=43200'
    assert left[2].startswith('"many.month";r=999;t=')


def test_a_refusal_by_a_quota_says_when_its_period_ends():
    limiter, limits = local(), LimitSet((), (DAILY,))
    for _ in range(3):
        limiter.decide(limits, [("n", "ana")])
    verdict = limiter.decide(limits, [("n", "ana")])
    assert (verdict.refused_by(), verdict.retry_after_s()) == (DAILY, 12 * 3600)


def ask(limiter: RateLimiter, limits: LimitSet, **changes):
    made = exchange(**changes)
    made.limits, made.route = limits, route()
    verdict = limiter.take(made, lambda _: pytest.fail("waited"))
    assert verdict is not None
    return made, verdict


def test_a_limit_in_shadow_refuses_nobody_shows_nowhere_and_is_counted():
    counters = WorkerCounters()
    limiter = RateLimiter(counters)
    limits = LimitSet((shadow(Limit(name="s", rate=0.001, burst=2, scope=Scope.CLIENT)),), (shadow(DAILY),))
    verdicts = [ask(limiter, limits)[1] for _ in range(5)]
    assert all(verdict.allowed for verdict in verdicts)
    assert [verdict.fields() for verdict in verdicts] == [[]] * 5
    assert counters.take() == {f"{SHADOWED}|orders|client": 3 + 2}


def test_a_shadow_beside_a_limit_that_refuses_changes_nothing_of_it():
    rate = Limit(name="r", rate=0.001, burst=3, scope=Scope.CLIENT)
    tiny = shadow(Limit(name="tiny", rate=0.001, burst=1, scope=Scope.CLIENT))
    counters = WorkerCounters()
    limiter = RateLimiter(counters)
    verdicts = [ask(limiter, LimitSet((tiny, rate)))[1] for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False] * 2
    assert verdicts[0].fields()[1][1].startswith(b'"r";r=2;t=')
    assert counters.take() == {f"{SHADOWED}|orders|client": 2}, "what the other refused is not counted"


def test_what_a_shadow_would_have_refused_is_not_charged_to_it():
    slow = shadow(Limit(name="s", rate=1000.0, burst=1, scope=Scope.CLIENT))
    limiter = local()
    limits = LimitSet((slow,))
    answers = [limiter.decide(limits, [("s", "ana")]).answers for _ in range(50)]
    assert all(reset <= TICKS_PER_S // 1000 for _, _, reset in answers)


TWO = ConcurrencyLimit(name="c", at_once=2, scope=Scope.CLIENT)


def test_no_more_are_under_way_at_once_than_agreed_and_who_ends_makes_room():
    limiter, limits = RateLimiter(WorkerCounters()), LimitSet((), (), (TWO,))
    first, second, third = (ask(limiter, limits) for _ in range(3))
    assert [verdict.allowed for _, verdict in (first, second, third)] == [True, True, False]
    assert (third[1].refused_by(), third[1].retry_after_s(), third[1].fields()) == (TWO, 1, [])
    limiter.release(third[0])
    assert not ask(limiter, limits)[1].allowed, "who was refused held nothing"
    limiter.release(first[0])
    limiter.release(first[0])
    assert [ask(limiter, limits)[1].allowed for _ in range(2)] == [True, False], "an end counts once"
    assert ask(limiter, limits, peer="192.0.2.9")[1].allowed


def test_of_several_limits_of_what_is_under_way_all_give_a_slot_or_none():
    one = ConcurrencyLimit(name="one", at_once=1, scope=Scope.ROUTE)
    table = UnderWay()
    made = exchange(), exchange(), exchange()
    assert table.enter((TWO, one), made[0], share=1, number=1) == (None, [])
    assert table.enter((TWO, one), made[1], share=1, number=1) == (one, [])
    assert table.enter((TWO,), made[2], share=1, number=1) == (None, [])
    for each in made:
        table.leave(each)
    assert len(table) == 0, "nothing is kept of who has nothing under way"


def test_a_limit_of_what_is_under_way_in_shadow_is_counted_and_takes_no_slot():
    counters = WorkerCounters()
    limiter, limits = RateLimiter(counters), LimitSet((), (), (shadow(TWO),))
    made = [ask(limiter, limits)[0] for _ in range(5)]
    assert counters.take() == {f"{SHADOWED}|orders|client": 3}
    assert [len(each.slots or ()) for each in made] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 10, 100])
@pytest.mark.parametrize("workers", [1, 2, 4, 7])
def test_the_parts_of_all_workers_are_the_limit_or_one_each(at_once, workers):
    parts = [part(at_once, workers, number) for number in range(1, workers + 1)]
    assert sum(parts) == max(at_once, workers)
    assert max(parts) - min(parts) <= 1


def test_the_steps_take_a_slot_and_give_it_back_when_the_request_is_over():
    limited = route(limits=(Limit(name="l", rate=0.001, burst=2, scope=Scope.CLIENT),), concurrency=(TWO,))
    wired = steps(snapshot(limited))
    outcomes = []
    for _ in range(4):
        made = exchange(wired)
        outcomes.append(wired.admit(made, print))
        wired.finish(made)
        wired.finish(made)
    assert [outcome.status if outcome is not None else 0 for outcome in outcomes] == [0, 0, 429, 429]
    assert len(wired._limiter._under_way) == 0, "also after a refusal by another limit"


def test_a_request_over_the_limit_of_what_is_under_way_is_answered_429_and_costs_no_token():
    counters = WorkerCounters()
    limited = route(limits=(Limit(name="l", rate=0.001, burst=9, scope=Scope.CLIENT),), concurrency=(TWO,))
    wired = steps(snapshot(limited), counters=counters)
    under_way = [exchange(wired) for _ in range(3)]
    refusal = [wired.admit(made, print) for made in under_way][2]
    assert refusal is not None
    assert (refusal.status, refusal.kind) == (429, "rate_limited")
    assert (b"retry-after", b"1") in refusal.headers
    assert counters.take() == {"sentinel_rate_limited_total|orders|client": 1}
    wired.finish(under_way[2])
    wired.finish(under_way[0])
    again = exchange(wired)
    assert wired.admit(again, print) is None
    assert again.verdict.answers[0] == 6


def test_quotas_and_concurrency_of_a_plan_apply_beside_those_of_the_route():
    plan = TenantPlan(name="free", limits=(), quotas=(DAILY,), concurrency=(TWO,))
    runtime = steps(snapshot(plans=(plan,), tenant_plans={"acme": "free"})).runtime
    limits = runtime.limits(route(concurrency=(TWO,)), Principal(kind="jwt", tenant="acme"))
    assert limits is not None
    assert (limits.rules, limits.concurrency) == ((DAILY,), (TWO, TWO))


def test_a_state_tells_its_period_and_what_was_used(tmp_path):
    quotas = Quotas(tmp_path / "quotas", WorkerCounters())
    limiter = LocalLimits(lambda: 1, quotas, 10, Clock())
    for _ in range(2):
        take(limiter, DAILY)
    with quotas.held():
        assert quotas.read(("n", "ana")) == period(DAY, NOON).number * PERIOD + 2


def test_buckets_that_were_forgotten_for_want_of_room_are_counted():
    counters = WorkerCounters()
    limiter = RateLimiter(counters, max_local=8)
    slow = Limit(name="slow", rate=0.001, burst=2, scope=Scope.CLIENT)
    for number in range(20):
        assert take(limiter._local, slow, whom=f"caller-{number}")
    assert counters.take() == {"sentinel_buckets_forgotten_total": 12}
