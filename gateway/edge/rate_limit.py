"""Asks the buckets: on this node, or in Redis with all checks of one event-loop tick in one script call.

``take`` answers at once or calls back later; there is no coroutine inside. What Redis said before answers again where
it can: tokens on lease, and callers who have none left. When Redis is away or slower than its budget, each route's
``limit_unavailable`` decides, and the breaker sees to it that nobody else waits for the timeout.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gateway import resources
from gateway.domain.limits import WhenUnavailable
from gateway.edge import leases
from gateway.edge.concurrency import UnderWay
from gateway.edge.leases import Exhausted, Lease
from gateway.edge.limit_groups import Groups
from gateway.edge.limits import UNLIMITED, LimitSet, Verdict, wall_ticks
from gateway.edge.local_limits import LocalLimits
from gateway.edge.quotas import Quotas
from gateway.edge.token_bucket import MAX_BUCKETS
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.domain.limits import ConcurrencyLimit, Limit, Quota
    from gateway.domain.snapshot import EdgePolicy
    from gateway.edge.exchange import Exchange
    from gateway.edge.limit_groups import Group
    from gateway.edge.redis_cluster import RedisCluster
    from gateway.edge.redis_link import RedisLink
    from gateway.edge.script_calls import Ask
    from gateway.metrics import WorkerCounters

SWEEP_S = 0.1  # how often leases are looked through for those whose time is over
CLOSE_S = 0.05  # for what is given back at the end to reach Redis
MAX_LEASES = 10_000  # at once; whoever comes later asks for every request


def script() -> bytes:
    """The source of the bucket script, as the link has to load it."""
    return (resources.folder("lua") / "token_bucket.lua").read_bytes()


class Redis(Protocol):
    """Where checks are sent to: one server's calls, or a cluster's."""

    def usable(self, group: Group) -> bool:
        """Whether the server of that group can be asked now."""

    def can_lease(self, group: Group) -> bool:
        """Whether tokens of this group can be leased."""

    def send(self, asks: Sequence[Ask]) -> None:
        """Ask for all of them; each is told by its ``done``."""

    def set_budget(self, budget_s: float) -> None:
        """How long a request may wait."""

    def stop(self) -> None:
        """End the timers."""

    @property
    def generation(self) -> int:
        """Changes when what was leased before may stand nowhere any more."""


class _Check:
    """One exchange that waits for its verdict."""

    __slots__ = (
        "answer_count",
        "argument_count",
        "arguments",
        "exchange",
        "group",
        "leased",
        "limiter",
        "limits",
        "sent_at",
        "then",
    )

    def __init__(
        self,
        limiter: RateLimiter,
        exchange: Exchange,
        limits: LimitSet,
        group: Group,
        then: Callable[[Verdict], None],
    ) -> None:
        self.limiter = limiter
        self.exchange = exchange
        self.limits = limits
        self.group = group
        self.then = then
        self.leased = 0  # tokens asked for on lease
        self.sent_at = 0.0
        self.argument_count = limits.argument_count
        self.arguments = limits.arguments
        self.answer_count = limits.answer_count

    def done(self, reply: list[int] | None, at: int) -> None:
        """What Redis said, or that it said nothing."""
        self.then(self.limiter.concluded(self, reply, at))


class _Settlement:
    """A lease that is over and given back by itself, because its caller does not come back."""

    __slots__ = ("answer_count", "argument_count", "arguments", "group", "limits")

    def __init__(self, limits: LimitSet, lease: Lease) -> None:
        self.group = lease.group
        self.limits = limits
        self.argument_count, self.arguments = leases.arguments(limits, 0, lease, charging=False)
        self.answer_count = 0

    def done(self, reply: list[int] | None, at: int) -> None:
        """Nobody waits for it."""


class RateLimiter:
    """Decides whether an exchange is within its limits. One per worker.

    Args:
        counters: fallbacks and script calls are counted here.
        link: the connection to Redis or to a cluster, or None to keep the buckets on this node.
        live_workers: how many workers share a limit that is kept in processes.
        number: which of them this is, from 1.
        budget_s: how long a request may wait for Redis.
        max_local: buckets kept in this process at most.
        quotas: where quotas are counted without Redis; by default in this process.
    """

    def __init__(
        self,
        counters: WorkerCounters,
        *,
        link: RedisLink | RedisCluster | None = None,
        live_workers: Callable[[], int] = lambda: 1,
        number: int = 1,
        budget_s: float = 0.025,
        max_local: int = MAX_BUCKETS,
        quotas: Quotas | None = None,
    ) -> None:
        self._counters = counters
        self._link = link
        self._live_workers = live_workers
        self._number = number
        self._quotas = quotas or Quotas(None, counters)
        self._local = LocalLimits(live_workers, self._quotas, max_local, on_forgotten=self._count_forgotten)
        self._under_way = UnderWay()
        self._groups = Groups()
        self._redis: Redis | None = link.calls(counters, budget_s, live_workers) if link is not None else None
        self._on_redis = link is not None
        self._waiting: list[_Check] = []
        self._leases: dict[Lease, LimitSet] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def apply(self, policy: EdgePolicy) -> None:
        """Where buckets live from now on, and how long a request may wait for Redis.

        Raises:
            ConfigError: the policy wants Redis and this worker was started without it.
        """
        if policy.redis and self._redis is None:
            raise ConfigError("limits are to live in Redis, but redis.url is not set", remedy="set SENTINEL_REDIS__URL")
        self._on_redis = policy.redis
        if self._redis is not None:
            self._redis.set_budget(policy.limiter_budget_s)

    async def close(self) -> None:
        """Give leases back, decide what still waits without Redis, and end the link."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._redis is not None:
            if self._give_back(self._leases, self._redis):
                await asyncio.sleep(CLOSE_S)
            self._redis.stop()
        if self._link is not None:
            await self._link.close()
        self._quotas.close()

    def take(self, exchange: Exchange, then: Callable[[Verdict], None]) -> Verdict | None:
        """The verdict on ``exchange.limits``; or None, and ``then`` is called with it later, within the budget."""
        limits = exchange.limits
        if limits is None:
            return UNLIMITED
        if limits.concurrency and (busy := self._enter(limits, exchange)) is not None:
            return Verdict(busy=busy)
        if not limits.rules:
            return UNLIMITED
        redis = self._redis
        if redis is None or not self._on_redis:
            return self._watched(exchange, self._local.decide(limits, limits.keys(exchange)))
        return self._ask(redis, exchange, limits, then)

    def release(self, exchange: Exchange) -> None:
        """Give back what the exchange had under way; the steps call it when it is over."""
        self._under_way.leave(exchange)

    def concluded(self, check: _Check, reply: list[int] | None, at: int) -> Verdict:
        """The verdict on a check that Redis was asked for, and what can be remembered of the answer."""
        exchange, limits, group = check.exchange, check.limits, check.group
        if check.leased:
            group.leasing = False
        if reply is None:
            return self._decide_alone(exchange, limits, group)
        only = reply[at + 1] == 0 if limits.refusing == 1 else None
        verdict = Verdict(limits, reply, at, only)
        end = at + limits.answer_count
        if limits.has_quotas:
            group.seen = wall_ticks(), reply[at:end]
        if not verdict.allowed:
            if isinstance(group.known, Lease):  # what is left may be ours
                return group.known.verdict(monotonic()) or verdict
            group.known = Exhausted(limits, verdict, check.sent_at)
        elif check.leased and reply[end]:
            self._take_lease(Lease(group, limits, reply[at:end], (reply[end], reply[end + 1]), check.sent_at), limits)
        return self._watched(exchange, verdict) if limits.watching else verdict

    def _ask(
        self, redis: Redis, exchange: Exchange, limits: LimitSet, then: Callable[[Verdict], None]
    ) -> Verdict | None:
        """What Redis said before, or a question to it with the rest of this tick's."""
        group = self._groups.of(limits, exchange)
        if (known := group.known) is not None:
            now = monotonic()
            verdict = known.verdict(now)
            if verdict is not None:
                return verdict
            self._forget(group, now)
        if not redis.usable(group):
            return self._decide_alone(exchange, limits, group)
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(_Check(self, exchange, limits, group, then))
        return None

    def _enter(self, limits: LimitSet, exchange: Exchange) -> ConcurrencyLimit | None:
        share = max(1, self._live_workers())
        busy, watched = self._under_way.enter(limits.concurrency, exchange, share=share, number=self._number)
        if watched:
            self._count_watched(exchange, watched)
        return busy

    def _watched(self, exchange: Exchange, verdict: Verdict) -> Verdict:
        limits = exchange.limits
        if limits is not None and limits.watching:
            self._count_watched(exchange, verdict.watched())
        return verdict

    def _count_watched(self, exchange: Exchange, rules: Iterable[Limit | Quota | ConcurrencyLimit]) -> None:
        route = exchange.route.name if exchange.route is not None else ""
        for rule in rules:
            self._counters.count("sentinel_rate_limit_shadowed_total", route, rule.scope)

    def _count_forgotten(self, number: int) -> None:
        self._counters.count("sentinel_buckets_forgotten_total", amount=number)

    def _decide_alone(self, exchange: Exchange, limits: LimitSet, group: Group) -> Verdict:
        """The verdict while Redis is away, by the route's own choice."""
        self._counters.count("sentinel_limiter_fallback_total")
        choice = exchange.route.limit_unavailable if exchange.route is not None else WhenUnavailable.LOCAL
        if choice is WhenUnavailable.OPEN:
            return UNLIMITED
        if choice is WhenUnavailable.CLOSED:
            return Verdict(unavailable=True)
        return self._watched(exchange, self._local.decide(limits, group.keys, group.seen))

    def _flush(self) -> None:
        """Send what this tick collected."""
        waiting, self._waiting = self._waiting, []
        redis = self._redis
        if redis is None:
            return
        now = monotonic()
        for check in waiting:
            check.sent_at = now
            if check.limits.lease and (leases.is_hot(check.group, now) or check.group.settle is not None):
                self._prepare(check, redis, now)
        redis.send(waiting)

    def _prepare(self, check: _Check, redis: Redis, now: float) -> None:
        """Write the arguments, with a lease asked for where the caller is busy and one settled where one is over."""
        group, limits = check.group, check.limits
        over, group.settle = group.settle, None
        if over is not None and over.generation != redis.generation:
            over = None
        tokens = 0
        if limits.lease and len(self._leases) < MAX_LEASES and redis.can_lease(group):
            tokens = leases.wanted(group, limits, now)
        if tokens or over is not None:
            check.argument_count, check.arguments = leases.arguments(limits, tokens, over)
        if tokens:
            check.leased = tokens
            check.answer_count += 2
            group.leasing = True

    def _take_lease(self, lease: Lease, limits: LimitSet) -> None:
        lease.generation = self._redis.generation if self._redis is not None else 0
        lease.group.known = lease
        self._leases[lease] = limits
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    def _forget(self, group: Group, now: float) -> None:
        """What Redis said is used up or too old."""
        known, group.known = group.known, None
        if isinstance(known, Exhausted):
            self._counters.count("sentinel_limiter_local_total", "exhausted", amount=known.refused)
        elif isinstance(known, Lease) and known in self._leases:
            self._over(known)
            group.settle = known
            group.heat, group.heated_at = known.spent, max(known.sent_at, now - leases.HEAT_S)

    def _over(self, lease: Lease) -> None:
        del self._leases[lease]
        if lease.spent:
            self._counters.count("sentinel_limiter_local_total", "leased", amount=lease.spent)

    def _look(self) -> None:
        """Give back the tokens of those who did not come for them."""
        self._sweep = None
        now = monotonic()
        ended = {lease: limits for lease, limits in self._leases.items() if now >= lease.expires_at}
        if ended and self._redis is not None:
            self._give_back(ended, self._redis)
        if self._leases:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    def _give_back(self, ended: dict[Lease, LimitSet], redis: Redis) -> bool:
        """Settle leases by themselves; whether there was any to settle."""
        settlements = []
        for lease, limits in list(ended.items()):
            self._over(lease)
            if lease.group.known is lease:
                lease.group.known = None
            if lease.spent < lease.tokens and lease.generation == redis.generation and redis.usable(lease.group):
                settlements.append(_Settlement(limits, lease))
        if settlements:
            redis.send(settlements)
        return bool(settlements)
