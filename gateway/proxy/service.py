"""One upstream at work in a worker: its targets and how they stand, their connections, its circuit, its budget."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from gateway import logs
from gateway.domain.upstreams import Balance
from gateway.proxy.balance import balanced
from gateway.proxy.circuit_breaker import CircuitBreaker, State
from gateway.proxy.consistent_hash import key_reader
from gateway.proxy.outlier import NO_PROBE, Outliers
from gateway.proxy.pool import TargetPool
from gateway.proxy.retry import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.domain.traffic import ErrorKind
    from gateway.domain.upstreams import Target, Upstream
    from gateway.metrics import WorkerCounters
    from gateway.proxy.deadlines import Sweep
    from gateway.proxy.dial import Dialer

# Failures of one target are logged at most this often; each one stands in its request's record anyway.
LOG_EVERY_S = 1.0
UNWATCHED = (0, 0)  # the ticket of a request through an upstream without a circuit breaker

_log = logs.get("proxy")


class UpstreamService:
    """One upstream at work.

    Attributes:
        plain: whether nothing of it depends on how requests end: turns by weight, no ejection, no circuit.
        standing: its targets.
        key_of: whose request it is, where that decides about the target.
        budget: of retries.
    """

    def __init__(
        self, upstream: Upstream, sweep: Sweep, dialer: Dialer, chance: Callable[[], float] = random.random
    ) -> None:
        self.upstream = upstream
        self.now = asyncio.get_running_loop().time
        self.chance = chance
        self.budget = RetryBudget()
        self._outliers = _outliers(upstream)
        self._breaker = None if upstream.breaker is None else CircuitBreaker(upstream.breaker)
        self.standing = balanced(upstream, chance, self._outliers)
        self._sweep = sweep
        self._dialer = dialer
        self._pools: dict[str, TargetPool] = {}
        self._retired: list[TargetPool] = []
        self._logged: dict[str, tuple[float, int]] = {}  # target → when it was last logged, failures since
        self._retries: dict[str, int] = {}  # by outcome
        self.change(upstream)

    def change(self, upstream: Upstream) -> None:
        """Take a new definition: targets that stay keep their connections, those that left finish what they have."""
        pools: dict[str, TargetPool] = {}
        for target in upstream.targets:
            pool = self._pools.get(target.name)
            if pool is None or not pool.leads_to(upstream, target):
                pool = TargetPool(upstream, target, self._sweep, self._dialer)
            pool.change(upstream, target)
            pools[target.name] = pool
        self._retire(pool for name, pool in self._pools.items() if pools.get(name) is not pool)
        before, self.upstream, self._pools = self.upstream, upstream, pools
        self._logged = {name: logged for name, logged in self._logged.items() if name in pools}
        self._change_choice(before, upstream)
        if upstream.breaker != before.breaker:
            self._breaker = None if upstream.breaker is None else CircuitBreaker(upstream.breaker)
        self.plain = upstream.balance is Balance.ROUND_ROBIN and self._outliers is None and self._breaker is None
        self.key_of = key_reader(upstream.hash_by) if upstream.balance is Balance.HASH else None

    def _change_choice(self, before: Upstream, after: Upstream) -> None:
        if after.outlier != before.outlier:
            self._outliers = _outliers(after)
        elif self._outliers is not None and after.targets != before.targets:
            self._outliers.retain(target.name for target in after.targets)
        if _how_chosen(after) != _how_chosen(before):
            standing = balanced(after, self.chance, self._outliers)
            standing.follow(self.standing, self.now())
            self.standing = standing

    def serves(self, upstream: Upstream) -> bool:
        """Whether ``upstream`` is another state of this one: some target's address is the same."""
        ours = {(target.host, target.port) for target in self.upstream.targets}
        return any((target.host, target.port) in ours for target in upstream.targets)

    # --- for every call ---

    def choose(self, now: float, tried: tuple[str, ...]) -> tuple[Target, TargetPool] | None:
        """The target whose turn it is, and its connections."""
        target = self.standing.pick(now, tried=tried)
        return None if target is None else (target, self._pools[target.name])

    def note_failure(self, target: str, kind: ErrorKind, detail: str) -> None:
        """Log a failure, at most one a second and target; the number of those left out goes with the next."""
        self._sweep.arm()  # so that what was counted is handed over, though no connection is open
        now = self.now()
        last, left_out = self._logged.get(target, (float("-inf"), 0))
        if now - last < LOG_EVERY_S:
            self._logged[target] = last, left_out + 1
            return
        self._logged[target] = now, 0
        _log.warning(
            "upstream.failed",
            upstream=self.upstream.name,
            target=target,
            kind=str(kind),
            detail=detail,
            left_out=left_out,
        )

    # --- for calls that are watched: see :mod:`gateway.proxy.watched_call` ---

    def admit(self, now: float) -> tuple[int, int] | None:
        """A ticket for :meth:`concluded`, or None while the circuit is open."""
        breaker = self._breaker
        if breaker is None:
            return UNWATCHED
        before = breaker.state
        ticket = breaker.admit(now)
        if breaker.state is not before:
            self._log_circuit(breaker, before)
        return ticket

    def retry_after_s(self, now: float) -> int:
        """When a request that was not admitted may come back."""
        return 1 if self._breaker is None else self._breaker.retry_after_s(now)

    def may_retry(self, share: float, now: float) -> bool:
        """Whether one more retry is within the budget, and the circuit is not open."""
        if self._breaker is not None and self._breaker.state is State.OPEN:
            return False
        if self.budget.take(share, now):
            return True
        self.count_retry("over_budget")
        return False

    def count_retry(self, outcome: str) -> None:
        """Note what became of a retry: succeeded, failed, abandoned (its client left), over_budget (not made)."""
        self._retries[outcome] = self._retries.get(outcome, 0) + 1
        self._sweep.arm()

    def choose_watched(self, now: float, tried: tuple[str, ...], key: bytes) -> tuple[Target, TargetPool, int] | None:
        """As :meth:`choose`, with the ticket of a probe or NO_PROBE; :meth:`attempt_over` must follow."""
        target = self.standing.pick(now, tried=tried, key=key)
        if target is None:
            return None
        self.standing.started(target.name)
        probe = NO_PROBE
        if self._outliers is not None:
            probe = self._outliers.started(target.name, now)
            self._look_at_outliers(target.name, now)
        return target, self._pools[target.name], probe

    def answered_well(self, target: str, probe: int, ticket: tuple[int, int], now: float) -> None:
        """The head of a good answer arrived."""
        if self._outliers is not None:
            self._outliers.answered(target, probe, now)
        if self._breaker is not None:
            self._breaker.answered(ticket, now)

    def attempt_over(self, target: str, probe: int, now: float, *, seconds: float, well: bool | None) -> None:
        """What one target made of a request: ``well`` is None when its end was not the target's doing."""
        self.standing.finished(target, now, seconds=seconds, failed=well is False)
        if self._outliers is not None:
            self._outliers.finished(target, probe, now, well=well)
            self._look_at_outliers(target, now)

    def concluded(self, ticket: tuple[int, int], now: float, *, well: bool | None) -> None:
        """What became of an admitted request in the end."""
        breaker = self._breaker
        if breaker is not None:
            before = breaker.state
            breaker.finished(ticket, now, well=well)
            if breaker.state is not before:
                self._log_circuit(breaker, before)

    # --- for the forwarder ---

    def retire(self) -> None:
        """The upstream left the configuration."""
        self._retire(self._pools.values())

    def close(self) -> list[asyncio.Task[None]]:
        """End everything now; returns what is still ending."""
        return [task for pool in (*self._pools.values(), *self._retired) for task in pool.close()]

    def take_counts(self, counters: WorkerCounters) -> None:
        """Hand over what was counted; forget retired pools that have emptied."""
        name = self.upstream.name
        for pool in (*self._pools.values(), *self._retired):
            pool.take_counts(counters)
        self._retired = [pool for pool in self._retired if pool.size or pool.waiting]
        if self.standing.panicked:
            counters.count("sentinel_upstream_panic_total", name, amount=self.standing.panicked)
            self.standing.panicked = 0
        if self._breaker is not None and self._breaker.opened:
            counters.count("sentinel_circuit_opened_total", name, amount=self._breaker.opened)
            self._breaker.opened = 0
        if self._outliers is not None:
            for target, ejections in self._outliers.take_ejections().items():
                counters.count("sentinel_outlier_ejections_total", name, target, amount=ejections)
        if self._retries:
            for outcome, count in self._retries.items():
                counters.count("sentinel_upstream_retries_total", name, outcome, amount=count)
            self._retries = {}

    @property
    def circuit_open(self) -> bool:
        """Whether requests are kept from it, all or all but one at a time."""
        return self._breaker is not None and self._breaker.state is not State.CLOSED

    @property
    def empty(self) -> bool:
        """Whether nothing of a retired upstream is left."""
        return not self._retired

    def _retire(self, pools: Iterable[TargetPool]) -> None:
        for pool in tuple(pools):
            pool.retire()
            self._retired.append(pool)

    def _look_at_outliers(self, target: str, now: float) -> None:
        """Let the standing know, and say it, if this target went out or came back just now."""
        outliers = self._outliers
        if outliers is None or not self.standing.outliers_changed(now):
            return
        until = outliers.away().get(target)
        if until is None:
            _log.info("target.returned", upstream=self.upstream.name, target=target)
        else:
            _log.warning("target.ejected", upstream=self.upstream.name, target=target, for_s=round(until - now, 3))

    def _log_circuit(self, breaker: CircuitBreaker, before: State) -> None:
        self._sweep.arm()
        if breaker.state is State.OPEN:
            settings = breaker.settings
            _log.warning(
                "circuit.opened", upstream=self.upstream.name, for_s=settings.open_s, again=before is State.HALF_OPEN
            )
        elif breaker.state is State.CLOSED:
            _log.info("circuit.closed", upstream=self.upstream.name)


def _outliers(upstream: Upstream) -> Outliers | None:
    if upstream.outlier is None:
        return None
    return Outliers(upstream.outlier, [target.name for target in upstream.targets])


def _how_chosen(upstream: Upstream) -> tuple[object, ...]:
    """Everything the choice of a target depends on."""
    return upstream.targets, upstream.balance, upstream.panic, upstream.slow_start_s, upstream.outlier
