"""Quotas, leases and what is under way on the running program: over restarts, a flush, a frozen and a dead Redis."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest
import redis

from tests import running
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

Limited = tuple[running.Gateway, running.Origin]

WORKERS = 2
QUOTA = 30
BURST = 400
MOST_LEASED = 64  # by one worker at once


def route(name: str, limit: str) -> str:
    return f"""
[[routes]]
name = "{name}"
match = {{ path = "/{name}/*" }}
upstream = "api"
limit = "{limit}"
"""


ROUTES = (
    route("daily", f"quota {QUOTA} per day per client")
    + route("busy", f"60/h burst {BURST} per client")
    + route("few", "4 at once per client")
)


@pytest.fixture
def limited(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    with running.origin() as origin:
        text = running.config(origin.port, server=f"workers = {WORKERS}", more='[redis]\nbudget = "300ms"\n' + ROUTES)
        folder = tmp_path_factory.mktemp("limited")
        with running.gateway(folder, text, SENTINEL_REDIS__URL=redis_server.url) as gateway:
            gateway.wait(lambda: gateway.log.read_text().count("redis.connected") == WORKERS, 10, "workers have Redis")
            yield gateway, origin


def ask(gateway: running.Gateway, path: str, count: int, *, at_once: int = 4) -> Counter[int]:
    """Statuses, from several clients whose connections the workers share."""

    def some(number: int) -> list[int]:
        statuses = []
        for _ in range(0, number, 10):
            with httpx2.Client() as client:
                statuses += [client.get(f"{gateway.url}{path}").status_code for _ in range(10)]
        return statuses

    with ThreadPoolExecutor(at_once) as callers:
        answers = list(callers.map(some, [count // at_once] * at_once))
    return Counter(status for statuses in answers for status in statuses)


def test_a_quota_is_exact_with_redis_and_stays_used_up_without_it(limited: Limited, redis_server: RedisServer) -> None:
    gateway, _ = limited
    assert ask(gateway, "/daily/x", 80) == {200: QUOTA, 429: 80 - QUOTA}
    redis_server.signal(signal.SIGKILL)
    gateway.wait(lambda: gateway.log.read_text().count("redis.lost") >= WORKERS, 10, "workers know")
    assert ask(gateway, "/daily/x", 40) == {429: 40}


def test_leases_never_give_away_more_than_the_burst_and_a_flush_no_more_than_one_again(
    limited: Limited, redis_server: RedisServer
) -> None:
    gateway, _ = limited
    seen = ask(gateway, "/busy/x", BURST + 200)
    admitted = seen[200]
    # An hour's sixtieth comes back per minute; what is on lease at the other worker may come a moment late.
    assert BURST - WORKERS * MOST_LEASED <= admitted <= BURST + 1
    assert set(seen) == {200, 429}
    gateway.wait(lambda: local(gateway, "leased") > BURST / 4, 5, "leases are counted")
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    time.sleep(1.1)  # a caller known to be out of tokens is refused for a second at most
    again = ask(gateway, "/busy/x", BURST + 200)
    assert BURST - WORKERS * MOST_LEASED <= again[200] <= BURST + WORKERS * MOST_LEASED
    assert set(again) == {200, 429}


def test_tokens_on_lease_are_good_while_redis_is_frozen(limited: Limited, redis_server: RedisServer) -> None:
    gateway, _ = limited
    before = ask(gateway, "/busy/x", 120)
    redis_server.signal(signal.SIGSTOP)
    frozen = ask(gateway, "/busy/x", 600)
    redis_server.signal(signal.SIGCONT)
    assert before == {200: 120}
    assert set(frozen) == {200, 429}
    # Locally each worker has half of the burst; on lease it had at most 64 more.
    assert frozen[200] <= BURST + WORKERS * MOST_LEASED + 1
    assert "Traceback" not in gateway.log.read_text()


def local(gateway: running.Gateway, outcome: str) -> float:
    text = httpx2.get(f"{gateway.admin_url}/metrics").text
    name = f'sentinel_limiter_local_total{{outcome="{outcome}"}}'
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_no_more_are_under_way_at_once_than_agreed_and_clients_that_leave_make_room(limited: Limited) -> None:
    """Four at once on a node of two workers: two in each, whichever way the connections fall."""
    gateway, origin = limited
    origin.delay_s = 1.0
    with httpx2.Client(limits=httpx2.Limits(max_connections=40)) as client:
        with ThreadPoolExecutor(16) as callers:
            statuses = Counter(callers.map(lambda _: client.get(f"{gateway.url}/few/x").status_code, range(16)))
        assert statuses[200] <= 4
        assert statuses[200] + statuses[429] == 16
        leave_early(gateway, 12)
        origin.delay_s = 0.0
        gateway.wait(lambda: client.get(f"{gateway.url}/few/x").status_code == 200, 5, "slots are free again")
    refused = shop.metric(gateway, "sentinel_rate_limited_total")
    assert refused >= 12


def leave_early(gateway: running.Gateway, clients: int) -> None:
    def go(_number: int) -> None:
        with httpx2.Client(timeout=0.2) as client, contextlib.suppress(httpx2.TimeoutException):
            while client.get(f"{gateway.url}/few/x").status_code == 429:
                pass

    threads = [threading.Thread(target=go, args=(number,)) for number in range(clients // 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)


def test_without_redis_workers_count_a_quota_together_and_a_restart_gives_no_second_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("alone")
    with running.origin() as origin:
        text = running.config(origin.port, server=f"workers = {WORKERS}", more=ROUTES)
        with running.gateway(folder, text) as gateway:
            assert ask(gateway, "/daily/x", 40)[200] == QUOTA
            gateway.child("worker 1").kill()
            gateway.wait(lambda: gateway.has_child("worker 1"), 10, "the worker is back")
            gateway.wait(gateway.answers, 10, "it answers")
            assert ask(gateway, "/daily/x", 40) == {429: 40}
        with running.gateway(folder, text) as gateway:
            assert ask(gateway, "/daily/x", 40) == {429: 40}
