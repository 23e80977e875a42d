"""The counters of lua/token_bucket.lua, in the process: same states, same integers, same answers.

A bucket's state is the tick at which it will be full again, a quota's its period's number and what was used in it; see
the script for why. Ticks are 125 ns: for buckets of any clock the caller keeps to, for quotas since 2020.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.periods import KINDS, TICKS_PER_S, period

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

# Sixteen years: with the ticks since 2020 it stays below 2^53, up to which the script's doubles are exact.
MAX_CAPACITY = 4 * 10**15
PERIOD = 1 << 32  # a quota's state is number of the period x this + what was used


class Bucket(NamedTuple):
    """What a limit means in ticks: one token comes back per ``interval``, ``capacity`` is interval × burst.

    A quota is a bucket that is filled once per calendar period: ``interval`` is periods.DAY or periods.MONTH, both
    negative, and ``capacity`` the count.
    """

    interval: int
    capacity: int


def bucket(rate: float, burst: int, share: int = 1) -> Bucket:
    """The bucket of ``rate`` tokens per second and ``burst``, or the part of it that each of ``share`` workers gets.

    The interval is rounded up, so over any time t no more than burst + rate·t are admitted; the 10⁻⁶ takes back what
    floating-point division adds to a whole number.
    """
    interval = max(1, ceil(TICKS_PER_S * share / rate - 1e-6))
    return Bucket(interval, min(interval * max(1, burst // share), MAX_CAPACITY))


def quota(count: int, kind: str) -> Bucket:
    """The quota of ``count`` per "day" or "month"."""
    return Bucket(KINDS[kind], min(count, PERIOD - 1))


def charge(
    states: Sequence[int | None], buckets: Sequence[Bucket], now: int, wall: int = 0, refusing: int | None = None
) -> tuple[list[int | None], list[int]]:
    """Charge every bucket one token, or none of them.

    Args:
        states: one for each bucket, None for one never used.
        buckets: what each limit means in ticks.
        now: the tick of this moment, for buckets.
        wall: the tick of this moment since 2020, for quotas.
        refusing: how many of them refuse, all by default; the rest only watch, each charged if it has a token itself
            and the request is admitted.

    Returns:
        The new states, when refused as they were, except that a clock that jumped back empties a bucket only once. And
        three integers per bucket: tokens left, ticks until it has a token (0 if it had one), ticks until it is full.
    """
    refusing = len(buckets) if refusing is None else refusing
    looked = [
        _quota_now(state, each, wall) if each.interval < 0 else _bucket_now(state, each, now)
        for state, each in zip(states, buckets, strict=True)
    ]
    charged = not any(wait for _, wait, _ in looked[:refusing])
    kept: list[int | None] = []
    answers: list[int] = []
    for (state, wait, write), each in zip(looked, buckets, strict=True):
        pays = charged and not wait
        if each.interval < 0:
            span = period(each.interval, wall)
            after = state + 1 if pays else state
            answers += (max(0, each.capacity - after % PERIOD), wait, span.end - wall)
        else:
            after = state + each.interval if pays else state
            answers += ((now + each.capacity - after) // each.interval, wait, after - now)
        kept.append(after if pays or write else None)
    return [new if new is not None else old for new, old in zip(kept, states, strict=True)], answers


def _bucket_now(state: int | None, each: Bucket, now: int) -> tuple[int, int, bool]:
    """A bucket's state brought up to now, ticks until it has a token, and whether that must be kept in any case."""
    empty = now + each.capacity
    current = now if state is None or state < now else min(state, empty)
    return current, max(0, current + each.interval - empty), state is not None and state > empty


def _quota_now(state: int | None, each: Bucket, wall: int) -> tuple[int, int, bool]:
    """As :func:`_bucket_now`; what a later period had used (the clock jumped back) counts against this one."""
    span = period(each.interval, wall)
    base = span.number * PERIOD
    if state is None or state < base:
        current, later = base, False
    else:
        current, later = base + state % PERIOD, state >= base + PERIOD
    return current, span.end - wall if current - base >= each.capacity else 0, later


class LocalBuckets:
    """Buckets of this process, at most ``max_entries``; the one unused for longest is forgotten first."""

    def __init__(self, max_entries: int = 100_000) -> None:
        self._states: dict[Hashable, int] = {}
        self._max_entries = max_entries

    def __len__(self) -> int:
        return len(self._states)

    def take(
        self,
        keys: Sequence[Hashable],
        buckets: Sequence[Bucket],
        now: int,
        wall: int = 0,
        refusing: int | None = None,
    ) -> list[int]:
        """Charge one group; the answers are those of :func:`charge`."""
        table = self._states
        if len(keys) == 1 and refusing is None and buckets[0].interval > 0:
            return self.take_one(keys[0], buckets[0], now)
        # Popped and put back: a dict keeps insertion order, so the first entry is the one unused for longest.
        states, answers = charge([table.pop(key, None) for key in keys], buckets, now, wall, refusing)
        for key, state in zip(keys, states, strict=True):
            if state is not None:
                table[key] = state
        while len(table) > self._max_entries:
            del table[next(iter(table))]
        return answers

    def get(self, key: Hashable) -> int | None:
        """The state of one bucket."""
        return self._states.get(key)

    def put(self, key: Hashable, state: int) -> None:
        """Keep the state of one bucket."""
        self._states.pop(key, None)
        self._states[key] = state
        if len(self._states) > self._max_entries:
            del self._states[next(iter(self._states))]

    def take_one(self, key: Hashable, each: Bucket, now: int) -> list[int]:
        """The same for a single bucket, which is what most requests have."""
        table = self._states
        interval, capacity = each
        state = table.pop(key, now)
        state = max(now, min(state, now + capacity))
        wait = state + interval - now - capacity
        if wait <= 0:
            state += interval
            wait = 0
        table[key] = state
        if len(table) > self._max_entries:
            del table[next(iter(table))]
        return [(now + capacity - state) // interval, wait, state - now]
