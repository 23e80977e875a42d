"""What control's actions in force mean for a request: callers kept out or slowed, load shed, requests sent elsewhere.

A worker without such a directive has none of this: one look at :attr:`Runtime.directed` is all a request pays. Each
directive ends by itself at its deadline, also when control is gone and no newer snapshot comes.
"""

from __future__ import annotations

from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.routing import Split
from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.domain.traffic import ErrorKind
from gateway.edge.exchange import Refusal
from gateway.edge.periods import TICKS_PER_S
from gateway.edge.split import Splitter
from gateway.edge.token_bucket import LocalBuckets, bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.routing import Route
    from gateway.edge.exchange import Exchange
    from gateway.edge.runtime import Runtime
    from gateway.metrics import WorkerCounters

_US = 1_000_000
_PER_US = TICKS_PER_S // _US
_RETRY_AFTER_S = 5  # of what is shed: about as often as control looks at the traffic
_LONGEST_RETRY_S = 60
MOST_CALLERS = 10_000  # buckets of limited callers; there are at most so many directives

_BLOCKED = "This caller is kept out for now: its requests were hurting others."
_LIMITED = "This caller is limited for now: its requests were hurting others."
_SHED = "There is more load than the service can take; some requests are turned away for a moment."
_OPEN = "The service behind this route does not answer well; it is left alone for a moment."


class _Rule(NamedTuple):
    """One directive and the monotonic microsecond it ends at."""

    order: Directive
    until: int

    def holds(self, exchange: Exchange, route: Route) -> bool:
        order = self.order
        return (
            exchange.steps_at < self.until
            and order.route in {"", route.name}
            and order.upstream in {"", exchange.upstream}
        )


class Directed:
    """The directives that concern requests, found by caller, upstream and route.

    Args:
        in_force: directives and the monotonic second each one ends.
        runtime: the snapshot they belong to.
        buckets: of callers that are limited; outlives the snapshot.
        counters: what was done to requests is counted here.
        live_workers: how many share a caller's limit on this node.
    """

    def __init__(
        self,
        in_force: Mapping[Directive, float],
        runtime: Runtime,
        buckets: LocalBuckets,
        counters: WorkerCounters,
        live_workers: Callable[[], int],
    ) -> None:
        self._runtime = runtime
        self._buckets = buckets
        self._counters = counters
        self._live_workers = live_workers
        self._clients: dict[str, list[_Rule]] = {}
        self._proven: dict[str, list[_Rule]] = {}  # callers known once they have shown who they are
        self._loads: list[_Rule] = []
        self._tight: list[_Rule] = []
        self._shifts: dict[tuple[str, str], tuple[_Rule, Splitter]] = {}
        for order, until in in_force.items():
            self._add(_Rule(order, int(until * _US)))

    def __bool__(self) -> bool:
        return bool(self._clients or self._proven or self._loads or self._tight or self._shifts)

    def at_the_door(self, exchange: Exchange, route: Route) -> Refusal | None:
        """Judge by the address alone, before anything is spent on the request."""
        for rule in self._clients.get(exchange.client, ()):
            if rule.holds(exchange, route) and (why := self._of_caller(rule, exchange, route)) is not None:
                return why
        return None

    def inside(self, exchange: Exchange, route: Route) -> Refusal | None:
        """Judge by who the caller is and where the request would go; sets its upstream and limits."""
        if (why := self._proven_caller(exchange, route)) is not None:
            return why
        if self._shifts:
            self._shift(exchange, route)
        for rule in self._loads:
            if rule.holds(exchange, route) and (why := self._of_load(rule, exchange, route)) is not None:
                return why
        factors = [_factor(rule.order) for rule in self._tight if rule.holds(exchange, route)]
        exchange.limits = self._runtime.limits(route, exchange.principal, min(factors, default=1.0))
        return None

    def _add(self, rule: _Rule) -> None:
        order = rule.order
        if order.kind in {DirectiveKind.BLOCK_CALLER, DirectiveKind.LIMIT_CALLER}:
            kind, _, name = order.caller.partition(" ")
            table, key = (self._clients, name) if kind == "client" else (self._proven, order.caller)
            table.setdefault(key, []).append(rule)
        elif order.kind in {DirectiveKind.SHED_LOAD, DirectiveKind.OPEN_CIRCUIT}:
            self._loads.append(rule)
        elif order.kind is DirectiveKind.TIGHTEN_LIMIT:
            self._tight.append(rule)
        elif order.kind is DirectiveKind.SHIFT_WEIGHT and (split := self._split_of(order)) is not None:
            self._shifts[order.route, order.upstream] = rule, split

    def _split_of(self, order: Directive) -> Splitter | None:
        """The route's split without the upstream that is spared; its canaries still reach it, who asked for it."""
        route = next((one for one in self._runtime.snapshot.routes if one.name == order.route), None)
        if route is None or route.split is None:
            return None
        others = tuple(share for share in route.split.shares if share.upstream != order.upstream and share.weight > 0)
        return Splitter(Split(others, route.split.canaries, route.split.sticky)) if others else None

    def _proven_caller(self, exchange: Exchange, route: Route) -> Refusal | None:
        principal = exchange.principal
        if not self._proven or not principal.kind:
            return None
        for caller in (f"subject {principal.tenant}/{principal.subject}", f"tenant {principal.tenant}"):
            for rule in self._proven.get(caller, ()):
                if rule.holds(exchange, route) and (why := self._of_caller(rule, exchange, route)) is not None:
                    return why
        return None

    def _of_caller(self, rule: _Rule, exchange: Exchange, route: Route) -> Refusal | None:
        order = rule.order
        if order.share and _draw(order.id, exchange) < order.share:
            return None
        if order.kind is DirectiveKind.BLOCK_CALLER:
            self._count(route, "blocked")
            return Refusal(403, ErrorKind.BLOCKED, _BLOCKED, headers=_retry_after(rule, exchange))
        each = bucket(order.amount, max(1, ceil(order.amount)), max(1, self._live_workers()))
        _, wait, _ = self._buckets.take_one(order.id, each, exchange.steps_at * _PER_US)
        if not wait:
            return None
        self._count(route, "limited")
        seconds = min(_LONGEST_RETRY_S, ceil(wait / TICKS_PER_S))
        return Refusal(429, ErrorKind.RATE_LIMITED, _LIMITED, headers=((b"retry-after", b"%d" % seconds),))

    def _of_load(self, rule: _Rule, exchange: Exchange, route: Route) -> Refusal | None:
        order = rule.order
        if order.kind is DirectiveKind.OPEN_CIRCUIT:
            if order.share and _draw(order.id, exchange) < order.share:
                return None
            self._count(route, "circuit")
            return Refusal(503, ErrorKind.CIRCUIT_OPEN, _OPEN, headers=_retry_after(rule, exchange))
        principal = exchange.principal
        plan = self._runtime.snapshot.tenant_plans.get(principal.tenant, "") if principal.kind else ""
        shed = dict(order.by_plan).get(plan, order.amount) * (1 - order.share)
        if _draw(order.id, exchange) >= shed:
            return None
        self._count(route, "shed")
        return Refusal(503, ErrorKind.SHED, _SHED, headers=((b"retry-after", b"%d" % _RETRY_AFTER_S),))

    def _shift(self, exchange: Exchange, route: Route) -> None:
        found = self._shifts.get((route.name, exchange.upstream))
        if found is None or exchange.steps_at >= found[0].until:
            return
        rule, splitter = found
        if rule.order.share and _draw(rule.order.id, exchange) < rule.order.share:
            return
        chosen = splitter.choose(exchange)
        if chosen != exchange.upstream:
            self._count(route, "shifted")
            exchange.upstream = chosen

    def _count(self, route: Route, outcome: str) -> None:
        self._counters.count("sentinel_directed_total", route.name, outcome)


def _factor(order: Directive) -> float:
    """What the limits are multiplied by; a trial lets go of a part of the tightening."""
    return order.amount + (1 - order.amount) * order.share


def _draw(salt: str, exchange: Exchange) -> float:
    """A number in 0..1 that is always the same for one request and one directive, whichever worker draws it."""
    text = f"{salt}\0{exchange.request_id}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") / 2**64


def _retry_after(rule: _Rule, exchange: Exchange) -> tuple[tuple[bytes, bytes], ...]:
    left_s = ceil((rule.until - exchange.steps_at) / _US)
    return ((b"retry-after", b"%d" % max(1, min(left_s, _LONGEST_RETRY_S))),)
