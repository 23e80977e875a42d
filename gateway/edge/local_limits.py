"""Limits decided on this node: always without Redis, and where a route says so while Redis is away.

Rates are divided: each of n live workers has the n-th part of every bucket. Quotas are counted together by all workers
of the node. How much more than agreed may pass while Redis is away stands in docs/explanation/limits.md.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from gateway.edge.limits import Verdict, wall_ticks
from gateway.edge.periods import period
from gateway.edge.token_bucket import PERIOD, LocalBuckets, charge

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.limits import LimitKey, LimitSet
    from gateway.edge.quotas import Quotas

Seen = tuple[int, list[int]]  # the tick, and what Redis last said about a group


class LocalLimits:
    """Buckets in this process, quotas in the node's file.

    Args:
        live_workers: how many workers share a limit.
        quotas: where quotas are counted.
        max_entries: buckets kept at most.
        wall: ticks since 2020, for quotas.
        on_forgotten: told how many buckets were forgotten for want of room.
    """

    def __init__(
        self,
        live_workers: Callable[[], int],
        quotas: Quotas,
        max_entries: int,
        wall: Callable[[], int] = wall_ticks,
        on_forgotten: Callable[[int], None] = lambda _number: None,
    ) -> None:
        self._live_workers = live_workers
        self._quotas = quotas
        self._buckets = LocalBuckets(max_entries, on_forgotten)
        self._wall = wall

    def decide(self, limits: LimitSet, keys: list[LimitKey], seen: Seen | None = None) -> Verdict:
        """The verdict on one exchange; ``seen`` is what Redis had counted before it went away."""
        share = max(1, self._live_workers())
        now = monotonic_ns() // 125
        if len(keys) == 1 and limits.sole:  # most limited routes: one rate
            answers = self._buckets.take_one(keys[0], limits.buckets(share)[0], now)
            return Verdict(limits, answers, 0, not answers[1])
        if limits.has_quotas:
            return Verdict(limits=limits, answers=self._with_quotas(limits, keys, share, now, seen))
        refusing = limits.refusing if limits.watching else None
        return Verdict(limits=limits, answers=self._buckets.take(keys, limits.buckets(share), now, refusing=refusing))

    def _with_quotas(
        self, limits: LimitSet, keys: list[LimitKey], share: int, now: int, seen: Seen | None
    ) -> list[int]:
        table, quotas, wall = self._buckets, self._quotas, self._wall()
        buckets = limits.buckets(share)
        used = _used(limits, seen, wall)
        with quotas.held():
            before: list[int | None] = []
            for index, (key, each) in enumerate(zip(keys, buckets, strict=True)):
                state = table.get(key) if each.interval > 0 else quotas.read(key)
                floor = used[index]
                before.append(floor if state is None and floor else max(state, floor) if state is not None else None)
            after, answers = charge(before, buckets, now, wall, limits.refusing)
            for key, each, old, new in zip(keys, buckets, before, after, strict=True):
                if new is None:
                    continue
                if each.interval > 0:
                    table.put(key, new, now)
                elif new != old:
                    quotas.write(key, new, wall)
        return answers


def _used(limits: LimitSet, seen: Seen | None, wall: int) -> list[int]:
    """For each limit the state Redis had told of, 0 for buckets and for periods that are over."""
    floors = [0] * len(limits.rules)
    if seen is None:
        return floors
    then, answers = seen
    for index, each in enumerate(limits.buckets(1)):
        if each.interval < 0 and (span := period(each.interval, then)) == period(each.interval, wall):
            floors[index] = span.number * PERIOD + each.capacity - answers[3 * index]
    return floors
