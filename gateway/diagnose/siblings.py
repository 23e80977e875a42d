"""A target that is slow beside its siblings, where its own past says nothing because it crept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.diagnose.before_and_now import SLOWER, SLOWER_US
from gateway.diagnose.hypotheses import conclusive, with_margins
from gateway.domain.diagnosis import Hypothesis
from gateway.domain.histogram import above, quantile
from gateway.domain.traffic import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.before_and_now import BeforeAndNow
    from gateway.domain.incident import Place

_SLOW_SHARE = 0.25  # of its requests, beyond what is slow for its siblings …
_TIMES = 4.0  # … and so many times their share
_FEWEST = 20  # requests at it and at them
_SCORE = 0.7


def crept(standing: Sequence[Hypothesis], spans: BeforeAndNow, place: Place) -> list[Hypothesis]:
    """The hypotheses, led by the target where the incident shows if nothing else explains it but its siblings do.

    What grows over half an hour has been growing in the time it is compared with. So the spans before and now look
    alike, and what little stands out between them is chance.
    """
    if conclusive(standing) or not place.target:
        return list(standing)
    own, others = Tally(), Tally()
    for (upstream, target), row in spans.by("upstream", "target").items():
        if upstream == place.upstream and target:
            (own if target == place.target else others).add(row.now)
    usual = quantile(others.latency, 0.95)
    if usual is None or min(own.requests, others.requests) < _FEWEST:
        return list(standing)
    line = max(usual * SLOWER, usual + SLOWER_US)
    share, beside = (above(tally.latency, line) / tally.requests for tally in (own, others))
    if share < max(_SLOW_SHARE, _TIMES * beside):
        return list(standing)
    first = Hypothesis(
        id="",
        statement=f"Target {place.target} of {place.upstream} is slow",
        upstream=place.upstream,
        target=place.target,
        score=_SCORE,
    )
    left = [one for one in standing if (one.upstream, one.target, one.route, one.tenant) != _names(first)]
    most = max((one.score for one in left), default=0.0)
    room = (1 - _SCORE) / 2
    return with_margins([first, *(_scaled(one, room / most if most > room else 1.0) for one in left)])


def _names(one: Hypothesis) -> tuple[str, str, str, str]:
    return one.upstream, one.target, one.route, one.tenant


def _scaled(one: Hypothesis, by: float) -> Hypothesis:
    return Hypothesis(
        id=one.id,
        statement=one.statement,
        upstream=one.upstream,
        target=one.target,
        route=one.route,
        tenant=one.tenant,
        score=one.score * by,
    )
