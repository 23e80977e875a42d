"""The tests of shares."""

from __future__ import annotations

from math import comb, log10

import pytest

from gateway.detect.shares import median, scale_of, surprise, z_of


def test_surprise_agrees_with_the_exact_binomial_tail_when_the_past_is_long():
    share, bad, total = 0.02, 6, 50
    exact = sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(bad, total + 1))
    assert surprise(bad, total, 0.02 * 2000, 2000) == pytest.approx(-log10(exact), rel=0.05)


def test_a_thin_past_makes_the_same_share_less_surprising():
    assert surprise(5, 20, 0, 1000) > 9
    assert surprise(5, 20, 0, 20) < 3


def test_nothing_bad_is_never_surprising():
    assert surprise(0, 100, 0, 100) == 0
    assert surprise(0, 0, 0, 0) == 0


def test_a_share_at_or_below_the_usual_is_not_surprising():
    assert surprise(2, 100, 50, 1000) == 0


@pytest.mark.parametrize(("value", "z"), [(2.8697, 3.0), (6.5426, 5.0), (23.1181, 10.0)])
def test_z_of_a_surprise_is_the_normal_quantile(value, z):
    assert z_of(value) == pytest.approx(z, rel=0.03)


def test_median_and_scale_are_not_moved_by_one_outlier():
    values = [10.0, 11.0, 9.0, 10.0, 500.0]
    assert median(values) == 10.0
    assert scale_of(values, 10.0) == pytest.approx(1.4826)
