"""How surprising so many bad requests out of so many are: tests that know how much traffic stands behind a share."""

from __future__ import annotations

from math import inf, lgamma, log, pi, sqrt

# Jeffreys' prior: the least that still says something before any traffic was seen.
_PRIOR = 0.5

# More history than this does not make the expectation firmer: real traffic is more uneven than a binomial, so a
# share measured over a million requests must still be allowed to wander. 2,000 leaves a share of 1 % free to be 1.7 %.
_MOST_HISTORY = 2000.0


def surprise(bad: int, total: int, bad_before: float, total_before: float) -> float:
    """−log10 of the chance of at least ``bad`` of ``total``, when ``bad_before`` of ``total_before`` was usual.

    The tail of the beta-binomial distribution: the past is itself only a sample. 0 when nothing is surprising; 8 means
    one in a hundred million. Worked: 5 of 20 gives 9.4 after 0 of 1,000, but only 2.1 after 0 of 20.
    """
    if bad <= 0 or total <= 0:
        return 0.0
    scale = min(1.0, _MOST_HISTORY / total_before) if total_before > 0 else 1.0
    alpha = bad_before * scale + _PRIOR
    beta = max(0.0, total_before - bad_before) * scale + _PRIOR
    if bad / total <= alpha / (alpha + beta):
        return 0.0
    return max(0.0, -_log_tail(bad, total, alpha, beta) / log(10))


def _log_tail(bad: int, total: int, alpha: float, beta: float) -> float:
    """The logarithm of P(K ≥ bad) for K beta-binomial; terms fall quickly above the mean, so few are added."""
    log_term = (
        lgamma(total + 1)
        - lgamma(bad + 1)
        - lgamma(total - bad + 1)
        + lgamma(bad + alpha)
        + lgamma(total - bad + beta)
        - lgamma(total + alpha + beta)
        + lgamma(alpha + beta)
        - lgamma(alpha)
        - lgamma(beta)
    )
    term = relative = 1.0
    for k in range(bad, total):
        term *= (total - k) * (k + alpha) / ((k + 1) * (total - k - 1 + beta))
        relative += term
        if term < 1e-9 * relative:
            break
    return log_term + log(relative) if relative < inf else 0.0


def median(values: list[float]) -> float:
    """The middle value; the mean of the two middle ones for an even number. Raises IndexError on an empty list."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def scale_of(values: list[float], centre: float) -> float:
    """The median absolute deviation in units of a normal standard deviation."""
    return 1.4826 * median([abs(value - centre) for value in values])


def z_of(surprise_value: float) -> float:
    """The normal z whose upper tail is about 10^−surprise; within 3 % from 2 on (asymptotic expansion)."""
    x = 2 * log(10) * surprise_value
    return sqrt(max(0.0, x - log(2 * pi * max(1.0, x - log(2 * pi * max(1.0, x))))))
