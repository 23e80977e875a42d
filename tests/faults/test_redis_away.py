"""Limits on the running program while Redis is there, frozen, gone and back: exact, then divided, then exact again."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests import running
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

BURST = 20
WORKERS = 2
# The budget is wide so that a busy machine does not make Redis look slow: what is tested is counting, not speed.
ROUTES = "".join(
    f"""
[[routes]]
name = "{name}"
match = {{ path = "/{name}/*" }}
upstream = "api"
limit = "1/min burst {BURST} per client"
"""
    for name in ("first", "frozen", "gone", "back")
)


@pytest.fixture
def limited(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Gateway]:
    with running.origin() as origin:
        text = running.config(origin.port, server=f"workers = {WORKERS}", more='[redis]\nbudget = "300ms"\n' + ROUTES)
        folder = tmp_path_factory.mktemp("limited")
        with running.gateway(folder, text, SENTINEL_REDIS__URL=redis_server.url) as gateway:
            gateway.wait(lambda: gateway.log.read_text().count("redis.connected") == WORKERS, 10, "workers have Redis")
            yield gateway


def ask(gateway: running.Gateway, path: str, count: int = 80) -> tuple[Counter[int], float]:
    """Statuses and the longest wait; every request on a connection of its own, so that both workers get some."""

    def once(_number: int) -> tuple[int, float]:
        begun = time.perf_counter()
        with httpx2.Client() as client:
            status = client.get(f"{gateway.url}{path}").status_code
        return status, time.perf_counter() - begun

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(once, range(count)))
    return Counter(status for status, _ in answers), max(seconds for _, seconds in answers)


def fallbacks(gateway: running.Gateway) -> float:
    return shop.metric(gateway, "sentinel_limiter_fallback_total")


def settled(gateway: running.Gateway) -> float:
    """Fallbacks, once what workers counted has arrived: the figure has stood still for two seconds."""
    last, since = fallbacks(gateway), time.monotonic()
    while time.monotonic() - since < 2:
        time.sleep(0.2)
        if (now := fallbacks(gateway)) != last:
            last, since = now, time.monotonic()
    return last


def test_limits_are_exact_with_redis_divided_without_and_exact_again(
    limited: running.Gateway, redis_server: RedisServer
) -> None:
    exact, _ = ask(limited, "/first/x")
    assert exact == {200: BURST, 429: 80 - BURST}, "two workers count as one"
    assert fallbacks(limited) == 0

    # Frozen: the connection stands and nothing comes back. One call waits for its budget, then nobody does.
    redis_server.signal(signal.SIGSTOP)
    frozen, slowest_s = ask(limited, "/frozen/x")
    assert set(frozen) == {200, 429}
    assert BURST // WORKERS <= frozen[200] <= BURST
    assert slowest_s < 1
    limited.wait(lambda: fallbacks(limited) >= 80 - 2 * WORKERS * 4, 5, "decisions without Redis are counted")
    redis_server.signal(signal.SIGCONT)

    # Gone.
    redis_server.stop()
    gone, slowest_s = ask(limited, "/gone/x")
    assert set(gone) == {200, 429}
    assert BURST // WORKERS <= gone[200] <= BURST
    assert slowest_s < 1
    assert "Traceback" not in limited.log.read_text()

    # Back, and empty: the script is loaded again unasked.
    connected = limited.log.read_text().count("redis.connected")
    redis_server.start()
    limited.wait(
        lambda: limited.log.read_text().count("redis.connected") >= connected + WORKERS, 10, "workers found it again"
    )
    before = settled(limited)
    back, _ = ask(limited, "/back/x")
    assert back == {200: BURST, 429: 80 - BURST}
    assert settled(limited) == before
