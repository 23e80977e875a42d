"""Is this value unlike what the series did before? One value at a time, without looking ahead.

Five streams say in five ways how strange the newest value is. Each is turned into a rank against its own past
(:mod:`gateway.detect.ranks`), which beat every assumption about distributions, and the ranks are combined by a
maximum with caps: leaving the envelope of this time of day leads, the others may only go so far beyond it.

1. Envelope: distance outside the range of this time of day on the last seven days, smoothed. Unsmoothed it says
   nothing by itself, but lifts the caps of the others, so that a single value can speak.
2. Level: distance from the mean of everything so far.
3. Shift: a lasting distance from the usual value at this time of day.
4. Variability: the size of steps lately against the size of steps over a long time.
5. Low: how low the value is.

Measured, with what did not help, in docs/benchmarks/detection.md. State is plain numbers and arrays, at most 500 KB
per series.
"""

from __future__ import annotations

from array import array
from math import exp, log
from typing import NamedTuple

from gateway.detect.ranks import LargestRank, RecentRank

# A score from here on speaks: at most six of the last 4,000 values were as strange, or none of the first 187.
THRESHOLD = 6.3

_DAY_S = 86_400
SLOT_S = 300
_SLOTS = _DAY_S // SLOT_S
_HALF_DAY_S = _DAY_S / 2
_NEIGHBOURS = 2  # slots on either side: what comes every day does not come to the minute
_DAYS = 7

# How far a stream stands back before it counts (margin), and how far beyond the envelope it may go (cap).
_LEVEL_CAP = 4.0
_SHIFT_MARGIN, _SHIFT_CAP = 1.0, 4.0
_VARIABILITY_MARGIN, _VARIABILITY_CAP = 1.5, 6.0
_LOW_MARGIN, _LOW_CAP = 0.25, 2.0


def _weight(half_life: float) -> float:
    """The weight of the newest value in a mean whose values count half after ``half_life`` more."""
    return 1 - exp(-log(2) / half_life)


_AT_ONCE_WEIGHT, _SMOOTH_WEIGHT = _weight(0.5), _weight(5)
_SHIFT_WEIGHT = _weight(40)
_STEP_WEIGHT, _STEP_LONG_WEIGHT = _weight(60), _weight(2000)
_LEAST_STEP = 1e-9  # keeps a flat line's ratio of steps at one


class Usual(NamedTuple):
    """What a time of day was like so far."""

    low: float
    mean: float
    high: float


class _Slot:
    """The last values of a time of day."""

    __slots__ = ("_at", "_lately", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self._at = float("-inf")  # when the newest was learned
        self._lately = 0  # how many of the newest belong to that day

    def learn(self, at: float, value: float, most: int) -> None:
        self._lately = 1 if at - self._at > _HALF_DAY_S else self._lately + 1
        self._at = at
        self.values.append(value)
        if len(self.values) > most:
            del self.values[0]

    def before(self, at: float) -> array[float]:
        """The values of earlier days: today's are part of what is being judged."""
        lately = self._lately if at - self._at <= _HALF_DAY_S else 0
        return self.values[: max(0, len(self.values) - lately)]


class _Measures(NamedTuple):
    """How strange a value is in each way, in the series' own units."""

    at_once: float
    smooth: float
    level: float
    shift: float
    variability: float
    low: float


class Streaming:
    """Scores one series.

    Args:
        step_s: seconds between its values, so that a slot of the day keeps seven days of them.
    """

    def __init__(self, step_s: int = SLOT_S) -> None:
        self._per_slot = _DAYS * max(1, SLOT_S // step_s)
        self._slots = [_Slot() for _ in range(_SLOTS)]
        self._at_once = self._smooth = self._shift = 0.0
        self._step = self._step_long = 0.0
        self._before: float | None = None
        self._mean = 0.0
        self._count = 0
        self._ranks = _Ranks()

    def usual(self, at: float) -> Usual | None:
        """What this time of day was like on the days before; None when it was never seen."""
        slot = _slot(at)
        near = [value for one in self._around(slot) for value in one.before(at)]
        if not near:
            return None
        own = self._slots[slot].before(at) or near
        return Usual(min(near), sum(own) / len(own), max(near))

    def score(self, at: float, value: float, *, learn: bool = True) -> float:
        """How strange ``value`` is at ``at`` (seconds since the epoch); from ``THRESHOLD`` on it is worth a word.

        Without ``learn`` it is not remembered: what is wrong now must not become what is usual.
        """
        measures = self._measures(at, value)
        found = self._ranks.combined(measures)
        if learn:
            self._ranks.learn(measures)
            self._count += 1
            self._mean += (value - self._mean) / self._count
            self._slots[_slot(at)].learn(at, value, self._per_slot)
        return found

    def _around(self, slot: int) -> list[_Slot]:
        return [self._slots[index % _SLOTS] for index in range(slot - _NEIGHBOURS, slot + _NEIGHBOURS + 1)]

    def _measures(self, at: float, value: float) -> _Measures:
        slot = _slot(at)
        near = [past for one in self._around(slot) for past in one.values]
        outside = max(0.0, min(near) - value, value - max(near)) if near else 0.0
        self._at_once += _AT_ONCE_WEIGHT * (outside - self._at_once)
        self._smooth += _SMOOTH_WEIGHT * (outside - self._smooth)
        own = self._slots[slot].values
        self._shift += _SHIFT_WEIGHT * ((value - sum(own) / len(own) if own else 0.0) - self._shift)
        step = abs(value - self._before) if self._before is not None else 0.0
        self._before = value
        self._step += _STEP_WEIGHT * (step - self._step)
        self._step_long += _STEP_LONG_WEIGHT * (step - self._step_long)
        return _Measures(
            at_once=self._at_once,
            smooth=self._smooth,
            level=abs(value - self._mean) if self._count else 0.0,
            shift=abs(self._shift),
            variability=abs(log((self._step + _LEAST_STEP) / (self._step_long + _LEAST_STEP))),
            low=-value,
        )


class _Ranks:
    """Each measure's past."""

    def __init__(self) -> None:
        self._at_once, self._smooth, self._shift = RecentRank(), RecentRank(), RecentRank()
        self._variability, self._low = RecentRank(), RecentRank()
        self._level = LargestRank()

    def combined(self, measures: _Measures) -> float:
        """The strangest of the streams, none too far beyond the envelope."""
        at_once, smooth = self._at_once.of(measures.at_once), self._smooth.of(measures.smooth)
        envelope = max(at_once, smooth)
        return max(
            smooth,
            min(self._level.of(measures.level), envelope + _LEVEL_CAP),
            min(self._shift.of(measures.shift) - _SHIFT_MARGIN, envelope + _SHIFT_CAP),
            min(self._variability.of(measures.variability) - _VARIABILITY_MARGIN, envelope + _VARIABILITY_CAP),
            min(self._low.of(measures.low) - _LOW_MARGIN, envelope + _LOW_CAP),
        )

    def learn(self, measures: _Measures) -> None:
        self._at_once.learn(measures.at_once)
        self._smooth.learn(measures.smooth)
        self._level.learn(measures.level)
        self._shift.learn(measures.shift)
        self._variability.learn(measures.variability)
        self._low.learn(measures.low)


def _slot(at: float) -> int:
    return int(at % _DAY_S) // SLOT_S
