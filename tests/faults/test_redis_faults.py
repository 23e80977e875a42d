"""Redis that is slow, silent, refused, cut, flushed, frozen, killed or read-only, behind the running program.

Every route has a limit of its own, so each test begins with full buckets. What is asked is asked one by one on one
connection: counting is exact, and who waited for Redis shows in the latency ledger of the records.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import redis

from tests import running, servers
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.faults import wires
from tests.faults.wires import Place, until
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

BURST = 40
BUDGET_S = 0.2  # wide, so that a busy machine does not make Redis look slow
LATE_S = 1.0
EXHAUSTED_S = 1.1  # who has no tokens left is refused without asking for up to a second
POLICIES = ("local", "open", "closed")
FAULTS = ("slow", "silent", "refused", "cut short", "hung up on")
TESTS = ("pieces", "flushed", "scripts", "frozen", "killed", "readonly", "counted", "mended")
CALLS_WITHOUT_SCRIPT = 'sentinel_limiter_calls_total{outcome="noscript"}'
ROUTES = {f"{fault.replace(' ', '-')}-{policy}": policy for fault in FAULTS for policy in POLICIES}
ROUTES |= dict.fromkeys(TESTS, "local")


@dataclass
class Limited:
    place: Place
    server: RedisServer
    network: FaultProxy

    def ask(self, path: str, count: int) -> Counter[int]:
        """Statuses of that many requests, one after another on one connection."""
        wire = self.place.wire()
        statuses: Counter[int] = Counter()
        for _ in range(count):
            wire.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            statuses[wire.answer()[0]] += 1
        wire.close()
        return statuses

    def logged(self, event: str) -> int:
        return self.place.gateway.log.read_text().count(f'"{event}"')

    def redis_is_used(self) -> bool:
        opened, closed = self.logged("limiter.breaker_opened"), self.logged("limiter.breaker_closed")
        return opened == closed and self.logged("redis.connected") == self.logged("redis.lost") + 1

    def mend(self) -> None:
        """Everything is well again, and the worker knows."""
        self.network.heal()
        self.network.listen()
        until(self.redis_is_used, 10, "the worker uses Redis again")


@pytest.fixture(scope="module", params=wires.DRIVERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    with ExitStack() as stack:
        server = stack.enter_context(servers.redis_server())
        network = stack.enter_context(fault_proxy(server.port))
        origin = stack.enter_context(running.origin())
        upstreams = dict.fromkeys(ROUTES, f'targets = ["http://127.0.0.1:{origin.port}"]')
        routes = {
            name: f'limit = "1/h burst {BURST} per client"\nlimit_unavailable = "{policy}"'
            for name, policy in ROUTES.items()
        }
        place = wires.place(
            tmp_path_factory.mktemp("redis"),
            request.param,
            upstreams,
            routes=routes,
            more=f'[redis]\nbudget = "{BUDGET_S * 1000:.0f}ms"\n',
            SENTINEL_REDIS__URL=f"redis://127.0.0.1:{network.port}/0",
        )
        yield Limited(stack.enter_context(place), server, network)


@pytest.fixture
def limited(shared: Limited) -> Iterator[Limited]:
    until(shared.redis_is_used, 10, "the worker uses Redis")
    yield shared
    shared.place.clear()
    shared.mend()


@contextmanager
def fault(limited: Limited, name: str) -> Iterator[None]:
    network = limited.network
    if name == "slow":
        network.faults.latency_s = LATE_S
    elif name == "silent":
        network.faults.silent = True
    elif name == "refused":
        network.refuse()
        network.cut()
    elif name == "cut short":
        network.faults.truncate_after = 5
        network.cut(reset=False)
    else:
        network.faults.hangs_up = True
        network.cut()
    yield
    limited.mend()


@pytest.mark.parametrize("name", FAULTS)
def test_each_route_does_what_it_says_while_redis_is_away_and_nobody_waits_for_it(limited: Limited, name: str) -> None:
    path = name.replace(" ", "-")
    with fault(limited, name):
        assert limited.ask(f"/{path}-local/x", BURST + 20) == {200: BURST, 429: 20}
        assert limited.ask(f"/{path}-open/x", 60) == {200: 60}
        assert limited.ask(f"/{path}-closed/x", 60) == {503: 60}
        away = [record for record in records(limited, path) if record["error"] != "rate_limited"]
        assert len(away) >= BURST + 120
        assert max(record["limit_us"] for record in away) < LATE_S * 1e6, "not even the first waited for the answer"
        waited = [record for record in away if record["limit_us"] > BUDGET_S * 0.9e6]
        assert len(waited) <= 1, "once the breaker is open, nobody waits"


def records(limited: Limited, path: str) -> list[dict[str, int | str]]:
    def found() -> list[dict[str, int | str]]:
        return [one for one in limited.place.gateway.records() if one["path"].startswith(f"/{path}-")]

    until(lambda: len(found()) >= BURST + 140, 10, "everything is recorded")
    return found()


def test_decisions_without_redis_are_counted_and_said(limited: Limited) -> None:
    with fault(limited, "silent"):
        limited.ask("/counted/x", 50)
        until(lambda: shop.metric(limited.place.gateway, "sentinel_limiter_fallback_total") >= 50, 5, "it is counted")
        assert "every node admits at most max(burst, live workers)" in limited.place.gateway.log.read_text()


def test_limits_are_exact_again_once_redis_is_back(limited: Limited) -> None:
    with fault(limited, "silent"):
        assert limited.ask("/mended/x", 10) == {200: 10}
    seen = limited.ask("/mended/x", BURST + 20)
    # Redis has not heard of the ten, unless the one that waited for it was carried out late.
    assert seen in ({200: BURST, 429: 20}, {200: BURST - 1, 429: 21})


def test_replies_in_single_bytes_are_replies(limited: Limited) -> None:
    opened = limited.logged("limiter.breaker_opened")
    limited.network.faults.slice_bytes = 1
    assert limited.ask("/pieces/x", BURST + 20) == {200: BURST, 429: 20}
    assert limited.logged("limiter.breaker_opened") == opened


def test_a_flush_costs_one_burst_and_is_otherwise_not_noticed(limited: Limited) -> None:
    opened = limited.logged("limiter.breaker_opened")
    assert limited.ask("/flushed/x", BURST + 20) == {200: BURST, 429: 20}
    with redis.Redis.from_url(limited.server.url) as client:
        client.flushall()
        client.script_flush()
    time.sleep(EXHAUSTED_S)
    seen = limited.ask("/flushed/x", BURST + 200)
    assert set(seen) == {200, 429}
    assert seen[200] <= BURST
    assert limited.logged("limiter.breaker_opened") == opened


def test_a_script_that_is_forgotten_before_every_request_is_loaded_unseen(limited: Limited) -> None:
    opened = limited.logged("limiter.breaker_opened")
    seen: Counter[int] = Counter()
    with redis.Redis.from_url(limited.server.url) as client:
        for _ in range(BURST + 10):
            client.script_flush()
            seen += limited.ask("/scripts/x", 1)
    assert seen == {200: BURST, 429: 10}
    until(lambda: shop.metric(limited.place.gateway, CALLS_WITHOUT_SCRIPT) > 0, 5, "it happened at all")
    assert limited.logged("limiter.breaker_opened") == opened


def test_a_frozen_redis_is_used_again_when_it_goes_on(limited: Limited) -> None:
    limited.server.signal(signal.SIGSTOP)
    try:
        assert limited.ask("/frozen/x", 20) == {200: 20}
    finally:
        limited.server.signal(signal.SIGCONT)
    limited.mend()
    seen = limited.ask("/frozen/x", BURST + 20)
    # The call that waited when Redis froze may have been carried out late.
    assert seen in ({200: BURST, 429: 20}, {200: BURST - 1, 429: 21})


def test_a_redis_that_is_killed_and_comes_back_empty_gives_no_more_than_its_bursts(limited: Limited) -> None:
    seen = limited.ask("/killed/x", BURST + 10)
    limited.server.signal(signal.SIGKILL)
    time.sleep(EXHAUSTED_S)
    assert not limited.redis_is_used()
    seen += limited.ask("/killed/x", BURST + 10)
    limited.server.start()
    limited.mend()
    time.sleep(EXHAUSTED_S)
    seen += limited.ask("/killed/x", BURST + 10)
    assert set(seen) == {200, 429}
    assert seen[200] == 3 * BURST, "from Redis, from the worker meanwhile, and from a Redis that forgot"


def test_a_redis_that_became_read_only_is_one_that_is_away(limited: Limited) -> None:
    with redis.Redis.from_url(limited.server.url) as client:
        client.replicaof("127.0.0.1", "1")  # of nobody who would answer: a replica that takes no writes
        try:
            assert limited.ask("/readonly/x", BURST + 10) == {200: BURST, 429: 10}
            assert limited.logged("limiter.breaker_opened") > 0
        finally:
            client.replicaof("NO", "ONE")
    limited.mend()
    assert set(limited.ask("/readonly/x", BURST + 10)) == {200, 429}
