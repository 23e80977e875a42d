"""The token bucket of lua/token_bucket.lua, in the process: same state, same integers, same answers.

A bucket's state is the tick at which it will be full again; see the script for why. Ticks are 125 ns of any clock that
the caller keeps to.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

TICKS_PER_S = 8_000_000
# Sixteen years: with the ticks since 2020 it stays below 2^53, up to which the script's doubles are exact.
MAX_CAPACITY = 4 * 10**15


class Bucket(NamedTuple):
    """What a limit means in ticks: one token comes back per ``interval``, ``capacity`` is interval × burst."""

    interval: int
    capacity: int


def bucket(rate: float, burst: int, share: int = 1) -> Bucket:
    """The bucket of ``rate`` tokens per second and ``burst``, or the part of it that each of ``share`` workers gets.

    The interval is rounded up, so over any time t no more than burst + rate·t are admitted; the 10⁻⁶ takes back what
    floating-point division adds to a whole number.
    """
    interval = max(1, ceil(TICKS_PER_S * share / rate - 1e-6))
    return Bucket(interval, min(interval * max(1, burst // share), MAX_CAPACITY))


def charge(full_at: Sequence[int | None], buckets: Sequence[Bucket], now: int) -> tuple[list[int | None], list[int]]:
    """Charge every bucket one token, or none of them.

    Args:
        full_at: for each bucket the tick at which it will be full, None for one never used.
        buckets: what each limit means in ticks.
        now: the tick of this moment.

    Returns:
        The new states, when refused as they were, except that a clock that jumped back empties a bucket only once. And
        three integers per bucket: tokens left, ticks until it has a token (0 if it had one), ticks until it is full.
    """
    states: list[int] = []
    charged = True
    for stored, (interval, capacity) in zip(full_at, buckets, strict=True):
        state = now if stored is None or stored < now else min(stored, now + capacity)
        states.append(state)
        if state + interval > now + capacity:
            charged = False
    answers: list[int] = []
    for index, (interval, capacity) in enumerate(buckets):
        wait = max(0, states[index] + interval - now - capacity)
        if charged:
            states[index] += interval
        answers += ((now + capacity - states[index]) // interval, wait, states[index] - now)
    if charged:
        return [*states], answers
    kept = [
        None if stored is None else min(stored, now + capacity)
        for stored, (_, capacity) in zip(full_at, buckets, strict=True)
    ]
    return kept, answers


class LocalBuckets:
    """Buckets of this process, at most ``max_entries``; the one unused for longest is forgotten first."""

    def __init__(self, max_entries: int = 100_000) -> None:
        self._full_at: dict[Hashable, int] = {}
        self._max_entries = max_entries

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, keys: Sequence[Hashable], buckets: Sequence[Bucket], now: int) -> list[int]:
        """Charge one group; the answers are those of :func:`charge`."""
        table = self._full_at
        # Popped and put back: a dict keeps insertion order, so the first entry is the one unused for longest.
        states, answers = charge([table.pop(key, None) for key in keys], buckets, now)
        for key, state in zip(keys, states, strict=True):
            if state is not None:
                table[key] = state
        while len(table) > self._max_entries:
            del table[next(iter(table))]
        return answers
