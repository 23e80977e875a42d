"""Latency histograms as one integer each, so that adding and subtracting them runs at the speed of C.

Bin 230 + i of :mod:`gateway.domain.histogram` stands in bits 32·i … 32·i + 31; whatever took less than a tenth of a
millisecond stands in the first, for nothing that is looked for is that fast. Sums over places and spans are then single
additions, and because 2³² leaves 1 when divided by 2³² − 1, the remainder of that division is the sum of all bins.
That holds up to four billion requests, which is far more than a gateway forwards within the hour that is looked at.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from gateway.domain.histogram import bin_of, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.histogram import Histogram

FIRST = 230  # 0.1 ms
_BITS = 32
_BYTES = 4
_DIGIT_SUM = (1 << _BITS) - 1


def pack(histograms: Sequence[Histogram]) -> int:
    """The sum of some histograms."""
    filled = [histogram for histogram in histograms if histogram]
    if not filled:
        return 0
    lowest = min(map(min, filled))
    counts = [0] * (max(map(max, filled)) - lowest + 1)
    for histogram in filled:
        for index, count in histogram.items():
            counts[index - lowest] += count
    # "I" is four bytes wherever CPython runs; the test of this module would say otherwise.
    packed = int.from_bytes(array("I", counts), "little")
    if lowest >= FIRST:
        return packed << (_BITS * (lowest - FIRST))
    quick = FIRST + 1 - lowest
    return (packed >> (_BITS * quick) << _BITS) + sum(counts[:quick])


def count_from(packed: int, index: int) -> int:
    """How many values lie in that bin or above it."""
    return (packed >> (_BITS * (index - FIRST))) % _DIGIT_SUM if index > FIRST else packed % _DIGIT_SUM


def count_above(packed: int, value_us: float) -> int:
    """How many values lie above ``value_us``, exact to the bins' 1 %."""
    return count_from(packed, bin_of(int(value_us)) + 1)


def quantile_bin(packed: int, q: float) -> int | None:
    """The bin of the q-quantile (0..1); None for an empty histogram."""
    if not packed:
        return None
    lowest = ((packed & -packed).bit_length() - 1) // _BITS
    packed >>= _BITS * lowest
    raw = packed.to_bytes((packed.bit_length() + _BITS - 1) // _BITS * _BYTES, "little")
    reached = list(accumulate(memoryview(raw).cast("I")))
    return FIRST + lowest + bisect_right(reached, q * (reached[-1] - 1))


def quantile(packed: int, q: float) -> float | None:
    """The q-quantile (0..1) in microseconds, or None for an empty histogram."""
    found = quantile_bin(packed, q)
    return None if found is None else value_of(found)
