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

import msgspec

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


class SlotState(msgspec.Struct, frozen=True, array_like=True):
    """The last values of a time of day, to be kept."""

    values: bytes
    at: float
    lately: int


class State(msgspec.Struct, frozen=True, array_like=True):
    """All that :class:`Streaming` knows, to be kept. Arrays are bytes of doubles."""

    per_slot: int
    slots: dict[int, SlotState]  # those that know anything
    smoothed: tuple[float, ...]
    before: float | None
    mean: float
    count: int
    ranks: tuple[tuple[bytes, int], ...]


class _Range(NamedTuple):
    """Of some values: the lowest, their sum, the highest, and how many."""

    low: float
    total: float
    high: float
    values: int


def _range(values: array[float]) -> _Range | None:
    return _Range(min(values), sum(values), max(values), len(values)) if values else None


class _Slot:
    """The last values of a time of day, and their range, which is read far more often than it changes."""

    __slots__ = ("_at", "_earlier", "_lately", "all", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self.all: _Range | None = None
        self._earlier: _Range | None = None  # without the newest day
        self._at = float("-inf")  # when the newest was learned
        self._lately = 0  # how many of the newest belong to that day

    def learn(self, at: float, value: float, most: int) -> None:
        self._lately = 1 if at - self._at > _HALF_DAY_S else self._lately + 1
        self._at = at
        self.values.append(value)
        if len(self.values) > most:
            del self.values[0]
        self._sum_up()

    def before(self, at: float) -> _Range | None:
        """Of earlier days: today's values are part of what is being judged."""
        return self._earlier if at - self._at <= _HALF_DAY_S else self.all

    def state(self) -> SlotState:
        return SlotState(self.values.tobytes(), self._at, self._lately)

    def restore(self, state: SlotState, most: int) -> None:
        values = array("d")
        values.frombytes(state.values)
        if len(values) > most:
            raise ValueError(f"{len(values)} values in a slot that keeps {most}")
        self.values, self._at, self._lately = values, state.at, state.lately
        self._sum_up()

    def _sum_up(self) -> None:
        self.all = _range(self.values)
        self._earlier = _range(self.values[: max(0, len(self.values) - self._lately)])


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

    def state(self) -> State:
        """What :meth:`restored` takes."""
        return State(
            per_slot=self._per_slot,
            slots={index: slot.state() for index, slot in enumerate(self._slots) if slot.values},
            smoothed=(self._at_once, self._smooth, self._shift, self._step, self._step_long),
            before=self._before,
            mean=self._mean,
            count=self._count,
            ranks=tuple(rank.state() for rank in self._ranks.all),
        )

    @classmethod
    def restored(cls, state: State, step_s: int = SLOT_S) -> Streaming:
        """One that goes on where another stopped.

        Raises:
            ValueError: the state is that of another kind of series, or no state at all.
        """
        made = cls(step_s)
        if state.per_slot != made._per_slot or not all(0 <= index < _SLOTS for index in state.slots):
            raise ValueError("the state belongs to a series of another step")
        for index, slot in state.slots.items():
            made._slots[index].restore(slot, made._per_slot)
        made._at_once, made._smooth, made._shift, made._step, made._step_long = state.smoothed
        made._before, made._mean, made._count = state.before, state.mean, state.count
        for rank, (values, number) in zip(made._ranks.all, state.ranks, strict=True):
            rank.restore(values, number)
        return made

    def usual(self, at: float) -> Usual | None:
        """What this time of day was like on the days before; None when it was never seen."""
        slot = _slot(at)
        near = [found for one in self._around(slot) if (found := one.before(at)) is not None]
        if not near:
            return None
        own = self._slots[slot].before(at)
        same = [own] if own is not None else near
        mean = sum(one.total for one in same) / sum(one.values for one in same)
        return Usual(min(one.low for one in near), mean, max(one.high for one in near))

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
        near = [one.all for one in self._around(slot) if one.all is not None]
        outside = 0.0
        if near:
            outside = max(0.0, min([one.low for one in near]) - value, value - max([one.high for one in near]))
        self._at_once += _AT_ONCE_WEIGHT * (outside - self._at_once)
        self._smooth += _SMOOTH_WEIGHT * (outside - self._smooth)
        own = self._slots[slot].all
        self._shift += _SHIFT_WEIGHT * ((value - own.total / own.values if own else 0.0) - self._shift)
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

    @property
    def all(self) -> tuple[RecentRank | LargestRank, ...]:
        """In the order in which they are kept."""
        return (self._at_once, self._smooth, self._shift, self._variability, self._low, self._level)

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
