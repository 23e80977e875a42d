"""Keeps every objective's counts up to date, from the store while it answers and from memory while it does not.

The store is read every minute for the last minutes again: other nodes ship late, and a late minute is a new revision of
its bucket. At the start, and when an objective is new, its whole window is read in parts, days first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.detect.burn_rate import Ledger, assess, hours
from gateway.domain.histogram import above
from gateway.domain.objectives import Count
from gateway.domain.window import COARSE_S
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.domain.objectives import Objective, ObjectiveState
    from gateway.domain.traffic import SeriesKey, Tally
    from gateway.domain.window import Window

    class Gauge(Protocol):
        """Sets every series of a gauge at once."""

        def __call__(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
            """Label values → level."""
            ...


SETTLE_S = 8.0  # after the end of a minute: most of its records have been shipped by then
AGAIN_S = 900  # how far back minutes are read again
_PART_S = 6 * 3600
_FINE_S = 4 * 86_400
_HOUR_S = 3600
_SERVER_ERROR = 500

_log = logs.get("objectives")


class Counts(Protocol):
    """Stored counts of all nodes."""

    async def read(self, objective: Objective, start: int, end: int, step_s: int) -> Mapping[int, Count]:
        """Counts by the start of their step. Raises StoreUnavailableError."""
        ...


class Objectives:
    """The objectives of the configuration in force, and how each stands.

    Args:
        counts: what is stored.
        window: recent traffic in memory, for when the store is away.
        wanted: the objectives of the configuration in force.
        set_gauges: publishes figures.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        counts: Counts,
        window: Window,
        wanted: Callable[[], tuple[Objective, ...]],
        *,
        set_gauges: Gauge,
        clock: Callable[[], float],
    ) -> None:
        self._counts = counts
        self._window = window
        self._wanted = wanted
        self._set_gauges = set_gauges
        self._clock = clock
        self._ledgers: dict[Objective, Ledger] = {}
        self._filled: set[Objective] = set()  # whose whole window was read
        self._states: tuple[ObjectiveState, ...] = ()

    def states(self) -> Sequence[ObjectiveState]:
        """How each objective stood after the last whole minute, in the order of the file."""
        return self._states

    async def run(self) -> None:
        """Count once a minute, until cancelled."""
        while True:
            try:
                await self.once()
            except Exception:  # noqa: BLE001 - a task border: the next minute must be counted whatever this one met
                _log.exception("objectives.failed")
            await asyncio.sleep(COARSE_S - (self._clock() - SETTLE_S) % COARSE_S)

    async def once(self) -> None:
        """Bring every objective up to date."""
        wanted = self._wanted()
        self._ledgers = {one: self._ledgers.get(one) or Ledger(one.window_s) for one in wanted}
        self._filled &= self._ledgers.keys()
        now = self._clock()
        for objective, ledger in self._ledgers.items():
            try:
                await self._update(objective, ledger, now)
            except StoreUnavailableError:
                self._from_memory(objective, ledger, now)
            ledger.forget(now)
        self._judge(now)

    async def _update(self, objective: Objective, ledger: Ledger, now: float) -> None:
        end = int(now) // COARSE_S * COARSE_S
        if objective not in self._filled:
            fresh = Ledger(objective.window_s)
            await self._fill(objective, fresh, end)
            ledger = self._ledgers[objective] = fresh
            self._filled.add(objective)
        for minute, count in (await self._counts.read(objective, end - AGAIN_S, end, COARSE_S)).items():
            ledger.set_minute(minute, count)

    async def _fill(self, objective: Objective, ledger: Ledger, end: int) -> None:
        fine = (end - _FINE_S) // _HOUR_S * _HOUR_S
        oldest = int(end - objective.window_s) // _HOUR_S * _HOUR_S
        for start in range(oldest, end, _PART_S):
            stop = min(start + _PART_S, end)
            if start < fine:
                for hour, count in (await self._counts.read(objective, start, min(stop, fine), _HOUR_S)).items():
                    ledger.add_hour(hour, count)
            if stop > fine:
                for minute, count in (await self._counts.read(objective, max(start, fine), stop, COARSE_S)).items():
                    ledger.set_minute(minute, count)
            await asyncio.sleep(0)

    def _from_memory(self, objective: Objective, ledger: Ledger, now: float) -> None:
        """This node's own minutes (and what other nodes had stored): better than standing still."""
        end = now // COARSE_S * COARSE_S
        for minute, tally in self._window.series(end - AGAIN_S, end, where=_counted(objective), minutes=True):
            known = ledger.over(minute, minute + COARSE_S)
            if tally.requests > known.total:
                ledger.set_minute(minute, count_of(objective, tally))

    def _judge(self, now: float) -> None:
        before = {state.objective.name: state for state in self._states}
        self._states = tuple(assess(objective, ledger, now) for objective, ledger in self._ledgers.items())
        remaining: dict[tuple[str, ...], float] = {}
        burning: dict[tuple[str, ...], float] = {}
        for state in self._states:
            name = state.objective.name
            remaining[name,] = state.remaining
            burning |= {(name, hours(burn.long_s).replace(" ", "")): burn.long for burn in state.burns}
            known = before.get(name)
            if known is not None and known.level != state.level:
                _log.warning(
                    "budget.level", objective=name, level=str(state.level), remaining=round(state.remaining, 4)
                )
        self._set_gauges("sentinel_slo_error_budget_remaining", remaining)
        self._set_gauges("sentinel_slo_burn_rate", burning)


def count_of(objective: Objective, tally: Tally) -> Count:
    """What a sum of requests counts for an objective."""
    if objective.latency_s is None:
        return Count(tally.errors, tally.requests)
    timed = min(tally.requests, max(tally.errors, sum(tally.latency.values())))
    return Count(min(timed, max(tally.errors, above(tally.latency, objective.latency_s * 1e6))), timed)


def _counted(objective: Objective) -> Callable[[SeriesKey], bool]:
    def counts(key: SeriesKey) -> bool:
        if objective.route not in {"", key.route} or objective.upstream not in {"", key.upstream}:
            return False
        return key.target != "" or key.status >= _SERVER_ERROR  # what was refused has no target

    return counts
