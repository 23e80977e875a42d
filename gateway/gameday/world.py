"""A world of services and callers, one second at a time: every request ends as the record the gateway would have kept.

Callers keep their own pace through day and night; services call each other through the gateway; targets have moods,
pauses, restarts and a capacity. Directives in force are obeyed as workers obey them, so what control does has effects.
Everything is drawn from one seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.limits import Scope, WhenUnavailable
from gateway.domain.snapshot import DirectiveKind
from gateway.domain.traffic import ErrorKind, RequestRecord
from gateway.gameday import services
from gateway.gameday.services import CALLS, OVERHEAD_S, WORK
from gateway.proxy.balance import balanced

if TYPE_CHECKING:
    import random

    from gateway.domain.snapshot import Directive, Snapshot
    from gateway.gameday.effects import Effect, Flow
    from gateway.gameday.services import Caller, Step
    from gateway.proxy.standing import Standing

_DAY_S = 86_400
_MIDDLE, _SWING, _QUIETEST_H = 0.675, 0.325, 3  # from 35 % of the afternoon's traffic at three in the morning
_WEEKEND = 0.8
_REFUSED, _GONE, _FAILED = 400, 499, 500
_MOOD_KEEPS, _MOOD_STEP = 0.98, 0.015  # per second; wanders by about 8 %
_PAUSES_PER_S = 1 / 1800  # of a target, for as long as garbage is collected
_RESTARTS_PER_S = 1 / 28_800  # of a service, target by target
_RESTART_S = 1.2
_BURSTS_PER_S = 1 / 3600  # of some tenant
_CROWDED = 0.8  # of its capacity, from where on a target gets slower
_EXACT_POISSON = 30.0


class End(NamedTuple):
    """How a request ended for whoever asked; status 0: they had gone."""

    status: int
    seconds: float


class Felt:
    """What callers outside felt in one second."""

    __slots__ = ("asked", "failed", "hurt")

    def __init__(self) -> None:
        self.asked = self.failed = self.hurt = 0


class World:
    """The services and their callers.

    Args:
        snapshot: whose targets there are.
        draw: all chance comes from here.
    """

    def __init__(self, snapshot: Snapshot, draw: random.Random) -> None:
        self.draw = draw
        self.effects: tuple[Effect, ...] = ()
        self.flows: tuple[Flow, ...] = ()
        self.felt: dict[int, Felt] = {}
        self.restarts: list[tuple[float, str]] = []  # when and which service, for whoever marks deploys
        self._snapshot = snapshot
        self._standings: dict[str, Standing] = {
            upstream.name: balanced(upstream, self._chance, None) for upstream in snapshot.upstreams
        }
        self._timeouts = {one.name: one.timeout.header_s for one in snapshot.upstreams}
        self._limits = {
            route.name: tuple(one for one in route.limits if one.scope is Scope.CLIENT) for route in snapshot.routes
        }
        self._closed = frozenset(
            route.name for route in snapshot.routes if route.limit_unavailable is WhenUnavailable.CLOSED
        )
        self.without_redis = 0  # limit checks so far
        self._directives: tuple[Directive, ...] = ()
        self._orders: tuple[Directive, ...] = ()  # those about requests instead of targets
        self._tokens: dict[str, tuple[float, float]] = {}
        self._mood = dict.fromkeys(WORK, 0.0)
        self._load: dict[str, float] = {}
        self._arrived: dict[str, int] = {}
        self._pause: dict[str, float] = {}  # target → until when it does nothing
        self._restarting: dict[str, tuple[float, float]] = {}  # target → when nobody listens
        self._burst = ("", 0.0, 1.0)  # tenant, until, times
        self._again: dict[int, list[tuple[float, Step, Caller, int]]] = {}
        self._done: dict[int, list[RequestRecord]] = {}
        self._number = 0
        self._touched = False
        self._log_medians = {name: math.log(work.median_s) for name, work in WORK.items()}
        self._capacity = {name: WORK[service].capacity for service in WORK for name in services.target_names(service)}

    def _chance(self) -> float:
        return self.draw.random()

    def obey(self, snapshot: Snapshot, directives: tuple[Directive, ...], now: float) -> None:
        """Follow these directives from now on, as a worker does that read a new snapshot."""
        if snapshot.upstreams != self._snapshot.upstreams:
            self._standings = {one.name: balanced(one, self._chance, None) for one in snapshot.upstreams}
            self._directives = ()
            self._timeouts = {one.name: one.timeout.header_s for one in snapshot.upstreams}
            self._snapshot = snapshot
        if directives == self._directives:
            return
        self._directives = directives
        for name, standing in self._standings.items():
            standing.eject(
                (
                    (one.target, one.share, one.expires_at)
                    for one in directives
                    if one.kind is DirectiveKind.EJECT_TARGET and one.upstream == name
                ),
                now,
            )
        self._orders = tuple(one for one in directives if one.kind is not DirectiveKind.EJECT_TARGET)

    def second(self, at: int) -> list[RequestRecord]:
        """Everything asked in that second; returns the records of what was completed in it."""
        self._wander(at)
        busy = busyness(at)
        flows = [flow for flow in self.flows if flow.on(at)]
        for step, per_s in services.ENTRIES:
            for _ in range(self._poisson(per_s * busy)):
                self._enter(step, self._somebody(), at, flows)
            tenant, until, times = self._burst
            if at < until:
                for _ in range(self._poisson(per_s * busy * (times - 1) * dict(services.TENANTS)[tenant])):
                    self._ask(step, self.draw.choice(services.CALLERS[tenant]), at + self.draw.random(), 0)
        for _ in range(self._poisson(services.GREEDY_PER_S * busy)):
            self._ask(services.ITEM, services.GREEDY, at + self.draw.random(), 0)
        for flow in flows:
            if flow.extra_per_s:
                self._extra(flow, at)
        for began, step, caller, tries in self._again.pop(at, ()):
            self._ask(step, caller, began, tries)
        return self._done.pop(at, [])

    def healthy(self, target: str, service: str, at: float) -> bool:
        """What a health check would find."""
        began, ended = self._restarting.get(target, (0.0, 0.0))
        if began <= at < ended:
            return False
        return not any(
            one.seen_by_health and one.service == service and (not one.targets or target in one.targets)
            for one in self.effects
            if one.strength(at)
        )

    def _wander(self, at: int) -> None:
        gauss, chance = self.draw.gauss, self.draw.random
        for service in WORK:
            self._mood[service] = self._mood[service] * _MOOD_KEEPS + gauss(0, _MOOD_STEP)
            if chance() < _RESTARTS_PER_S:
                self._restart(service, at)
        for target in self._capacity:
            self._load[target] = 0.8 * self._load.get(target, 0.0) + 0.2 * self._arrived.get(target, 0)
            if chance() < _PAUSES_PER_S:
                self._pause[target] = at + chance() * 0.9 + 0.1
        self._arrived.clear()
        if at >= self._burst[1] and chance() < _BURSTS_PER_S:
            tenant = self.draw.choice(services.TENANTS)[0]
            self._burst = (tenant, at + 30 + chance() * 150, 1.5 + chance())

    def _restart(self, service: str, at: int) -> None:
        """One target after the other, each for a second or so: what a careful deploy looks like."""
        self.restarts.append((float(at), service))
        for number, target in enumerate(services.target_names(service)):
            began = at + number * 20 + self.draw.random()
            self._restarting[target] = (began, began + _RESTART_S * (0.3 + self.draw.random()))

    def _poisson(self, mean: float) -> int:
        if mean > _EXACT_POISSON:
            return max(0, round(self.draw.gauss(mean, math.sqrt(mean))))
        limit, count, product = math.exp(-mean), 0, self.draw.random()
        while product > limit:
            count += 1
            product *= self.draw.random()
        return count

    def _somebody(self) -> Caller:
        chance = self.draw.random()
        for tenant, part in services.TENANTS:
            chance -= part
            if chance < 0:
                return self.draw.choice(services.CALLERS[tenant])
        return services.CALLERS["acme"][0]

    def _enter(self, step: Step, caller: Caller, at: int, flows: list[Flow]) -> None:
        began = at + self.draw.random()
        times = 1.0
        for flow in flows:
            if flow.tenant in {"", caller.tenant} and flow.route in {"", step.route}:
                times *= flow.times
        if times >= 1.0 or self.draw.random() < times:
            self._ask(step, caller, began, 0)
        if times > 1.0:
            for _ in range(self._poisson(times - 1.0)):
                self._ask(step, caller, at + self.draw.random(), 0)

    def _extra(self, flow: Flow, at: int) -> None:
        step = next(one for one, _ in services.ENTRIES if one.route == flow.route)
        caller = services.Caller(*flow.caller)
        for _ in range(self._poisson(flow.extra_per_s)):
            self._ask(step, caller, at + self.draw.random(), 0)

    def _ask(self, step: Step, caller: Caller, began: float, tries: int) -> None:
        """One request from outside, with everything it sets off."""
        self._touched = False
        end = self._call(step, caller, began, services.CLIENT_TIMEOUT_S)
        felt = self.felt.setdefault(int(began), Felt())
        felt.asked += 1
        felt.hurt += self._touched
        failed = end.status == 0 or end.status >= _FAILED
        felt.failed += failed
        if failed and any(flow.retries > tries and flow.on(began) for flow in self.flows):
            again = began + end.seconds + 0.1 + self.draw.random() * 0.8
            if int(again) > int(began):
                self._again.setdefault(int(again), []).append((again, step, caller, tries + 1))

    def _call(self, step: Step, caller: Caller, began: float, patience_s: float) -> End:
        """One request through the gateway, its callees' included."""
        refusal = self._refused(step, caller, began)
        if refusal is not None:
            return self._record(step, caller, "", began, OVERHEAD_S, refusal[0], refusal[1])
        target = self._standings[step.service].pick(began)
        name = target.name if target else ""
        self._arrived[name] = self._arrived.get(name, 0) + 1
        if name in self._capacity:
            seconds, status, error = self._work(step, name, caller, began)
        else:  # configured, and nobody is there
            seconds, status, error = 0.001, 502, ErrorKind.UPSTREAM_UNAVAILABLE
            self._touched = True
        # One that hangs does so before it calls anybody: what it would have called is not asked.
        if status < _FAILED and not error and seconds < self._timeouts[step.service]:
            for callee in CALLS.get(step.service, ()):
                end = self._call(callee, caller, began + seconds / 2, services.CALL_TIMEOUT_S)
                seconds += end.seconds
                if end.status == 0 or end.status >= _REFUSED:
                    status = 502
                    break
        seconds += OVERHEAD_S
        if seconds > (timeout_s := self._timeouts[step.service]):
            seconds, status, error = timeout_s, 504, ErrorKind.UPSTREAM_TIMEOUT
            self._touched |= timeout_s < services.HEADER_TIMEOUT_S
        if seconds > patience_s or self.draw.random() < services.IMPATIENT:
            seconds, status, error = min(seconds, patience_s), _GONE, ErrorKind.CLIENT_GONE
        return self._record(step, caller, name, began, seconds, status, error)

    def _work(self, step: Step, target: str, caller: Caller, began: float) -> tuple[float, int, str]:
        """What the service itself takes and answers."""
        draw = self.draw
        work = WORK[step.service]
        seconds = math.exp(draw.gauss(self._log_medians[step.service] + self._mood[step.service], work.sigma))
        status, error = (201 if step.method == "POST" else 200), ""
        chance = draw.random()
        if chance < services.USUAL_ERRORS:
            status = 500
        elif chance > 1 - services.SLOW_TAIL:
            seconds *= services.SLOW_TIMES
        elif step.route == "items" and chance < services.USUAL_ERRORS + services.NOT_FOUND:
            status = 404
        crowd = self._load.get(target, 0.0) / self._capacity[target]
        if crowd > _CROWDED:
            seconds *= 1 + 12 * (crowd - _CROWDED)
            if crowd > 1 and draw.random() < (crowd - 1) / crowd:
                self._touched = True
                return 0.005, 503, ""
        if (until := self._pause.get(target, 0.0)) > began:
            seconds += until - began
        since, till = self._restarting.get(target, (0.0, 0.0))
        if since <= began < till:
            return 0.001, 502, ErrorKind.UPSTREAM_UNAVAILABLE
        return self._hurt(step, target, caller, began, (seconds, status, error))

    def _hurt(
        self, step: Step, target: str, caller: Caller, began: float, work: tuple[float, int, str]
    ) -> tuple[float, int, str]:
        """What the faults make of it."""
        seconds, status, error = work
        for effect in self.effects:
            strength = effect.strength(began)
            if not strength or not effect.meets(step, target, caller):
                continue
            # More and more requests fail; but all of them get slower and slower.
            if self.draw.random() < effect.share * (strength if effect.status else 1.0):
                self._touched = True
                seconds = seconds * (1 + (effect.factor - 1) * strength * strength) + effect.add_s * strength
                if effect.status:
                    status, error = effect.status, effect.error
        return seconds, status, error

    def _refused(self, step: Step, caller: Caller, at: float) -> tuple[int, str] | None:
        """What the gateway answers by itself, because of a limit or of an action in force."""
        if (answer := self._without_redis(step, at)) is not None:
            return answer
        if caller is services.GREEDY and not self._take("greedy", services.GREEDY_ALLOWED_PER_S, at):
            return 429, ErrorKind.RATE_LIMITED
        tight = 1.0
        for one in self._orders:
            if at >= one.expires_at or one.route not in {"", step.route} or one.upstream not in {"", step.service}:
                continue
            if one.kind is DirectiveKind.TIGHTEN_LIMIT:
                tight = min(tight, one.amount + (1 - one.amount) * one.share)
                continue
            through = one.share and self.draw.random() < one.share  # it is tried again
            if not through and (answer := self._ordered(one, caller, at)) is not None:
                return answer
        for limit in self._limits[step.route]:
            if not self._take(f"{step.route} {caller.client}", limit.rate * tight, at):
                return 429, ErrorKind.RATE_LIMITED
        return None

    def _without_redis(self, step: Step, at: float) -> tuple[int, str] | None:
        """While Redis is away every check is counted, and the route decides."""
        if not self.redis_away(at) or not self._limits[step.route]:
            return None
        self.without_redis += 1
        if step.route in self._closed:
            self._touched = True
            return 503, ErrorKind.LIMITER_UNAVAILABLE
        return None

    def redis_away(self, at: float) -> bool:
        """Whether the limiter's Redis does not answer at that time."""
        return any(flow.without_redis and flow.on(at) for flow in self.flows)

    def _ordered(self, order: Directive, caller: Caller, at: float) -> tuple[int, str] | None:
        """What an order about requests means for this one."""
        if order.kind is DirectiveKind.OPEN_CIRCUIT:
            return 503, ErrorKind.CIRCUIT_OPEN
        if order.kind is DirectiveKind.SHED_LOAD and self.draw.random() < order.amount:
            return 503, ErrorKind.SHED
        if not order.caller or order.caller not in _names(caller):
            return None
        if order.kind is DirectiveKind.BLOCK_CALLER:
            return 403, ErrorKind.BLOCKED
        if order.kind is DirectiveKind.LIMIT_CALLER and not self._take(order.id, order.amount, at):
            return 429, ErrorKind.RATE_LIMITED
        return None

    def _take(self, key: str, per_s: float, at: float) -> bool:
        """One token of a bucket that holds two seconds' worth."""
        level, before = self._tokens.get(key, (2 * per_s, at))
        level = min(2 * per_s, level + max(0.0, at - before) * per_s)
        self._tokens[key] = (level - 1 if level >= 1 else level, max(at, before))
        return level >= 1

    def _record(
        self, step: Step, caller: Caller, target: str, began: float, seconds: float, status: int, error: str
    ) -> End:
        self._number += 1
        duration_us = int(seconds * 1e6)
        completed_at = began + seconds
        record = RequestRecord(
            f"g{self._number:x}", completed_at, step.method, step.path, "", status, step.route, step.service, target,
            caller.tenant, caller.subject, caller.client, "gameday", str(error), 0, 200, duration_us,
            0, 0, 0, 0, duration_us, 0, 1 if target else 0, "", "", "",
        )  # fmt: skip
        self._done.setdefault(int(completed_at), []).append(record)
        return End(0 if status == _GONE else status, seconds)


def busyness(at: float) -> float:
    """How much is asked at that time, beside the busiest hour of a working day."""
    hour = (at % _DAY_S) / _DAY_S
    busy = _MIDDLE - _SWING * math.cos(2 * math.pi * (hour - _QUIETEST_H / 24))
    return busy * (_WEEKEND if at // _DAY_S % 7 in {2, 3} else 1.0)  # the epoch began on a Thursday


def _names(caller: Caller) -> tuple[str, str, str]:
    return (f"client {caller.client}", f"subject {caller.tenant}/{caller.subject}", f"tenant {caller.tenant}")
