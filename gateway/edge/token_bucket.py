"""The counters of lua/token_bucket.lua, in the process: same states, same integers, same answers.

A bucket's state is the tick at which it will be full again, a quota's its period's number and what was used in it; see
the script for why. Ticks are 125 ns: for buckets of any clock the caller keeps to, for quotas since 2020.
"""

from __future__ import annotations

from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.periods import KINDS, TICKS_PER_S, period

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

# Sixteen years: with the ticks since 2020 it stays below 2^53, up to which the script's doubles are exact.
MAX_CAPACITY = 4 * 10**15
MAX_BUCKETS = 40_000  # kept in a process, 5 MiB; from 43,691 on the dict alone takes twice as much
SHORT = (1 << 60) - 1  # integers up to here take 32 bytes, longer ones 48
FEW = 1024  # so many are never looked through
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
    """Buckets of this process, at most ``max_entries``. Quotas are kept elsewhere (quotas.py).

    A bucket that is full again is like one never used, so those are forgotten first: whenever there are twice as many
    as the last time, all are looked through. Where ``max_entries`` are not full again, the eighth unused for longest is
    forgotten. Many at a time, because finding the first entry of a dict whose first ones were deleted takes long.

    Callers are kept as their name's hash, which takes less than half of the memory. It is keyed by a secret of the
    process, so nobody can make names that collide, and by chance two of 40,000 do once in a billion such tables.

    Args:
        max_entries: kept at most.
        on_forgotten: told how many buckets were forgotten before they were full again.
    """

    def __init__(
        self, max_entries: int = MAX_BUCKETS, on_forgotten: Callable[[int], None] = lambda _number: None
    ) -> None:
        self._states: dict[int, int] = {}  # popped and put back when used, so the first is the one unused for longest
        self._max_entries = max_entries
        self._on_forgotten = on_forgotten
        self._room_for = min(FEW, max_entries)

    def __len__(self) -> int:
        return len(self._states)

    def take(
        self, keys: Sequence[Hashable], buckets: Sequence[Bucket], now: int, refusing: int | None = None
    ) -> list[int]:
        """Charge one group; the answers are those of :func:`charge`."""
        if len(keys) == 1 and refusing is None:
            return self.take_one(keys[0], buckets[0], now)
        states, answers = charge([self.get(key) for key in keys], buckets, now, refusing=refusing)
        for key, state in zip(keys, states, strict=True):
            if state is not None:
                self.put(key, state, now)
        return answers

    def get(self, key: Hashable) -> int | None:
        """The state of one bucket."""
        return self._states.get(hash(key) & SHORT)

    def put(self, key: Hashable, state: int, now: int) -> None:
        """Keep the state of one bucket."""
        mark = hash(key) & SHORT
        self._states.pop(mark, None)
        if len(self._states) >= self._room_for:
            self._make_room(now)
        self._states[mark] = state

    def take_one(self, key: Hashable, each: Bucket, now: int) -> list[int]:
        """The same for a single bucket, which is what most requests have."""
        table = self._states
        interval, capacity = each
        mark = hash(key) & SHORT
        state = table.pop(mark, now)
        state = max(now, min(state, now + capacity))
        wait = state + interval - now - capacity
        if wait <= 0:
            state += interval
            wait = 0
        if len(table) >= self._room_for:
            self._make_room(now)
        table[mark] = state
        return [(now + capacity - state) // interval, wait, state - now]

    def _make_room(self, now: int) -> None:
        table = self._states
        for mark in [mark for mark, state in table.items() if state <= now]:
            del table[mark]
        if len(table) >= self._max_entries:
            oldest = list(islice(table, max(1, self._max_entries // 8)))
            for mark in oldest:
                del table[mark]
            self._on_forgotten(len(oldest))
        self._room_for = min(max(FEW, 2 * len(table)), self._max_entries)
