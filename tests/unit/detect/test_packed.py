"""Histograms as integers say what histograms as dictionaries say."""

from __future__ import annotations

import random

import pytest

from gateway.detect.packed import FIRST, count_above, pack, quantile
from gateway.domain import histogram as plain

DRAWN = random.Random(3)


def drawn(values, most=60_000_000):
    found: plain.Histogram = {}
    for _ in range(values):
        index = plain.bin_of(int(DRAWN.uniform(1, most) ** DRAWN.random()))
        found[index] = found.get(index, 0) + 1
    return found


def shown(histogram):
    """The histogram with everything under a tenth of a millisecond in one bin, as it is packed."""
    found: plain.Histogram = {}
    for index, count in histogram.items():
        found[max(index, FIRST)] = found.get(max(index, FIRST), 0) + count
    return found


@pytest.mark.parametrize("values", [0, 1, 2, 40, 3000])
def test_quantiles_and_counts_are_those_of_the_histogram(values):
    histogram = drawn(values)
    packed = pack([histogram])
    for q in (0.0, 0.5, 0.85, 0.95, 1.0):
        assert quantile(packed, q) == plain.quantile(shown(histogram), q)
    for value_us in (120.0, 5_000.0, 20_000.0, 1e6, 1e9):
        assert count_above(packed, value_us) == plain.above(histogram, value_us)


def test_sums_and_differences_are_those_of_the_histograms():
    one, other = drawn(500), drawn(70)
    both = dict(one)
    plain.merge(both, other)
    assert pack([one]) + pack([other]) == pack([one, other]) == pack([both])
    assert pack([both]) - pack([other]) == pack([one])


def test_what_is_faster_than_anybody_notices_is_one_bin_and_is_still_counted():
    packed = pack([{0: 3, 5: 2, FIRST: 1, FIRST + 1: 4}])
    assert count_above(packed, 0.0) == 10
    assert packed == (4 << 32) + 6
