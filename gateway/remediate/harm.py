"""Whether some traffic is clearly worse than it was before the incident began, and how much there is of it. Pure."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.remediate.comparison import forwarded, lower, sample
from gateway.remediate.ejection import BEFORE_ONSET_S, MATERIAL, look_back, watches
from gateway.remediate.situation import Refusal, Situation
from gateway.remediate.wording import counted, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.plan import Watch
    from gateway.domain.traffic import ErrorKind
    from gateway.domain.upstreams import Upstream

# Requests per second are told from a quarter of a minute at least, and from the newest minute at most.
_RATE_LEAST_S = 15.0
_RATE_MOST_S = 60.0
_SURE = 2.0  # standard deviations of a Poisson count
_FEWEST_BEFORE = 20  # requests before the onset that tell what is usual


class Pressure(NamedTuple):
    """How much is asked of an upstream, in requests per second, refused ones included.

    ``least`` is what was asked for sure now and in the first minute as well: what rose by chance, or only later, is no
    reason for what was wrong before.
    """

    now: float
    usual: float
    least: float

    @property
    def factor(self) -> float:
        """Now over usual; 1 when nothing is known of before."""
        return self.least / self.usual if self.usual else 1.0


def harm(situation: Situation, upstream: Upstream) -> Watch | Refusal:
    """By which signal the upstream is worse than before it began, with both samples; why not, if it is not."""
    name = upstream.name
    start, onset = look_back(situation.begun, situation.now), situation.incident.onset
    why = Refusal(f"{name} is not clearly worse in the last minute than before it began")
    for watch in watches(situation, upstream, situation.incident.place.route):
        now = sample(situation.window, watch, start, situation.now, lambda key: key.upstream == name)
        before = sample(situation.window, watch, onset - BEFORE_ONSET_S, onset, lambda key: key.upstream == name)
        if not before.requests:
            return Refusal(f"nothing is known of {name} before it began")
        if lower(before, now) and now.share - before.share >= MATERIAL:
            return msgspec.structs.replace(watch, target=now, siblings=before)
        why = Refusal(
            f"{name} is not clearly worse than before it began ({counted(now)} {what_is_bad(watch)} now, "
            f"{counted(before)} before)"
        )
    return why


def pressure(situation: Situation, upstream: str) -> Pressure:
    """What is asked of an upstream now and what was usual before the incident began."""
    window, onset, now = situation.window, situation.incident.onset, situation.now

    def asked(start: float, end: float) -> float:
        total = window.total(start, end, where=lambda key: key.upstream == upstream).requests
        return total / max(end - start, 1.0) if total else 0.0

    end = now - now % 5
    start = max(end - _RATE_MOST_S, min(onset - onset % 5, end - _RATE_LEAST_S))
    first = max(onset - onset % 5 - BEFORE_ONSET_S, float(window.started_at or 0))
    before = window.total(first, onset - onset % 5, where=lambda key: key.upstream == upstream).requests
    usual = asked(first, onset - onset % 5) if before >= _FEWEST_BEFORE else 0.0
    begun = min(onset - onset % 5, end - 5)
    spans = ((start, end), (begun, min(begun + _RATE_MOST_S, end)))
    return Pressure(asked(start, end), usual, min(_surely(asked(*span), span[1] - span[0]) for span in spans))


def _surely(per_s: float, seconds: float) -> float:
    """The least rate that such a count speaks for."""
    count = per_s * seconds
    return max(0.0, count - _SURE * sqrt(count)) / max(seconds, 1.0)


def share_of(situation: Situation, upstream: str, error: ErrorKind) -> float:
    """How many of an upstream's requests of the last minute ended by ``error``, 0..1."""
    start = look_back(situation.begun, situation.now)
    total = situation.window.total(
        start, situation.now, where=lambda key: key.upstream == upstream and forwarded(key)
    ).requests
    ended = situation.window.total(
        start, situation.now, where=lambda key: key.upstream == upstream and key.error == error
    ).requests
    return ended / total if total else 0.0
