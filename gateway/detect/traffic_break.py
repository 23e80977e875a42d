"""Traffic that breaks off or bursts in, seen on the minute that is still running.

Whole minutes tell a change of traffic after two of them. What breaks off altogether (a name that no longer resolves, a
balancer that looks elsewhere) is told here after ten to fifteen seconds, given so much traffic that the silence is no
chance. Expected is what the ten minutes before had in spans as long; their own unevenness decides what is surprising.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.detect.counts import count_surprise
from gateway.detect.places import spoken
from gateway.domain.incident import Anomaly, Severity, Signal
from gateway.domain.window import FINE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.detect.baseline import Baseline
    from gateway.domain.incident import Place
    from gateway.domain.window import Window

_SPANS = (2, 3, 6, 11)  # whole bins
# If nothing at all arrives from anywhere, it may be the way of the records that is blocked: that takes longer to say.
_SILENT_SPANS = (6, 11)
_SETTLE_S = 0.3  # a request of the last bin is in its batch after 200 ms and read 100 ms later
_LESS, _MORE = 0.25, 3.0
_FAR_LESS, _FAR_MORE = 0.1, 6.0  # worth P3
_LEAST = 20.0  # requests that came or stayed away
_SURPRISING = 8.0  # as for failures on the open minute
_FEWEST_BLOCKS = 8  # spans of the time before


class _Break(NamedTuple):
    span: int
    observed: int
    expected: float
    score: float


class TrafficBreak:
    """A route's requests broke off or multiplied within seconds."""

    name = "traffic_break"

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Routes whose traffic of the last seconds is unlike all of the ten minutes before."""
        self._baseline.advance(window, now)
        bins = [sums for at, sums in self._baseline.bins if at + FINE_S + _SETTLE_S <= now]
        length = self._baseline.past_bins
        if len(bins) < _SPANS[-1] or length < _FEWEST_BLOCKS * _SPANS[0]:
            return []
        bins = bins[-_SPANS[-1] :]
        spans = _SPANS if any(bins[-_SPANS[0] :]) else _SILENT_SPANS
        found = []
        for place, usual in self._baseline.past.items():
            if not place.route or usual.requests * _SPANS[-1] < _LEAST * length:
                continue
            lately = [total.requests if (total := sums.get(place)) is not None else 0 for sums in bins]
            rate = usual.requests / length
            # What is out over a longer span is out over some of its bins; the common case needs no sums.
            if _LESS * rate < min(lately) and max(lately) < _MORE * rate:
                continue
            if any(self._out(sum(lately[-span:]), rate * span) for span in spans):
                broken = self._look(place, lately, spans)
                if broken is not None:
                    found.append(self._anomaly(place, broken, now))
        return found

    @staticmethod
    def _out(observed: int, expected: float) -> bool:
        less, more = observed <= _LESS * expected, observed >= _MORE * expected
        return (less or more) and abs(observed - expected) >= _LEAST

    def _look(self, place: Place, lately: Sequence[int], spans: Sequence[int]) -> _Break | None:
        """The first span that is out and surprising, if the place's past is long enough to tell."""
        past = self._baseline.past_counts(place)
        if not any(past[: len(past) // 3]):
            return None  # new, or held at an incident: there is nothing to compare with
        for span in spans:
            observed = sum(lately[-span:])
            blocks = [sum(past[end - span : end]) for end in range(len(past), span - 1, -span)]
            if len(blocks) < _FEWEST_BLOCKS or min(blocks) <= observed <= max(blocks):
                continue
            expected = sum(blocks) / len(blocks)
            variance = sum((block - expected) ** 2 for block in blocks) / (len(blocks) - 1)
            score = count_surprise(observed, expected, variance)
            if self._out(observed, expected) and score >= _SURPRISING:
                return _Break(span, observed, expected, score)
        return None

    def _anomaly(self, place: Place, broken: _Break, now: float) -> Anomaly:
        seconds = broken.span * FINE_S
        far = not _FAR_LESS * broken.expected < broken.observed < _FAR_MORE * broken.expected
        word = "broke off" if broken.observed < broken.expected else "burst in"
        return Anomaly(
            detector=self.name,
            signal=Signal.TRAFFIC,
            place=place,
            # Fewer or more callers hurt nobody by themselves: never louder than P3.
            severity=Severity.P3 if far else Severity.P4,
            observed=broken.observed / seconds,
            expected=broken.expected / seconds,
            score=broken.score,
            requests=broken.observed,
            onset=float((now - _SETTLE_S) // FINE_S * FINE_S - seconds),
            seen_at=now,
            reason=f"traffic at {spoken(place)} {word}: {broken.observed} requests within {seconds} s, "
            f"usual are {broken.expected:.0f}",
        )
