"""A detector for what the other ones cannot see: a route or an upstream unlike its own last days at this hour.

The others compare with the last ten minutes or the last hour. A fault that creeps over half a day moves along with
those, and a night as busy as noon is calm by their measure. Here every series has a :class:`Streaming` of its own, fed
with p95 and traffic of closed minutes. (Shares of errors have tests that know how much traffic stands behind them.)

Ranks alone would speak about pure chance a few times a day, so a finding must also lie well outside everything known
of this time of day, in most of the last minutes. It needs two days of watching before it says a word. What it knows is
in :class:`Watched`, which outlives a change of the settings and can be kept (:mod:`gateway.detect.watched_state`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.detect.closed_minute import OncePerMinute
from gateway.detect.places import Total, spoken
from gateway.detect.streaming import THRESHOLD, Streaming, Usual
from gateway.domain.incident import Anomaly, Place, Severity, Signal
from gateway.domain.window import COARSE_S

if TYPE_CHECKING:
    from gateway.detect.baseline import Baseline
    from gateway.domain.policy import DetectSettings

# Places watched, two series each of at most half a megabyte: 60 MB when all are old. Later ones are left out.
MOST_PLACES = 60
_DAY_S = 86_400
_WATCHED_S = 2 * _DAY_S
# Beyond the range of this time of day by so much is worth a word. Already half of that is not learned any more: what
# creeps would teach its own way up. After a day of it this is how things are now.
_SLOWER, _SLOWER_US = 2.0, 20_000.0
_LESS, _MORE = 0.4, 2.5
_HALF = 0.5
_MOST_MINUTES = 30  # of which most must be out
_HELD_S = _DAY_S
_FEWEST = 10.0  # requests in a usual minute, before a change of traffic says anything


class Series:
    """One place's p95 or traffic.

    Attributes:
        since: the first minute that was seen, seconds since the epoch.
        newest: the last one.
        out_since: since when it lies beyond what is learned.
        streaming: the detector proper.
    """

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.since: float | None = None
        self.newest = -1.0
        self.out_since: float | None = None
        self.streaming = Streaming(COARSE_S)
        self._out: deque[tuple[int, float]] = deque(maxlen=_MOST_MINUTES)
        self.usual: Usual | None = None
        self.score = 0.0

    def feed(self, minute: int, value: float, *, learn: bool = True) -> None:
        """Take in a closed minute. What is out is not learned, until it has lasted a day.

        Without ``learn`` an incident is open there: that is never what is usual. A minute that is known is left out.
        """
        if minute <= self.newest:
            return
        self.newest = minute
        if self.since is None:
            self.since = minute
        self.usual = usual = self.streaming.usual(minute)
        if usual is None or not self._beyond(value, usual, _HALF):
            self.out_since = None
        elif self.out_since is None:
            self.out_since = minute
        held = self.out_since is not None and minute - self.out_since < _HELD_S
        watched = minute - self.since >= _WATCHED_S
        self.score = self.streaming.score(minute, value, learn=learn and not (held and watched))
        out = watched and held and usual is not None and self._beyond(value, usual)
        self._out.append((minute, self.score if out else 0.0))

    def onset(self, newest: int, fire_minutes: int, fire_of: int) -> int | None:
        """The first minute that is out, if so many of the last are, ``newest`` among them."""
        out = [minute for minute, score in list(self._out)[-fire_of:] if score >= THRESHOLD]
        return out[0] if len(out) >= fire_minutes and out[-1] == newest else None

    def _beyond(self, value: float, usual: Usual, part: float = 1.0) -> bool:
        """Whether the value lies beyond the usual range by the change that matters, or by part of it."""
        if self.signal is Signal.LATENCY:
            return value > usual.high + part * max((_SLOWER - 1) * usual.high, _SLOWER_US)
        if usual.mean < _FEWEST and value < _FEWEST:
            return False
        less, more = 1 - part * (1 - _LESS), 1 + part * (_MORE - 1)
        return value < less * usual.low or value > more * max(usual.high, _FEWEST)


class Watched:
    """Every place that is watched, with its two series: p95 and traffic."""

    def __init__(self) -> None:
        self.places: dict[Place, tuple[Series, Series]] = {}

    def add(self, place: Place) -> bool:
        """Watch a place, unless there are too many."""
        if len(self.places) >= MOST_PLACES:
            return False
        self.places[place] = (Series(Signal.LATENCY), Series(Signal.TRAFFIC))
        return True

    def go_on(self, place: Place, pair: tuple[Series, Series]) -> bool:
        """Take up what somebody else watched, if that is longer than what is known here."""
        known = self.places.get(place)
        own = _began(known) if known is not None else float("inf")
        if _began(pair) >= own or (known is None and len(self.places) >= MOST_PLACES):
            return False
        self.places[place] = pair
        return True


def _began(pair: tuple[Series, Series]) -> float:
    return min((series.since for series in pair if series.since is not None), default=float("inf"))


class UnlikeItself(OncePerMinute):
    """p95 or traffic unlike anything at this hour of the last days."""

    name = "streaming"

    def __init__(self, baseline: Baseline, settings: DetectSettings, watched: Watched | None = None) -> None:
        super().__init__(baseline, settings)
        self._fed = -1
        self._watched = watched or Watched()
        self.left_out = 0  # minutes of places beyond the limit

    def _look(self, newest: int, now: float) -> list[Anomaly]:
        for minute, sums in sorted(self._baseline.minutes.items()):
            if minute > self._fed:
                self._feed(minute, sums)
                self._fed = minute
        found = []
        fire = (self._settings.fire_minutes, self._settings.fire_of)
        for place, pair in self._watched.places.items():
            total = self._baseline.minutes[newest].get(place) or Total()
            found += [
                self._anomaly(place, series, total, (onset, now))
                for series in pair
                if (onset := series.onset(newest, *fire)) is not None
            ]
        return found

    def _feed(self, minute: int, sums: dict[Place, Total]) -> None:
        for place in sums:
            if not (place.target or place in self._watched.places or self._watched.add(place)):
                self.left_out += 1
        for place, (latency, traffic) in self._watched.places.items():
            total = sums.get(place) or Total()
            learn = not self._baseline.in_trouble(place, minute)
            traffic.feed(minute, float(total.requests), learn=learn)
            if total.requests >= self._settings.min_requests:
                latency.feed(minute, total.p95_us, learn=learn)

    def _anomaly(self, place: Place, series: Series, total: Total, times: tuple[int, float]) -> Anomaly:
        usual = series.usual or Usual(0.0, 0.0, 0.0)
        if series.signal is Signal.LATENCY:
            observed, expected = total.p95_us, usual.mean
            severity = Severity.P3
            said = f"p95 at {spoken(place)} is {observed / 1000:.0f} ms"
            known = f"at this time of day it was at most {usual.high / 1000:.0f} ms"
        else:
            observed, expected = total.requests / COARSE_S, usual.mean / COARSE_S
            severity = Severity.P4
            said = f"{spoken(place)} gets {total.requests} requests a minute"
            known = f"at this time of day it was {usual.low:.0f} to {usual.high:.0f}"
        return Anomaly(
            detector=self.name,
            signal=series.signal,
            place=place,
            severity=severity,
            observed=observed,
            expected=expected,
            score=series.score,
            requests=total.requests,
            onset=float(times[0]),
            seen_at=times[1],
            reason=f"{said}; {known}",
        )
