"""Counting bad requests in the gateway's own traffic, and telling a difference from luck. Pure."""

from __future__ import annotations

from math import erfc, exp, lgamma, log, sqrt
from typing import TYPE_CHECKING

from gateway.domain.histogram import bin_of
from gateway.domain.incident import Signal
from gateway.domain.plan import Sample, Watch
from gateway.domain.traffic import NOT_THE_UPSTREAM, ErrorKind, SeriesKey, Tally

if TYPE_CHECKING:
    from gateway.domain.window import Where, Window

# One wrong verdict in a hundred looks at traffic that did not change; every verdict also asks for a material effect.
SIGNIFICANT = 0.01
# Above this many requests the exact tail and the normal one agree to well under the level asked for.
_EXACT_UP_TO = 2000

# What the gateway refused itself, or the caller gave up, says nothing of the service behind. Unlike in detection, a
# failure of our own counts.
_NOT_THE_UPSTREAM = NOT_THE_UPSTREAM - {ErrorKind.INTERNAL}


def forwarded(key: SeriesKey) -> bool:
    """Whether the request went upstream, so that its end says something of the upstream."""
    return key.upstream != "" and key.error not in _NOT_THE_UPSTREAM


def bad(tally: Tally, watch: Watch) -> int:
    """How many of the requests were bad in the sense of the watch; a slow one that failed counts once."""
    if watch.signal != Signal.LATENCY or watch.slow_us <= 0:
        return tally.errors
    edge = bin_of(watch.slow_us)
    return max(sum(count for index, count in tally.latency.items() if index > edge), tally.errors)


def sample(window: Window, watch: Watch, start: float, end: float, where: Where) -> Sample:
    """Bad and all forwarded requests of the five-second cells that begin in [start, end) and match ``where``."""
    tally = window.total(start, end, where=lambda key: where(key) and forwarded(key))
    return Sample(bad=bad(tally, watch), requests=tally.requests)


def less(a: Sample, b: Sample) -> float:
    """How likely ``a`` shows so few bad ones by luck if both are the same: Fisher's exact test, one-sided.

    1.0 when either sample is empty: nothing can be told. Small values mean that a's share is truly lower.
    """
    if not a.requests or not b.requests:
        return 1.0
    total, total_bad = a.requests + b.requests, a.bad + b.bad
    if total_bad in {0, total}:
        return 1.0
    if total > _EXACT_UP_TO:
        pooled = total_bad / total
        spread = sqrt(pooled * (1 - pooled) * (1 / a.requests + 1 / b.requests))
        return 0.5 * erfc((b.share - a.share) / spread / sqrt(2))
    whole = _log_choose(total, a.requests)
    lowest = max(0, a.requests - (total - total_bad))
    return min(
        1.0,
        sum(
            exp(_log_choose(total_bad, k) + _log_choose(total - total_bad, a.requests - k) - whole)
            for k in range(lowest, a.bad + 1)
        ),
    )


def lower(a: Sample, b: Sample) -> bool:
    """Whether ``a`` is truly less bad than ``b``, at the level asked for."""
    return less(a, b) < SIGNIFICANT


def log_odds(seen: Sample, well: float, ill: float) -> float:
    """Wald's sequential likelihood ratio: positive speaks for a bad share of ``ill``, negative for ``well``."""
    good = seen.requests - seen.bad
    return seen.bad * log(ill / well) + good * log((1 - ill) / (1 - well))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
