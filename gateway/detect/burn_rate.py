"""How fast an error budget burns, over several pairs of windows, and the finding that it burns too fast. Pure.

A pair speaks when both its windows burn faster than its threshold: the long one says that it matters, the short one
that it still goes on (so the finding ends minutes after the fault does). The pairs and thresholds are those of Google's
*Site Reliability Workbook*, chapter 5, and two more that catch what falls between them.

Thin traffic is guarded twice: a handful of bad requests says nothing, and a share over few requests is judged by the
lower end of Wilson's interval, not by its face.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, NamedTuple

from gateway.detect.places import spoken
from gateway.domain.incident import Anomaly, Place, Severity, Signal
from gateway.domain.objectives import BudgetLevel, Burn, Count, ObjectiveState
from gateway.domain.window import COARSE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.domain.objectives import Objective
    from gateway.domain.window import Window

_HOUR_S = 3600
_MINUTES_S = 4 * 86_400  # how long single minutes are kept: the longest burn window, and some room


class Pair(NamedTuple):
    """A long and a short window, what is too fast in both, and how grave that is."""

    long_s: float
    short_s: float
    threshold: float
    severity: Severity


# Burned per pair when it begins to speak, of a budget over 30 days: 2 %, 8 %, 5 %, 33 %, 10 %.
PAIRS = (
    Pair(3600, 300, 14.4, Severity.P1),
    Pair(7200, 600, 30.0, Severity.P1),
    Pair(21_600, 1800, 6.0, Severity.P2),
    Pair(86_400, 7200, 10.0, Severity.P2),
    Pair(259_200, 21_600, 1.0, Severity.P3),
)
_LEVELS = ((0.5, BudgetLevel.NORMAL), (0.25, BudgetLevel.CAUTION), (0.1, BudgetLevel.FREEZE))
_FEWEST_BAD = 5  # in the long window
_Z = 1.645  # one-sided 95 %; the pairs look at a few independent stretches a day only


class Ledger:
    """What one objective counted: single minutes for the burn rates, whole hours for the window.

    A minute may be set again (a late node, a revised bucket); hours are kept in step. Bounded by the spans.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._minutes: dict[int, Count] = {}
        self._hours: dict[int, Count] = {}

    def set_minute(self, minute: int, count: Count) -> None:
        """What a minute counted, in place of what was known of it."""
        before = self._minutes.get(minute, Count())
        if count.total or before.total:
            self._minutes[minute] = count
            self._add_hour(minute, count.bad - before.bad, count.total - before.total)

    def add_hour(self, hour: int, count: Count) -> None:
        """An hour too old for its minutes to matter."""
        self._add_hour(hour, count.bad, count.total)

    def forget(self, now: float) -> None:
        """Drop what lies outside."""
        for minute in [minute for minute in self._minutes if minute < now - _MINUTES_S]:
            del self._minutes[minute]
        for hour in [hour for hour in self._hours if hour + _HOUR_S <= now - self._window_s]:
            del self._hours[hour]

    def over(self, start: float, end: float) -> Count:
        """Minutes that begin in [start, end)."""
        bad = total = 0
        for minute in range(ceil(start / COARSE_S) * COARSE_S, ceil(end), COARSE_S):
            if (count := self._minutes.get(minute)) is not None:
                bad += count.bad
                total += count.total
        return Count(bad, total)

    def whole(self) -> Count:
        """Everything within the window, to the hour."""
        return Count(sum(one.bad for one in self._hours.values()), sum(one.total for one in self._hours.values()))

    @property
    def known_since(self) -> float | None:
        """The oldest hour with traffic."""
        return min((hour for hour, count in self._hours.items() if count.total), default=None)

    def _add_hour(self, at: int, bad: int, total: int) -> None:
        hour = at - at % _HOUR_S
        before = self._hours.get(hour, Count())
        self._hours[hour] = Count(before.bad + bad, before.total + total)


def assess(objective: Objective, ledger: Ledger, now: float) -> ObjectiveState:
    """The objective as it stands after the last minute that ended before ``now``."""
    end = now // COARSE_S * COARSE_S
    whole = ledger.whole()
    burns = tuple(_burn(objective, ledger, pair, end) for pair in PAIRS)
    allowed = whole.total * objective.allowed
    remaining = 1.0 - whole.bad / allowed if allowed else 1.0
    firing = [(burn, pair) for burn, pair in zip(burns, PAIRS, strict=True) if burn.firing]
    since = ledger.known_since
    return ObjectiveState(
        objective=objective,
        at=now,
        requests=whole.total,
        bad=whole.bad,
        remaining=remaining,
        level=level_of(remaining),
        burns=burns,
        known_since=now if since is None else float(since),
        onset=min((_onset(objective, ledger, pair, end) for _, pair in firing), default=None),
    )


def level_of(remaining: float) -> BudgetLevel:
    """The step that a share of the budget stands on."""
    return next((level for least, level in _LEVELS if remaining > least), BudgetLevel.HOTFIXES)


def wilson_low(count: Count, z: float = _Z) -> float:
    """The lower end of Wilson's interval for the share of bad ones; 0 without any."""
    if not count.total:
        return 0.0
    n, p = count.total, count.share
    centre = p + z * z / (2 * n)
    spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n))


def _burn(objective: Objective, ledger: Ledger, pair: Pair, end: float) -> Burn:
    long, short = ledger.over(end - pair.long_s, end), ledger.over(end - pair.short_s, end)
    limit = pair.threshold * objective.allowed
    # Where the budget is large, so many times it is more than everything; then all but everything is too fast.
    limit = min(limit, 0.99)
    firing = long.bad >= _FEWEST_BAD and wilson_low(long) > limit and short.share > limit
    return Burn(
        long_s=pair.long_s,
        short_s=pair.short_s,
        threshold=pair.threshold,
        severity=pair.severity,
        long=long.share / objective.allowed,
        short=short.share / objective.allowed,
        firing=firing,
    )


def _onset(objective: Objective, ledger: Ledger, pair: Pair, end: float) -> float:
    """Going back minute by minute: the earliest from which on, taken together, it burns too fast."""
    limit = min(pair.threshold * objective.allowed, 0.99)
    onset, bad, total = end - pair.short_s, 0, 0
    for minute in range(int(end) - COARSE_S, int(end - pair.long_s) - 1, -COARSE_S):
        count = ledger.over(minute, minute + COARSE_S)
        bad, total = bad + count.bad, total + count.total
        if count.bad and bad > limit * total:
            onset = float(minute)
    return onset


class BudgetBurn:
    """A detector that speaks about objectives whose budget burns too fast.

    Args:
        states: the objectives as they stand; whoever counts for them brings them up to date every minute.
    """

    name = "burn_rate"

    def __init__(self, states: Callable[[], Sequence[ObjectiveState]]) -> None:
        self._states = states
        self._seen: Mapping[str, float] = {}

    def examine(self, window: Window, now: float) -> list[Anomaly]:  # noqa: ARG002 - as every detector
        """One finding per objective, the gravest of its burns; each state is spoken of once."""
        states = self._states()
        fresh = [state for state in states if self._seen.get(state.objective.name) != state.at]
        self._seen = {state.objective.name: state.at for state in states}
        return [found for state in fresh if (found := self._anomaly(state, now)) is not None]

    def _anomaly(self, state: ObjectiveState, now: float) -> Anomaly | None:
        if not state.firing:
            return None
        worst, objective = state.firing[0], state.objective
        place = Place(route=objective.route, upstream=objective.upstream)
        kind = (
            "requests fail"
            if objective.latency_s is None
            else f"requests fail or take over {objective.latency_s * 1000:g} ms"
        )
        return Anomaly(
            detector=self.name,
            signal=Signal.BUDGET,
            place=place,
            severity=worst.severity,
            observed=worst.long,
            expected=worst.threshold,
            score=worst.long,
            requests=state.requests,
            onset=now - worst.long_s if state.onset is None else state.onset,
            seen_at=now,
            reason=f"the error budget of {objective.name} burns {worst.long:.1f} times too fast "
            f"over {hours(worst.long_s)} (limit {worst.threshold:g}): too many {kind} at {spoken(place)}; "
            f"{max(0.0, state.remaining) * 100:.0f} % of the budget is left",
        )


def hours(seconds: float) -> str:
    """A window in words: ``5 min``, ``6 h``, ``3 d``."""
    if seconds < _HOUR_S:
        return f"{seconds / 60:g} min"
    return f"{seconds / _HOUR_S:g} h" if seconds <= 24 * _HOUR_S else f"{seconds / 86_400:g} d"
