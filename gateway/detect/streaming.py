"""Is this value unlike what the series did before? One value at a time, without looking ahead.

Five streams say in five ways how strange the newest value is. Each is turned into a rank against its own past
(:mod:`gateway.detect.ranks`), which beat every assumption about distributions, and the ranks are combined by a
maximum with caps: the envelope of the hour of day leads, the others may only go so far beyond it.

1. Envelope: distance outside the range of this time of day on the last seven days, smoothed.
2. Level: distance from the mean of everything so far.
3. Shift: a lasting distance from the usual value at this time of day.
4. Variability: the size of steps lately against the size of steps over a long time.
5. Low: how low the value is.

Measured in docs/benchmarks/detection.md. State is plain numbers and arrays, about 350 KB per series at most.
"""

from __future__ import annotations

from math import exp, log

from gateway.detect.ranks import LargestRank, RecentRank

# A score from here on speaks: at most five of the last 4,000 values were as strange.
THRESHOLD = 6.47

_DAY_S = 86_400
_SLOT_S = 300
_SLOTS = _DAY_S // _SLOT_S
_NEIGHBOURS = 2  # slots on either side: what comes every day does not come to the minute
_DAYS = 7  # values kept per slot

# How far (margin) a stream stands back before it counts, and how far beyond the envelope it may go (cap).
_LEVEL_CAP = 4.0
_SHIFT_MARGIN, _SHIFT_CAP = 1.0, 4.0
_VARIABILITY_MARGIN, _VARIABILITY_CAP = 1.5, 6.0
_LOW_MARGIN, _LOW_CAP = 0.25, 2.0


def _weight(half_life: float) -> float:
    """The weight of the newest value in a mean whose values count half after ``half_life`` more."""
    return 1 - exp(-log(2) / half_life)


_ENVELOPE_WEIGHT = _weight(5)
_SHIFT_WEIGHT = _weight(10)
_STEP_WEIGHT = _weight(60)
_STEP_LONG_WEIGHT = _weight(2000)
_LEAST_STEP = 1e-9


class Streaming:
    """Scores one series, value by value."""

    def __init__(self) -> None:
        self._slots: list[list[float]] = [[] for _ in range(_SLOTS)]
        self._outside = 0.0
        self._shift = 0.0
        self._mean = 0.0
        self._count = 0
        self._before: float | None = None
        self._step = self._step_long = 0.0
        self._envelope_rank, self._shift_rank = RecentRank(), RecentRank()
        self._variability_rank, self._low_rank = RecentRank(), RecentRank()
        self._level_rank = LargestRank()

    def score(self, at: float, value: float) -> float:
        """How strange ``value`` is at ``at`` (seconds since the epoch); from ``THRESHOLD`` on it is worth a word."""
        outside, distance, shifted, stepping = self._measures(at, value)
        envelope = self._envelope_rank.rank(outside)
        level = self._level_rank.rank(distance)
        shift = self._shift_rank.rank(shifted)
        variability = self._variability_rank.rank(stepping)
        low = self._low_rank.rank(-value)
        return max(
            envelope,
            min(level, envelope + _LEVEL_CAP),
            min(shift - _SHIFT_MARGIN, envelope + _SHIFT_CAP),
            min(variability - _VARIABILITY_MARGIN, envelope + _VARIABILITY_CAP),
            min(low - _LOW_MARGIN, envelope + _LOW_CAP),
        )

    def _measures(self, at: float, value: float) -> tuple[float, float, float, float]:
        slot = int(at % _DAY_S) // _SLOT_S
        near = [
            past for index in range(slot - _NEIGHBOURS, slot + _NEIGHBOURS + 1) for past in self._slots[index % _SLOTS]
        ]
        outside = max(0.0, min(near) - value, value - max(near)) if near else 0.0
        self._outside += _ENVELOPE_WEIGHT * (outside - self._outside)
        own = self._slots[slot]
        usual = sum(own) / len(own) if own else value
        self._shift += _SHIFT_WEIGHT * (value - usual - self._shift)
        level = abs(value - self._mean) if self._count else 0.0
        self._count += 1
        self._mean += (value - self._mean) / self._count
        step = abs(value - self._before) if self._before is not None else 0.0
        self._before = value
        self._step += _STEP_WEIGHT * (step - self._step)
        self._step_long += _STEP_LONG_WEIGHT * (step - self._step_long)
        variability = abs(log((self._step + _LEAST_STEP) / (self._step_long + _LEAST_STEP)))
        own.append(value)
        if len(own) > _DAYS:
            del own[0]
        return self._outside, level, abs(self._shift), variability
