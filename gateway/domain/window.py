"""Recent traffic in memory: five-second cells for the open minute, minute cells for the baseline.

Detection, attribution and verification read it, so that they work with the database away. Memory is bounded by the
spans kept and by ``max_series`` per cell (the tail folds into tenant "other").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import ceil
from typing import TypeVar

from gateway.domain.traffic import OTHER, SeriesKey, Tally

FINE_S = 5
COARSE_S = 60

Cell = dict[SeriesKey, Tally]
Where = Callable[[SeriesKey], bool]
V = TypeVar("V")


def starts(start: float, end: float, step: int) -> range:
    """The multiples of ``step`` in [start, end): where cells begin."""
    return range(ceil(start / step) * step, ceil(end), step)


class Window:
    """Sums by series over recent time.

    Args:
        fine_span_s: how long five-second cells are kept.
        coarse_span_s: how long minute cells are kept.
        max_series: distinct series per cell before tenants fold into "other".
    """

    def __init__(self, *, fine_span_s: int = 900, coarse_span_s: int = 7200, max_series: int = 5000) -> None:
        self._fine_span_s = fine_span_s
        self._coarse_span_s = coarse_span_s
        self._max_series = max_series
        self._fine: dict[int, Cell] = {}
        self._coarse: dict[int, Cell] = {}
        self._changes: dict[int, int] = {}  # by five-second cell: how often something was added
        self._errors: dict[int, set[str]] = {}  # by five-second cell: the kinds of error in it
        self.started_at: int | None = None  # first instant with data, seconds since the epoch
        self.folded = 0  # series folded into "other" since start

    def add(self, at: int, cell: Cell) -> None:
        """Add the sums of the five seconds that begin at ``at`` (a multiple of 5, seconds since the epoch)."""
        if self.started_at is None or at < self.started_at:
            self.started_at = at
        self._add_to(self._fine.setdefault(at, {}), cell)
        self._changes[at] = self._changes.get(at, 0) + 1
        self._errors.setdefault(at, set()).update([key.error for key in cell])
        self._add_to(self._coarse.setdefault(at - at % COARSE_S, {}), cell)

    def add_minute(self, minute: int, cell: Cell) -> None:
        """Add a whole minute known only as such (stored buckets, read back after a restart)."""
        if self.started_at is None or minute < self.started_at:
            self.started_at = minute
        self._add_to(self._coarse.setdefault(minute, {}), cell)

    def forget(self, now: float) -> None:
        """Drop what is older than the spans kept."""
        fine, coarse = now - self._fine_span_s, now - self._coarse_span_s
        _drop(self._fine, fine)
        _drop(self._coarse, coarse)
        _drop(self._changes, fine)
        _drop(self._errors, fine)

    def changes(self, at: int) -> int:
        """How often something was added to the five seconds that begin at ``at``: the same number, the same sums."""
        return self._changes.get(at, 0)

    def errors(self, start: float, end: float) -> set[str]:
        """The kinds of error in the five-second cells that begin in [start, end); "" for those that ended well."""
        return set().union(*(self._errors.get(at, ()) for at in starts(start, end, FINE_S)))

    def sums(
        self,
        start: float,
        end: float,
        *,
        by: tuple[str, ...] = (),
        where: Where | None = None,
        minutes: bool = False,
    ) -> dict[tuple[str | int, ...], Tally]:
        """Sums over the cells that begin in [start, end), grouped by fields of SeriesKey.

        Args:
            start: seconds since the epoch, inclusive.
            end: seconds since the epoch, exclusive.
            by: names of SeriesKey fields; the empty tuple gives one group, ``()``.
            where: keep only series for which this holds.
            minutes: read minute cells (long spans) instead of five-second cells.
        """
        places = tuple(SeriesKey._fields.index(name) for name in by)
        out: dict[tuple[str | int, ...], Tally] = {}
        for cell in self.cells(start, end, minutes=minutes):
            for key, tally in cell.items():
                if where is not None and not where(key):
                    continue
                group = tuple(key[place] for place in places)
                into = out.get(group)
                if into is None:
                    into = out[group] = Tally()
                into.add(tally)
        return out

    def counts(
        self, start: float, end: float, *, by: tuple[str, ...], where: Where, minutes: bool = False
    ) -> dict[tuple[str | int, ...], int]:
        """How many requests, grouped as :meth:`sums` does, and far cheaper: no histogram is added up."""
        places = tuple(SeriesKey._fields.index(name) for name in by)
        out: dict[tuple[str | int, ...], int] = {}
        for cell in self.cells(start, end, minutes=minutes):
            for key, tally in cell.items():
                if where(key):
                    group = tuple([key[place] for place in places])
                    out[group] = out.get(group, 0) + tally.requests
        return out

    def total(self, start: float, end: float, *, where: Where | None = None, minutes: bool = False) -> Tally:
        """Sums over everything in [start, end) for which ``where`` holds."""
        return self.sums(start, end, where=where, minutes=minutes).get((), Tally())

    def series(
        self, start: float, end: float, *, where: Where | None = None, minutes: bool = False
    ) -> Iterator[tuple[int, Tally]]:
        """One tally per cell in [start, end), in order of time, empty cells included."""
        cells, step = (self._coarse, COARSE_S) if minutes else (self._fine, FINE_S)
        for at in starts(start, end, step):
            tally = Tally()
            for key, part in cells.get(at, {}).items():
                if where is None or where(key):
                    tally.add(part)
            yield at, tally

    def cells(self, start: float, end: float, *, minutes: bool = False) -> Iterable[Cell]:
        """The cells that begin in [start, end), in order of time; to be read only."""
        cells, step = (self._coarse, COARSE_S) if minutes else (self._fine, FINE_S)
        return (cells[at] for at in starts(start, end, step) if at in cells)

    def _add_to(self, cell: Cell, other: Cell) -> None:
        for key, tally in other.items():
            into = cell.get(key)
            if into is None:
                if len(cell) >= self._max_series and key.tenant != OTHER:
                    self.folded += 1
                    self._add_to(cell, {key._replace(tenant=OTHER): tally})
                    continue
                into = cell[key] = Tally()
            into.add(tally)


def _drop(by_start: dict[int, V], oldest: float) -> None:
    for at in [at for at in by_start if at < oldest]:
        del by_start[at]
