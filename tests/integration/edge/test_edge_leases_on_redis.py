"""Leases, quotas and what is remembered of Redis's answers, on a real Redis and with real processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid

import pytest
import redis

from gateway.domain.limits import Limit, LimitMode, Quota, Scope
from gateway.edge.limits import LimitSet
from gateway.metrics import WorkerCounters
from tests.integration.edge.test_edge_limiter_on_redis import CALLS, FALLBACKS, limiter_on, take, until

LOCAL = "sentinel_limiter_local_total"


def fast(burst: int = 400, rate: float = 100.0) -> LimitSet:
    return LimitSet((Limit(name=uuid.uuid4().hex, rate=rate, burst=burst, scope=Scope.CLIENT),))


def quota(count: int, **changes) -> Quota:
    return Quota(name=uuid.uuid4().hex, count=count, period="day", scope=Scope.CLIENT, **changes)


@pytest.mark.anyio
async def test_a_busy_caller_costs_a_call_for_many_requests_and_gets_exactly_its_burst(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        limited = fast(rate=0.001, burst=2000)
        verdicts = [await take(limiter, limited) for _ in range(2100)]
    assert sum(verdict.allowed for verdict in verdicts) == 2000
    counted = counters.take()
    assert counted[f"{CALLS}|ok"] < 300, "near the limit each request is asked for"
    assert counted[f"{LOCAL}|leased"] > 1700
    assert FALLBACKS not in counted


@pytest.mark.anyio
async def test_the_fields_count_down_one_by_one_whether_leased_or_not(redis_url):
    async with limiter_on(redis_url) as limiter:
        limited = fast(rate=0.001, burst=500)
        left = [(await take(limiter, limited)).fields()[1][1] for _ in range(300)]
    assert [int(field.split(b"r=")[1].split(b";")[0]) for field in left] == list(range(499, 199, -1))


@pytest.mark.anyio
async def test_what_a_worker_had_on_lease_is_there_for_the_others_when_it_ends(redis_url):
    limited = fast(rate=0.001, burst=500)
    async with limiter_on(redis_url) as one:
        taken = [(await take(one, limited)).allowed for _ in range(30)]
        assert one._leases
    async with limiter_on(redis_url) as two:
        rest = [(await take(two, limited)).allowed for _ in range(500)]
    assert sum(taken) + sum(rest) == 500


@pytest.mark.anyio
async def test_tokens_nobody_comes_for_go_back_by_themselves(redis_url):
    limited = fast(rate=50.0, burst=500)
    async with limiter_on(redis_url) as limiter:
        for _ in range(30):
            await take(limiter, limited)
        assert limiter._leases
        await until(lambda: not limiter._leases)
        await asyncio.sleep(0.05)
        [key] = [key for key in limiter._groups._memo.values() if key.keys[0][0] == limited.rules[0].name]
        assert key.known is None
        left = (await take(limiter, limited)).answers[0]
    assert left >= 500 - 31, "what was on lease is back"


@pytest.mark.anyio
async def test_who_has_nothing_left_is_refused_without_asking_for_at_most_a_second(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        limited = fast(rate=0.001, burst=1)
        verdicts = [await take(limiter, limited) for _ in range(40)]
        assert [verdict.allowed for verdict in verdicts] == [True] + [False] * 39
        assert counters.take() == {f"{CALLS}|ok": 2}
        with redis.Redis.from_url(redis_url) as client:
            client.delete(*client.keys(f"sentinel:*{limited.rules[0].name}"))
        async with asyncio.timeout(1.5):
            while not (await take(limiter, limited)).allowed:  # noqa: ASYNC110 - what passes is time
                await asyncio.sleep(0.02)
    assert counters.take()[f"{LOCAL}|exhausted"] >= 38


@pytest.mark.anyio
async def test_a_caller_whose_bucket_fills_again_is_admitted_as_soon_as_it_has_a_token(redis_url):
    async with limiter_on(redis_url) as limiter:
        limited = fast(rate=20.0, burst=1)
        assert (await take(limiter, limited)).allowed
        assert not (await take(limiter, limited)).allowed
        await asyncio.sleep(0.06)
        assert (await take(limiter, limited)).allowed


@pytest.mark.anyio
async def test_a_quota_is_counted_by_all_workers_together_and_a_refusal_charges_nothing(redis_url):
    rate = Limit(name=uuid.uuid4().hex, rate=0.001, burst=5, scope=Scope.CLIENT)
    limited = LimitSet((rate,), (quota(3),))
    async with limiter_on(redis_url) as one, limiter_on(redis_url) as two:
        verdicts = [await take(limiter, limited) for _ in range(3) for limiter in (one, two)]
        assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False] * 3
        assert verdicts[-1].refused_by() == limited.rules[1]
        alone = await take(one, LimitSet((rate,)))
        assert alone.answers[0] == 1, "five tokens less three admitted and this one"


@pytest.mark.anyio
async def test_a_quota_is_leased_too_and_ends_exactly(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        limited = LimitSet((), (quota(1000),))
        verdicts = [await take(limiter, limited) for _ in range(1100)]
    assert sum(verdict.allowed for verdict in verdicts) == 1000
    assert counters.take()[f"{LOCAL}|leased"] > 700


@pytest.mark.anyio
async def test_a_shadow_on_redis_refuses_nobody_and_is_counted(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        tiny = Limit(name=uuid.uuid4().hex, rate=0.001, burst=2, scope=Scope.CLIENT, mode=LimitMode.SHADOW)
        wide = Limit(name=uuid.uuid4().hex, rate=0.001, burst=9, scope=Scope.CLIENT)
        limited = LimitSet((tiny, wide), (quota(4, mode=LimitMode.SHADOW),))
        verdicts = [await take(limiter, limited) for _ in range(12)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 9 + [False] * 3
    assert verdicts[0].fields()[1][1].startswith(b'"%s";r=8;t=' % wide.name.encode())
    assert b"," not in verdicts[0].fields()[1][1]
    assert counters.take()["sentinel_rate_limit_shadowed_total|orders|client"] == 7 + 5


@pytest.mark.anyio
async def test_when_redis_goes_away_a_quota_goes_on_from_what_it_had_counted(redis_server):
    async with limiter_on(redis_server.url) as limiter:
        limited = LimitSet((), (quota(5),))
        assert [(await take(limiter, limited)).allowed for _ in range(3)] == [True] * 3
        redis_server.signal(signal.SIGKILL)
        await until(lambda: not limiter._link.ready)
        assert [(await take(limiter, limited)).allowed for _ in range(4)] == [True, True, False, False]


@pytest.mark.anyio
async def test_leases_of_a_redis_that_was_restarted_are_not_given_back_to_the_new_one(redis_server):
    async with limiter_on(redis_server.url) as limiter:
        limited = fast(rate=0.001, burst=500)
        for _ in range(30):
            await take(limiter, limited)
        assert limiter._leases
        redis_server.signal(signal.SIGKILL)
        redis_server.start()
        await until(lambda: limiter._redis.usable() and limiter._redis.generation == 2)
        await until(lambda: not limiter._leases)
        verdicts = [await take(limiter, limited) for _ in range(600)]
    assert sum(verdict.allowed for verdict in verdicts) == 500, "one extra burst, and no token more"


def test_four_processes_never_admit_more_than_burst_and_rate_over_any_window(redis_url):
    rate, burst, name = 400.0, 300, uuid.uuid4().hex
    arguments = [redis_url, str(rate), str(burst), "1.5", name]
    command = [sys.executable, "-m", "tests.integration.edge.limiter_worker", *arguments]
    workers = [
        subprocess.Popen([*command, str(callers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for callers in (1, 2, 2, 4)
    ]
    try:
        for worker in workers:
            while worker.stdout.readline().strip() != "ready":
                assert worker.poll() is None
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        printed = [worker.communicate(timeout=20)[0].splitlines() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    counted = [line for lines in printed for line in lines if line.startswith("counted")]
    admitted = [tuple(map(int, line.split())) for lines in printed for line in lines if line[:1].isdigit()]
    assert any(f"{LOCAL}|leased" in line for line in counted), counted
    assert not any(FALLBACKS in line for line in counted), counted
    whole_s = (max(after for _, after in admitted) - min(before for before, _ in admitted)) / 1e9
    assert len(admitted) >= 0.9 * (burst + rate * whole_s), "and not much less either"
    # A request counts for a window when all of the time it may have been admitted at lies inside.
    by_begin = sorted(admitted)
    for start in range(0, len(by_begin), 7):
        begins = by_begin[start][0]
        inside = sorted(after for before, after in by_begin[start:] if before >= begins)
        for count, end in enumerate(inside, 1):
            assert count <= burst + rate * (end - begins) / 1e9
