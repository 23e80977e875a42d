"""The limiter on a real Redis: batches, NOSCRIPT, freezing, dying, coming back."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from contextlib import asynccontextmanager

import pytest
import redis
import uvloop

from gateway.domain.limits import Limit, Scope, WhenUnavailable
from gateway.edge.limits import LimitSet
from gateway.edge.rate_limit import RateLimiter, script
from gateway.edge.redis_link import RedisLink
from gateway.errors import ConfigError
from gateway.metrics import WorkerCounters
from tests.unit.edge.edge_values import exchange, route

CALLS = "sentinel_limiter_calls_total"
FALLBACKS = "sentinel_limiter_fallback_total"


def limits(*, rate: float = 0.001, burst: int = 5, scope: Scope = Scope.CLIENT, name: str = "") -> LimitSet:
    return LimitSet((Limit(name=name or uuid.uuid4().hex, rate=rate, burst=burst, scope=scope),))


@asynccontextmanager
async def limiter_on(url: str, counters: WorkerCounters | None = None, **changes):
    link = RedisLink(url, script())
    limiter = RateLimiter(counters or WorkerCounters(), link=link, **changes)
    link.start()
    try:
        await until(lambda: link.ready)
        yield limiter
    finally:
        await limiter.close()


async def until(ready, within_s: float = 8.0) -> None:
    async with asyncio.timeout(within_s):
        while not ready():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.005)


async def take(limiter: RateLimiter, limited: LimitSet, when: WhenUnavailable = WhenUnavailable.LOCAL):
    made = exchange()
    made.limits = limited
    made.route = route(limit_unavailable=when)
    later = asyncio.get_running_loop().create_future()
    verdict = limiter.take(made, later.set_result)
    async with asyncio.timeout(2):
        return verdict if verdict is not None else await later


@pytest.mark.anyio
async def test_all_checks_of_one_tick_go_in_one_call(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        limited = limits(burst=20)
        verdicts = await asyncio.gather(*(take(limiter, limited) for _ in range(50)))
    assert [verdict.allowed for verdict in verdicts] == [True] * 20 + [False] * 30
    assert counters.take() == {f"{CALLS}|ok": 1}


@pytest.mark.anyio
async def test_a_tick_with_very_many_checks_is_cut_into_calls_of_128(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        limited = limits(burst=300)
        verdicts = await asyncio.gather(*(take(limiter, limited) for _ in range(300)))
    assert all(verdict.allowed for verdict in verdicts)
    assert counters.take()[f"{CALLS}|ok"] == 3


@pytest.mark.anyio
async def test_two_workers_share_one_bucket(redis_url):
    async with limiter_on(redis_url) as one, limiter_on(redis_url) as two:
        limited = limits(burst=10)
        verdicts = [await take(limiter, limited) for _ in range(8) for limiter in (one, two)]
    assert sum(verdict.allowed for verdict in verdicts) == 10


@pytest.mark.anyio
async def test_the_verdict_tells_what_is_left_and_when_to_come_back(redis_url):
    async with limiter_on(redis_url) as limiter:
        limited = limits(rate=0.1, burst=2, name="few")
        made = [await take(limiter, limited) for _ in range(3)]
    assert dict(made[0].fields())[b"ratelimit"].startswith(b'"few";r=1;t=')
    assert made[2].retry_after_s() in {9, 10}
    assert made[2].refused_by().name == "few"


@pytest.mark.anyio
async def test_a_flushed_script_is_loaded_again_and_nobody_notices(redis_url):
    counters = WorkerCounters()
    async with limiter_on(redis_url, counters) as limiter:
        limited = limits(burst=1)
        assert (await take(limiter, limited)).allowed
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
        assert not (await take(limiter, limited)).allowed
        assert not (await take(limiter, limited)).allowed
    counted = counters.take()
    assert counted[f"{CALLS}|noscript"] == 1
    assert FALLBACKS not in counted


@pytest.mark.anyio
async def test_a_hostile_subject_only_ever_reaches_its_own_key(redis_url):
    async with limiter_on(redis_url) as limiter:
        made = exchange(peer="x}:y\r\n*1\r\n$8\r\nFLUSHALL\r\n")
        limited = limits(name=f"n{uuid.uuid4().hex}")
        made.limits = limited
        later = asyncio.get_running_loop().create_future()
        assert limiter.take(made, later.set_result) is None
        assert (await later).allowed
        assert (await take(limiter, limited)).answers[0] == 4
    with redis.Redis.from_url(redis_url) as client:
        keys = client.keys(f"sentinel:*{limited.rules[0].name}")
    assert len(keys) == 2


@pytest.mark.anyio
async def test_when_redis_freezes_only_the_first_wait_and_no_longer_than_the_budget(redis_server):
    counters = WorkerCounters()
    async with limiter_on(redis_server.url, counters, budget_s=0.025) as limiter:
        limited = limits(burst=3)
        assert (await take(limiter, limited)).allowed
        redis_server.signal(signal.SIGSTOP)
        first = await asyncio.gather(*(take(limiter, limited) for _ in range(4)))
        assert [verdict.allowed for verdict in first] == [True, True, True, False]  # the worker's own bucket
        made = exchange()
        made.limits, made.route = limited, route()
        assert limiter.take(made, lambda _: pytest.fail("waited")) is not None
        assert counters.take() == {f"{CALLS}|ok": 1, f"{CALLS}|slow": 1, FALLBACKS: 5}
        redis_server.signal(signal.SIGCONT)
        await until(lambda: not limiter._redis.breaker.open)
        assert (await take(limiter, limited)).answers is not None
        assert counters.take().get(FALLBACKS) is None


@pytest.mark.anyio
async def test_when_redis_dies_the_route_decides_and_when_it_is_back_so_are_the_limits(redis_server):
    counters = WorkerCounters()
    async with limiter_on(redis_server.url, counters, live_workers=lambda: 2) as limiter:
        limited = limits(burst=4)
        assert (await take(limiter, limited)).allowed
        redis_server.signal(signal.SIGKILL)
        await until(lambda: not limiter._link.ready)
        local = [await take(limiter, limited) for _ in range(4)]
        assert [verdict.allowed for verdict in local] == [True, True, False, False]  # 4 tokens ÷ 2 live workers
        assert all([(await take(limiter, limited, WhenUnavailable.OPEN)).allowed for _ in range(9)])
        closed = await take(limiter, limited, WhenUnavailable.CLOSED)
        assert (closed.allowed, closed.unavailable) == (False, True)
        assert counters.take()[FALLBACKS] == 14
        redis_server.start()
        await until(lambda: limiter._link.ready)
        again = [await take(limiter, limited) for _ in range(5)]
        assert [verdict.allowed for verdict in again] == [True] * 4 + [False]  # one extra burst, then the limit holds


@pytest.mark.anyio
async def test_requests_under_way_when_redis_dies_are_decided_at_once(redis_server):
    async with limiter_on(redis_server.url, budget_s=5.0) as limiter:
        limited = limits()
        redis_server.signal(signal.SIGSTOP)
        waiting = [asyncio.ensure_future(take(limiter, limited)) for _ in range(3)]
        await asyncio.sleep(0.01)
        redis_server.signal(signal.SIGKILL)
        verdicts = await asyncio.wait_for(asyncio.gather(*waiting), 2)
    assert all(verdict.allowed for verdict in verdicts)


@pytest.mark.anyio
async def test_without_redis_at_start_requests_are_decided_alone_from_the_first(redis_server):
    redis_server.stop()
    counters = WorkerCounters()
    link = RedisLink(redis_server.url, script())
    limiter = RateLimiter(counters, link=link)
    link.start()
    assert (await take(limiter, limits())).allowed
    assert counters.take() == {FALLBACKS: 1}
    await limiter.close()


@pytest.mark.anyio
async def test_an_error_of_redis_is_a_fallback_and_counted(redis_server):
    counters = WorkerCounters()
    async with limiter_on(redis_server.url, counters) as limiter:
        with redis.Redis.from_url(redis_server.url) as client:
            client.config_set("maxmemory", "1")
            client.config_set("maxmemory-policy", "noeviction")
        assert (await take(limiter, limits())).allowed
    assert counters.take() == {f"{CALLS}|failed": 1, FALLBACKS: 1}


@pytest.mark.anyio
async def test_a_password_and_a_database_are_used(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("requirepass", "pass word")
    url = f"redis://:pass%20word@127.0.0.1:{redis_server.port}/3"
    async with limiter_on(url) as limiter:
        assert (await take(limiter, limits())).allowed
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 1


@pytest.mark.parametrize("url", ["http://x", "redis://h?socket_timeout=3", "unix://", "redis://h/x?db=y"])
@pytest.mark.anyio
async def test_a_url_that_is_wrong_or_would_do_nothing_is_refused(url):
    with pytest.raises(ConfigError):
        RedisLink(url, b"")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_loop_that_was_busy_itself_does_not_blame_redis(redis_url, run):
    counters = WorkerCounters()

    async def busy():
        async with limiter_on(redis_url, counters) as limiter:
            waiting = asyncio.ensure_future(take(limiter, limits()))
            while not limiter._redis._under_way:  # noqa: ASYNC110 - ticks are what this waits for
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # the call is written now
            time.sleep(0.1)  # noqa: ASYNC251 - four budgets long, and the reply lies in the socket
            assert (await waiting).allowed

    run(busy())
    assert counters.take() == {f"{CALLS}|ok": 1}
