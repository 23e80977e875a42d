"""Latency in logarithmic bins: adds exactly, merges over any span, 1 % relative error.

The scheme is DDSketch's logarithmic mapping (Masson, Rim, Lee: "DDSketch", VLDB 2019): with γ = (1+α)/(1−α), bin i
holds the values in (γ^(i−1), γ^i], and its middle 2·γ^i/(γ+1) is at most α off any value in it. A histogram is a
plain ``dict[bin, count]`` because it is added to in the hottest loop of control.
"""

from __future__ import annotations

from math import ceil, log

import msgspec

ALPHA = 0.01
GAMMA = (1 + ALPHA) / (1 - ALPHA)
_INVERSE_LOG_GAMMA = 1 / log(GAMMA)

Histogram = dict[int, int]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Histogram).decode


def bin_of(duration_us: int) -> int:
    """The bin of a duration in microseconds; everything up to 1 µs falls into bin 0."""
    return ceil(log(duration_us) * _INVERSE_LOG_GAMMA) if duration_us > 1 else 0


def value_of(index: int) -> float:
    """The representative duration of a bin, in microseconds."""
    return 2 * GAMMA**index / (GAMMA + 1) if index > 0 else 1.0


def merge(into: Histogram, other: Histogram) -> None:
    """Add ``other`` to ``into`` in place."""
    for index, count in other.items():
        into[index] = into.get(index, 0) + count


def quantile(histogram: Histogram, q: float) -> float | None:
    """The q-quantile (0..1) in microseconds, or None for an empty histogram."""
    total = sum(histogram.values())
    if total == 0:
        return None
    rank = q * (total - 1)
    seen = 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen > rank:
            return value_of(index)
    return value_of(max(histogram))


def above(histogram: Histogram, value_us: float) -> int:
    """How many values lie above ``value_us``, exact to the bins' 1 %."""
    limit = bin_of(int(value_us))
    return sum(count for index, count in histogram.items() if index > limit)


def to_bytes(histogram: Histogram) -> bytes:
    """Compact form for a database column."""
    return _encode(histogram)


def from_bytes(raw: bytes) -> Histogram:
    """Inverse of :func:`to_bytes`; raises msgspec.DecodeError or ValidationError on foreign bytes."""
    return _decode(raw)
