"""Asks the buckets: in the process, or in Redis with all checks of one event-loop tick in one script call.

``take`` answers at once or calls back later; there is no coroutine inside. When Redis is away or slower than its
budget, each route's ``limit_unavailable`` decides, and the breaker sees to it that nobody else waits for the timeout.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING

from gateway import resources
from gateway.domain.limits import WhenUnavailable
from gateway.edge.limits import UNLIMITED, EncodedKeys, LimitKey, LimitSet, Verdict
from gateway.edge.redis_breaker import RedisBreaker
from gateway.edge.token_bucket import LocalBuckets
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.snapshot import EdgePolicy
    from gateway.edge.exchange import Exchange
    from gateway.edge.redis_link import RedisLink
    from gateway.metrics import WorkerCounters

MAX_BATCH = 128  # exchanges per script call: about 0.2 ms of Redis, which serves nobody else meanwhile


def script() -> bytes:
    """The source of the bucket script, as the link has to load it."""
    return (resources.folder("lua") / "token_bucket.lua").read_bytes()


class _Ask:
    """One exchange that waits for its verdict."""

    __slots__ = ("exchange", "keys", "limits", "then")

    def __init__(
        self, exchange: Exchange, limits: LimitSet, keys: list[LimitKey], then: Callable[[Verdict], None]
    ) -> None:
        self.exchange = exchange
        self.limits = limits
        self.keys = keys
        self.then = then


class _Batch:
    """One script call under way."""

    __slots__ = ("asks", "command", "decided", "reloaded", "sent_at")

    def __init__(self, asks: list[_Ask], command: bytes, sent_at: float) -> None:
        self.asks = asks
        self.command = command
        self.sent_at = sent_at
        self.decided = False
        self.reloaded = False


class RateLimiter:
    """Decides whether an exchange is within its limits. One per worker.

    Args:
        counters: fallbacks and script calls are counted here.
        link: the connection to Redis, or None to keep the buckets in this process.
        live_workers: how many workers share a limit that is kept in processes.
        budget_s: how long a request may wait for Redis.
        max_local: buckets kept in this process at most.
    """

    def __init__(
        self,
        counters: WorkerCounters,
        *,
        link: RedisLink | None = None,
        live_workers: Callable[[], int] = lambda: 1,
        budget_s: float = 0.025,
        max_local: int = 100_000,
    ) -> None:
        self._counters = counters
        self._link = link
        self._live_workers = live_workers
        self._local = LocalBuckets(max_local)
        self._keys = EncodedKeys()
        self._breaker = RedisBreaker(link, budget_s) if link is not None else None
        self._on_redis = link is not None
        self._waiting: list[_Ask] = []
        self._batches: deque[_Batch] = deque()
        self._watch: asyncio.TimerHandle | None = None

    def apply(self, policy: EdgePolicy) -> None:
        """Where buckets live from now on, and how long a request may wait for Redis.

        Raises:
            ConfigError: the policy wants Redis and this worker was started without it.
        """
        if policy.redis and self._breaker is None:
            raise ConfigError("limits are to live in Redis, but redis.url is not set", remedy="set SENTINEL_REDIS__URL")
        self._on_redis = policy.redis
        if self._breaker is not None:
            self._breaker.budget_s = policy.limiter_budget_s

    async def close(self) -> None:
        """Decide what still waits without Redis, and end the link."""
        if self._watch is not None:
            self._watch.cancel()
        if self._breaker is not None:
            self._breaker.stop()
        if self._link is not None:
            await self._link.close()

    def take(self, exchange: Exchange, then: Callable[[Verdict], None]) -> Verdict | None:
        """The verdict on ``exchange.limits``; or None, and ``then`` is called with it later, within the budget."""
        limits = exchange.limits
        if limits is None:
            return UNLIMITED
        keys = limits.keys(exchange)
        breaker = self._breaker
        if breaker is None or not self._on_redis:
            return self._decide_locally(limits, keys)
        if breaker.open or self._link is None or not self._link.ready:
            return self._decide_alone(exchange, limits, keys)
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(_Ask(exchange, limits, keys, then))
        return None

    def _decide_locally(self, limits: LimitSet, keys: list[LimitKey]) -> Verdict:
        buckets = limits.buckets(max(1, self._live_workers()))
        return Verdict(limits=limits, answers=self._local.take(keys, buckets, monotonic_ns() // 125))

    def _decide_alone(self, exchange: Exchange, limits: LimitSet, keys: list[LimitKey]) -> Verdict:
        """The verdict while Redis is away, by the route's own choice."""
        self._counters.count("sentinel_limiter_fallback_total")
        choice = exchange.route.limit_unavailable if exchange.route is not None else WhenUnavailable.LOCAL
        if choice is WhenUnavailable.OPEN:
            return UNLIMITED
        if choice is WhenUnavailable.CLOSED:
            return Verdict(unavailable=True)
        return self._decide_locally(limits, keys)

    def _flush(self) -> None:
        """Send what this tick collected."""
        waiting, self._waiting = self._waiting, []
        link, breaker = self._link, self._breaker
        if link is None or breaker is None or breaker.open or not link.ready:
            for ask in waiting:
                ask.then(self._decide_alone(ask.exchange, ask.limits, ask.keys))
            return
        now = monotonic()  # not the loop's time, which uvloop reads once per tick: a long tick would count as Redis's
        for start in range(0, len(waiting), MAX_BATCH):
            asks = waiting[start : start + MAX_BATCH]
            batch = _Batch(asks, self._command(asks, link.sha), now)
            self._batches.append(batch)
            self._send(link, batch)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(breaker.budget_s, self._look)

    def _command(self, asks: list[_Ask], sha: bytes) -> bytes:
        encoded = self._keys.encoded
        keys = [encoded(key) for ask in asks for key in ask.keys]
        words = 3 + len(keys) + sum([ask.limits.argument_count for ask in asks])
        count = b"%d" % len(keys)
        parts = [b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$%d\r\n%s\r\n" % (words, sha, len(count), count), *keys]
        parts += [ask.limits.arguments for ask in asks]
        return b"".join(parts)

    def _send(self, link: RedisLink, batch: _Batch) -> None:
        link.send(batch.command, lambda reply: self._on_reply(batch, reply))

    def _on_reply(self, batch: _Batch, reply: object) -> None:
        if isinstance(reply, list):
            self._count_call("ok")
            if batch.decided:  # too late: its exchanges were decided without it
                return
            self._settle(batch)
            at = 0
            for ask in batch.asks:
                ask.then(Verdict(limits=ask.limits, answers=reply, at=at))
                at += 3 * len(ask.keys)
            return
        link = self._link
        if str(reply).startswith("NOSCRIPT") and link is not None and not batch.reloaded:
            self._count_call("noscript")
            batch.reloaded = True
            link.load_script()
            self._send(link, batch)
            return
        self._count_call("failed")
        if str(reply).startswith(("READONLY", "MASTERDOWN")) and link is not None:
            link.abort()  # a failover made it a replica; the address may lead to the new primary
        self._give_up("failed", [batch])

    def _look(self) -> None:
        """The watch over the oldest call: one timer for all, armed again only while something is under way.

        A loop that was busy itself does not blame Redis: asyncio and uvloop both read sockets before they run timers.
        """
        self._watch = None
        breaker = self._breaker
        if breaker is None or not self._batches:
            return
        left_s = self._batches[0].sent_at + breaker.budget_s - monotonic()
        if left_s > 0:
            self._watch = asyncio.get_running_loop().call_later(left_s, self._look)
        else:
            self._count_call("slow")
            self._give_up("slow", list(self._batches))

    def _give_up(self, reason: str, batches: list[_Batch]) -> None:
        """Decide calls without Redis."""
        if self._breaker is not None:
            self._breaker.trip(reason)
        for batch in batches:
            if not batch.decided:
                self._settle(batch)
                for ask in batch.asks:
                    ask.then(self._decide_alone(ask.exchange, ask.limits, ask.keys))

    def _settle(self, batch: _Batch) -> None:
        batch.decided = True
        self._batches.remove(batch)

    def _count_call(self, outcome: str) -> None:
        self._counters.count("sentinel_limiter_calls_total", outcome)
