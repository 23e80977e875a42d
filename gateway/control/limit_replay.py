"""A proposed limit over recorded requests, decided by the very code the edge decides with. Pure.

Requests are taken in the order in which the limits were asked, which is not the order in which they ended: what ends
early waits here for what began before it and took longer. Time is the records' own; nothing looks at a clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.identity import Principal
from gateway.domain.limits import ConcurrencyLimit, Limit, Quota, Scope
from gateway.domain.replay import MOST_SHOWN, BurstEffect, ReplayedCaller
from gateway.domain.routing import Route
from gateway.edge.limits import counted
from gateway.edge.periods import EPOCH_S, TICKS_PER_S
from gateway.edge.token_bucket import LocalBuckets, bucket, charge, quota

if TYPE_CHECKING:
    from gateway.domain.replay import Passed

Rule = Limit | Quota | ConcurrencyLimit

MOST_CALLERS = 50_000  # told apart; what more there are is counted together
WAITS_S = 60.0  # a request that took longer than this is taken late, at the time reached by then
MOST_WAITING = 100_000
_DAY_S = 86_400
_BURSTS = (0.5, 1.0, 2.0, 4.0)  # times the proposed one
_OTHERS = "all other callers"


class Asking(msgspec.Struct, frozen=True):
    """As much of a request as says whom a limit counts."""

    principal: Principal
    route: Route | None
    client: str


class _Caller:
    """What one caller met so far."""

    __slots__ = ("first", "full_at", "in_window", "last", "name", "peak", "rejected", "requests", "window")

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        self.rejected = 0
        self.first: float | None = None
        self.last: float | None = None
        self.window = -1
        self.in_window = 0
        self.peak = 0
        self.full_at = 0  # of a bucket without a bound: ticks

    def asked(self, window: int) -> None:
        self.requests += 1
        if window != self.window:
            self.window, self.in_window = window, 0
        self.in_window += 1
        self.peak = max(self.peak, self.in_window)

    def refused(self, at: float) -> None:
        self.rejected += 1
        self.first = at if self.first is None else self.first
        self.last = at

    def shown(self) -> ReplayedCaller:
        return ReplayedCaller(self.name, self.requests, self.rejected, self.peak, self.first, self.last)


class _Burst:
    """The same rate with another burst: how often it would have refused, and how many callers."""

    def __init__(self, rate: float, burst: int) -> None:
        self.burst = burst
        self._bucket = bucket(rate, burst)
        self._buckets = LocalBuckets(MOST_CALLERS)
        self._rejected = 0
        self._whom: set[str] = set()

    def take(self, whom: str, now: int) -> None:
        if self._buckets.take_one(whom, self._bucket, now)[1]:
            self._rejected += 1
            if len(self._whom) < MOST_CALLERS:
                self._whom.add(whom)

    def effect(self) -> BurstEffect:
        return BurstEffect(self.burst, self._rejected, len(self._whom))


class LimitTrial:
    """Feeds recorded requests to one limit.

    Args:
        rule: the limit; its mode does not matter.
        route: whose requests they are.
    """

    def __init__(self, rule: Rule, route: Route | None) -> None:
        self._rule = rule
        self._route = route
        self._buckets = LocalBuckets(MOST_CALLERS)
        self._quotas: dict[str, int] = {}
        self._under_way: dict[str, list[float]] = {}
        self._bursts = _bursts(rule)
        self._each = bucket(rule.rate, rule.burst) if isinstance(rule, Limit) else None
        self._met: dict[tuple[str, str, str], tuple[str, _Caller]] = {}
        self._callers: dict[str, _Caller] = {}
        self._others = _Caller(_OTHERS)
        self._waiting: list[tuple[float, int, Passed]] = []
        self._number = 0
        self._reached = 0.0  # the time up to which requests were taken
        self._needed = 0  # ticks a bucket must hold so that nobody is refused
        self.window_s = rule.window_s if isinstance(rule, Limit) else _DAY_S if isinstance(rule, Quota) else 1
        self.requests = 0
        self.rejected = 0
        self.already_rejected = 0
        self.late = 0  # took so long that they could not be put in their place
        self.folded = 0  # requests of callers beyond the bound

    def feed(self, passed: Passed) -> None:
        """Take a request; they come in the order in which they ended."""
        self._number += 1
        heappush(self._waiting, (passed.at, self._number, passed))
        while self._waiting and (self._waiting[0][0] <= passed.ended_at - WAITS_S or len(self._waiting) > MOST_WAITING):
            self._take(heappop(self._waiting)[2])

    def finish(self) -> None:
        """There are no more."""
        while self._waiting:
            self._take(heappop(self._waiting)[2])

    @property
    def callers(self) -> int:
        """How many were told apart."""
        return len(self._callers)

    @property
    def callers_rejected(self) -> int:
        """How many of them would have been refused at least once."""
        return sum(one.rejected > 0 for one in self._callers.values())

    def top(self, most: int = MOST_SHOWN) -> tuple[ReplayedCaller, ...]:
        """Who would have been refused most, and behind them who asked most."""
        known = list(self._callers.values())
        if self._others.requests:
            known.append(self._others)
        known.sort(key=lambda one: (-one.rejected, -one.peak, -one.requests, one.name))
        return tuple(one.shown() for one in known[:most])

    def bursts(self) -> tuple[BurstEffect, ...]:
        """The same rate with other bursts; nothing for quotas and what counts at once."""
        return tuple(one.effect() for one in self._bursts)

    def burst_for_all(self) -> int | None:
        """The smallest burst at this rate that would have refused nobody."""
        if self._each is None or self.folded or not self.requests:
            return None
        return -(-self._needed // self._each.interval)

    def _take(self, passed: Passed) -> None:
        if passed.at < self._reached:
            self.late += 1
        at = self._reached = max(self._reached, passed.at)
        whom, caller = self._who(passed)
        caller.asked(int(at // self.window_s))
        self.requests += 1
        self.already_rejected += passed.refused
        now = int((at - EPOCH_S) * TICKS_PER_S)
        for burst in self._bursts:
            burst.take(whom, now)
        if self._each is not None:
            caller.full_at = max(caller.full_at, now) + self._each.interval
            self._needed = max(self._needed, caller.full_at - now)
        if not self._allowed(whom, at, passed.ended_at, now):
            self.rejected += 1
            caller.refused(at)

    def _allowed(self, whom: str, at: float, ended_at: float, now: int) -> bool:
        if isinstance(self._rule, ConcurrencyLimit):
            return self._enters(self._rule.at_once, whom, at, ended_at)
        if isinstance(self._rule, Quota):
            return self._within_quota(self._rule, whom, now)
        return self._each is None or not self._buckets.take_one(whom, self._each, now)[1]

    def _within_quota(self, rule: Quota, whom: str, now: int) -> bool:
        known = self._quotas.pop(whom, None)
        (state,), answers = charge([known], [quota(rule.count, rule.period)], now, now)
        if state is not None:
            self._quotas[whom] = state
            if len(self._quotas) > MOST_CALLERS:
                del self._quotas[next(iter(self._quotas))]
        return not answers[1]

    def _enters(self, at_once: int, whom: str, at: float, ended_at: float) -> bool:
        """Whether there is room; what is let in stays until it ended."""
        under_way = self._under_way.setdefault(whom, [])
        while under_way and under_way[0] <= at:
            heappop(under_way)
        if len(under_way) >= at_once:
            return False
        heappush(under_way, ended_at)
        if len(self._under_way) > MOST_CALLERS:
            self._under_way.pop(next(iter(self._under_way)))
        return True

    def _who(self, passed: Passed) -> tuple[str, _Caller]:
        """Whom the limit counts, as the edge counts; remembered, because callers come again and again."""
        identity = passed.tenant, passed.subject, passed.client
        met = self._met.get(identity)
        if met is None:
            whom = counted(self._rule.scope, Asking(_principal(passed), self._route, passed.client))
            if len(self._met) >= MOST_CALLERS:
                self._met.clear()
            met = self._met[identity] = whom, self._caller(whom, passed)
        if met[1] is self._others:
            self.folded += 1
        return met

    def _caller(self, whom: str, passed: Passed) -> _Caller:
        known = self._callers.get(whom)
        if known is None:
            if len(self._callers) >= MOST_CALLERS:
                return self._others
            known = self._callers[whom] = _Caller(_named(self._rule.scope, passed))
        return known


def _bursts(rule: Rule) -> tuple[_Burst, ...]:
    if not isinstance(rule, Limit):
        return ()
    sizes = sorted({max(1, round(rule.burst * times)) for times in _BURSTS})
    return tuple(_Burst(rule.rate, size) for size in sizes)


def _principal(passed: Passed) -> Principal:
    # Records hold no key: callers with keys are told apart by tenant and subject.
    return Principal(kind="", subject=passed.subject, tenant=passed.tenant)


def _named(scope: Scope, passed: Passed) -> str:
    """The caller in words, by the identity that the limit falls back to."""
    if scope is Scope.ROUTE:
        return "everybody"
    if scope is Scope.TENANT and passed.tenant:
        return f"tenant {passed.tenant}"
    if scope is not Scope.CLIENT and passed.subject:
        return f"subject {passed.subject}" + (f" of {passed.tenant}" if passed.tenant else "")
    return f"client {passed.client}"
