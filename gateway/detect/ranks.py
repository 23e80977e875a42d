"""How rare a value is among those before it: a rank, which needs no idea of how the values are distributed."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from math import log

# Past values a rank looks back on: two weeks of five-minute points, three days of minutes.
REMEMBERED = 4000
# Fewer past values than this make no rank.
_FEWEST = 20
_UNRANKED = -9.0
# rarity = _GROWTH · ln(values + 1) − ln(1 + as extreme) + _OFFSET. A value can be no rarer than one in all that were
# seen; growth below 1 leaves a young series some benefit of that doubt. The offset only says where zero is.
_GROWTH, _OFFSET = 0.65, 2.9
_LARGEST = 64


def rarity(as_extreme: int, values: int) -> float:
    """How rare a value is that ``as_extreme`` of ``values`` past ones reached, on a logarithmic scale.

    Worked: 8.3 for the largest of 4,000; 6.5 when five of 4,000 were as large; 5.9 for the largest of 100.
    """
    if values < _FEWEST:
        return _UNRANKED
    return _GROWTH * log(min(values, REMEMBERED) + 1) - log(1 + as_extreme) + _OFFSET


class RecentRank:
    """Rank among the last ``REMEMBERED`` values: two arrays of doubles, 64 KB, searched by halves."""

    __slots__ = ("_at", "_ordered", "_recent")

    def __init__(self) -> None:
        self._recent = array("d")  # a ring once it is full
        self._ordered = array("d")
        self._at = 0

    def of(self, value: float) -> float:
        """The rarity of ``value`` among those learned."""
        values = len(self._ordered)
        return rarity(values - bisect_left(self._ordered, value), values)

    def state(self) -> tuple[bytes, int]:
        """What :meth:`restore` takes."""
        return self._recent.tobytes(), self._at

    def restore(self, recent: bytes, at: int) -> None:
        """Be what another was. Raises ValueError for what no state can be."""
        self._recent = _doubles(recent, REMEMBERED)
        self._at = at if 0 <= at < REMEMBERED else 0
        self._ordered = array("d", sorted(self._recent))

    def learn(self, value: float) -> None:
        """Remember a value; the oldest goes when there are too many."""
        if len(self._recent) < REMEMBERED:
            self._recent.append(value)
        else:
            del self._ordered[bisect_left(self._ordered, self._recent[self._at])]
            self._recent[self._at] = value
            self._at = (self._at + 1) % REMEMBERED
        insort(self._ordered, value)


class LargestRank:
    """Rank among all values ever, from their number and the largest few: whatever is smaller is not rare anyway."""

    __slots__ = ("_ordered", "_values")

    def __init__(self) -> None:
        self._ordered = array("d")
        self._values = 0

    def of(self, value: float) -> float:
        """The rarity of ``value`` among those learned."""
        return rarity(len(self._ordered) - bisect_left(self._ordered, value), self._values)

    def state(self) -> tuple[bytes, int]:
        """What :meth:`restore` takes."""
        return self._ordered.tobytes(), self._values

    def restore(self, largest: bytes, values: int) -> None:
        """Be what another was. Raises ValueError for what no state can be."""
        self._ordered = array("d", sorted(_doubles(largest, _LARGEST)))
        self._values = max(values, len(self._ordered))

    def learn(self, value: float) -> None:
        """Count a value, and remember it if it is one of the largest."""
        self._values += 1
        insort(self._ordered, value)
        if len(self._ordered) > _LARGEST:
            del self._ordered[0]


def _doubles(raw: bytes, most: int) -> array[float]:
    values = array("d")
    values.frombytes(raw)
    if len(values) > most or any(value != value for value in values):  # noqa: PLR0124 - only NaN is unlike itself
        raise ValueError(f"{len(values)} values where at most {most} real ones are kept")
    return values
