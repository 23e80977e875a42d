"""Whole requests whose limits live in a real Redis: waiting for the verdict, and going on without it."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from contextlib import contextmanager

import pytest

from gateway.domain.limits import Limit, Scope, WhenUnavailable
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import RequestRecord
from gateway.edge.rate_limit import RateLimiter, script
from gateway.edge.redis_link import RedisLink
from gateway.metrics import WorkerCounters
from tests.integration.edge.edge_world import FakeForwarder, get, wait_for
from tests.unit.edge.edge_values import Rows, route, snapshot, steps


class StartingForwarder(FakeForwarder):
    """Starts the link from inside the worker's loop, on the first request to an unlimited route."""

    def __init__(self, link: RedisLink) -> None:
        super().__init__(self._script)
        self._link = link

    def _script(self, call) -> None:
        self._link.start()
        call.loop.call_soon(call.answer)


@contextmanager
def gateway(driver, url: str, when: WhenUnavailable = WhenUnavailable.LOCAL):
    limit = Limit(name=uuid.uuid4().hex, rate=0.01, burst=3, scope=Scope.CLIENT)
    given = snapshot(
        route(limits=(limit,), limit_unavailable=when),
        route(name="free", path="/free"),
        policy=EdgePolicy(redis=True, limiter_budget_s=0.05),
    )
    link, rows, counters = RedisLink(url, script()), Rows(), WorkerCounters()
    limiter = RateLimiter(counters, link=link)
    forwarder = StartingForwarder(link)
    with driver(steps(given, limiter=limiter, records=rows, counters=counters), forwarder) as port:
        assert get(port, "/free")[0] == 200
        try:
            wait_for(lambda: link.ready)
            rows.rows.clear()
            yield port, rows, link
        finally:
            asyncio.run_coroutine_threadsafe(limiter.close(), forwarder.calls[0].loop).result(5)


def test_a_limit_in_redis_holds_and_its_wait_stands_in_the_record(driver, redis_url):
    with gateway(driver, redis_url) as (port, rows, _):
        answers = [get(port) for _ in range(4)]
        wait_for(lambda: len(rows.rows) == 4)
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    assert 90 <= int(answers[3][1][b"retry-after"]) <= 100
    records = [RequestRecord(*row) for row in rows.rows]
    assert all(record.limit_us > 0 for record in records)
    assert records[3].error == "rate_limited"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (WhenUnavailable.LOCAL, [200, 200, 200, 429]),
        (WhenUnavailable.OPEN, [200, 200, 200, 200]),
        (WhenUnavailable.CLOSED, [503, 503, 503, 503]),
    ],
)
def test_with_redis_frozen_every_request_is_answered_by_the_routes_choice_without_waiting(
    driver, redis_server, when, expected
):
    with gateway(driver, redis_server.url, when) as (port, _, _):
        redis_server.signal(signal.SIGSTOP)
        begun = time.monotonic()
        answers = [get(port) for _ in range(4)]
        assert time.monotonic() - begun < 3  # a hang would last until the client's own five seconds
        redis_server.signal(signal.SIGCONT)
    assert [status for status, _, _ in answers] == expected
    if when is WhenUnavailable.CLOSED:
        assert b"limiter_unavailable" in answers[0][2]
        assert answers[0][1][b"retry-after"] == b"1"


def test_with_redis_killed_and_started_again_there_is_no_5xx(driver, redis_server):
    with gateway(driver, redis_server.url) as (port, _, link):
        redis_server.signal(signal.SIGKILL)
        assert get(port)[0] == 200
        redis_server.start()
        wait_for(lambda: link.ready)
        assert [get(port)[0] for _ in range(4)] == [200, 200, 200, 429]
