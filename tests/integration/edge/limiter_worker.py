"""One worker process of a test: asks a limiter on Redis as fast as its callers can, and prints when it was admitted.

``python -m tests.integration.edge.limiter_worker URL RATE BURST SECONDS NAME CALLERS``; the limits start together when
a line comes in. Each printed line holds the monotonic nanoseconds before a request was asked for and after it was
admitted: somewhere between the two it was.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from gateway.domain.limits import Limit, Scope
from gateway.edge.limits import LimitSet
from gateway.edge.rate_limit import RateLimiter, script
from gateway.edge.redis_link import RedisLink
from gateway.metrics import WorkerCounters
from tests.unit.edge.edge_values import exchange, route, steps


async def work(url: str, limits: LimitSet, seconds: float, callers: int) -> None:
    """Ask until the time is over, then print what was admitted, and the counters."""
    counters = WorkerCounters()
    link = RedisLink(url, script())
    limiter = RateLimiter(counters, link=link, budget_s=1.0)
    link.start()
    while not link.ready:  # noqa: ASYNC110 - Redis is another process
        await asyncio.sleep(0.005)
    wired = steps()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ends = time.monotonic() + seconds
    admitted: list[tuple[int, int]] = []

    async def call() -> None:
        while time.monotonic() < ends:
            made = exchange(wired)
            made.limits, made.route = limits, route()
            later = asyncio.get_running_loop().create_future()
            before = time.monotonic_ns()
            verdict = limiter.take(made, later.set_result) or await later
            if verdict.allowed:
                admitted.append((before, time.monotonic_ns()))
            await asyncio.sleep(0.001)

    await asyncio.gather(*(call() for _ in range(callers)))
    for before, after in admitted:
        print(before, after)
    print("counted", *[f"{name}={amount:.0f}" for name, amount in counters.take().items()], flush=True)
    await limiter.close()


def main() -> None:
    """Run with the arguments of the command line."""
    url, rate, burst, seconds, name, callers = sys.argv[1:]
    limit = Limit(name=name, rate=float(rate), burst=int(burst), scope=Scope.CLIENT)
    uvloop.run(work(url, LimitSet((limit,)), float(seconds), int(callers)))


if __name__ == "__main__":
    main()
