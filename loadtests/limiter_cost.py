"""Processor time the edge's steps add to a request: the limiter on a real Redis at 32 at a time, and a record.

Run from the top of the checkout: ``python -m loadtests.limiter_cost [--takes 40000] [--redis URL]``. Without --redis it
starts a Redis of its own. The figures are this process's processor time, not waiting time; Redis has a process of its
own. Goals: at most 25 µs for the limiter, at most 10 µs for a record.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time

import uvloop

from gateway.domain.access import AuthMode
from gateway.domain.identity import Principal
from gateway.domain.limits import Limit, Scope
from gateway.domain.routing import Route
from gateway.domain.snapshot import Snapshot
from gateway.edge import record
from gateway.edge.exchange import Exchange, now_us
from gateway.edge.rate_limit import RateLimiter, script
from gateway.edge.redis_link import RedisLink
from gateway.edge.steps import Steps
from gateway.metrics import WorkerCounters
from tests import servers

AT_ONCE = 32
LIMIT = Limit(name="orders", rate=1e6, burst=1_000_000, scope=Scope.SUBJECT)
ROUTE = Route(name="orders", path="/*", upstream="orders", auth=AuthMode.NONE, limits=(LIMIT,))
HEADERS = [
    (b"host", b"shop.example"),
    (b"user-agent", b"a client of ordinary length/1.0"),
    (b"accept", b"*/*"),
    (b"authorization", b"Bearer " + b"x" * 200),
    (b"accept-encoding", b"gzip, deflate"),
]


class OneRoute:
    """A router that costs nothing, so that only the steps are measured."""

    def match(self, *_request: object) -> Route:
        """Always the same route."""
        return ROUTE

    def allowed_methods(self, *_request: object) -> frozenset[str]:
        """Never asked."""
        return frozenset()


def exchange(steps: Steps, number: int, subjects: int = 1000) -> Exchange:
    """An admitted exchange of one of so many subjects."""
    made = Exchange(
        method=b"GET", path=b"/orders/17", query=b"", headers=HEADERS, runtime=steps.runtime, peer="192.0.2.1"
    )
    made.principal = Principal(kind="jwt", subject=f"subject-{number % subjects}", tenant="acme")
    made.route = ROUTE
    made.limits = steps.runtime.limits(ROUTE, made.principal)
    return made


class Clients:
    """So many clients, each asking again as soon as it has its verdict."""

    def __init__(self, limiter: RateLimiter | None, exchanges: list[Exchange], at_once: int = AT_ONCE) -> None:
        self._limiter = limiter
        self._loop = asyncio.get_running_loop()
        self._exchanges = exchanges
        self._next = 0
        self._open = at_once
        self._done = self._loop.create_future()

    async def run(self) -> float:
        """Processor seconds for all exchanges."""
        before = time.process_time()
        for _ in range(self._open):
            self._ask()
        await self._done
        return time.process_time() - before

    def _ask(self, _verdict: object = None) -> None:
        if self._next == len(self._exchanges):
            self._open -= 1
            if self._open == 0:
                self._done.set_result(None)
            return
        made = self._exchanges[self._next]
        self._next += 1
        if self._limiter is None:
            self._loop.call_soon(self._ask)
        elif (verdict := self._limiter.take(made, self._ask)) is not None:
            self._loop.call_soon(self._ask, verdict)


async def measure(url: str, takes: int) -> list[tuple[str, float, float | None]]:
    """Rows of (what, µs per request, goal)."""
    counters = WorkerCounters()
    link = RedisLink(url, script())
    redis, local = RateLimiter(counters, link=link), RateLimiter(counters)
    rows: list[tuple[object, ...]] = []
    snapshot = Snapshot(revision=1, created_at=0.0, routes=(ROUTE,), upstreams=())
    steps = Steps(
        snapshot=snapshot,
        make_router=lambda _routes: OneRoute(),
        secret=lambda _name: "",
        limiter=local,
        records=rows,
        counters=counters,
    )
    link.start()
    while not link.ready:  # noqa: ASYNC110 - Redis is another process
        await asyncio.sleep(0.01)
    exchanges = [exchange(steps, number) for number in range(takes)]
    await Clients(redis, exchanges[: takes // 4]).run()  # warm
    bare = await Clients(None, exchanges).run()
    on_redis = await Clients(redis, exchanges).run()
    in_process = await Clients(local, exchanges).run()
    counted = counters.take()
    one = [exchange(steps, 0, 1) for _ in range(takes)]
    leased = await Clients(redis, one, 4).run()
    bare_4 = await Clients(None, one, 4).run()
    lease_calls = counters.take()["sentinel_limiter_calls_total|ok"]
    await redis.close()
    calls = counted["sentinel_limiter_calls_total|ok"]
    if "sentinel_limiter_fallback_total" in counted:
        print("warning: some verdicts were given without Redis; is the machine busy?")
    whole = cost(lambda: steps.admit(exchange(steps, 1), print), takes)
    made = cost(lambda: exchange(steps, 1), takes)
    made_record = exchange(steps, 1)
    steps.admit(made_record, print)
    made_record.ended_at = now_us()
    return [
        (f"limiter on Redis, {AT_ONCE} at a time ({1.25 * takes / calls:.0f} per call)", (on_redis - bare) / takes, 25),
        (
            f"limiter on Redis, one caller, 4 at a time ({lease_calls / takes:.4f} calls each)",
            (leased - bare_4) / takes,
            None,
        ),
        ("limiter in the process", (in_process - bare) / takes, None),
        ("a record (row and append)", cost(lambda: rows.append(record.row(made_record, time.time())), takes), 10),
        ("all steps, limit in the process, no token", whole - made, None),
    ]


def cost(work: object, times: int) -> float:
    """Processor seconds one call of ``work`` takes."""
    assert callable(work)  # noqa: S101 - for the reader and the type checker
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--takes", type=int, default=40_000)
    arguments.add_argument("--redis", default="")
    given = arguments.parse_args()
    with contextlib.ExitStack() as stack:
        url = given.redis or stack.enter_context(servers.redis_server()).url
        rows = uvloop.run(measure(url, given.takes))
    for what, seconds, goal in rows:
        aim = f"  (goal ≤ {goal} µs)" if goal else ""
        print(f"{what:<66}{seconds * 1e6:8.1f} µs{aim}")


if __name__ == "__main__":
    main()
