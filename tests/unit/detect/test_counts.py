"""How surprising a number of requests is."""

from __future__ import annotations

from math import exp, factorial, log10

import pytest

from gateway.detect.counts import count_surprise


@pytest.mark.parametrize(("observed", "mean"), [(0, 12.0), (3, 14.0), (30, 9.0), (55, 22.0)])
def test_a_poisson_tail_is_bounded_closely_from_above(observed, mean):
    def chance(k):
        return exp(-mean) * mean**k / factorial(k)

    tail = sum(chance(k) for k in (range(observed + 1) if observed < mean else range(observed, 150)))
    assert -log10(tail) * 0.97 <= count_surprise(observed, mean, mean) <= -log10(tail) + 1e-6


def test_the_more_uneven_the_past_the_less_surprising():
    even, uneven, bursty = (count_surprise(0, 20.0, variance) for variance in (5.0, 100.0, 300.0))
    assert even == pytest.approx(20 / 2.302585, rel=1e-6)
    assert even > uneven > bursty > 0


def test_a_negative_binomial_with_hardly_more_than_its_mean_is_nearly_poisson():
    assert count_surprise(60, 20.0, 20.02) == pytest.approx(count_surprise(60, 20.0, 20.0), rel=0.01)


@pytest.mark.parametrize("observed", [18, 20, 23])
def test_what_lies_within_the_spread_is_no_surprise(observed):
    assert count_surprise(observed, 20.0, 20.0) == 0


def test_large_counts_cost_nothing_and_stay_finite():
    assert 0 < count_surprise(5_000_000, 1_000_000.0, 2.5e11) < 20
    assert count_surprise(0, 1_000_000.0, 1_000_000.0) > 100_000
