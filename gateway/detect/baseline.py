"""What is usual: recent bins one by one, the last ten minutes as rolling sums, and an hour of closed minutes.

Every cell of the window is summed by place once and remembered, so that a pass costs the same however many series
the traffic has. Memory is bounded by places × spans; places come from the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.detect.places import Sums, add_sums, by_place, subtract_sums
from gateway.domain.traffic import Tally
from gateway.domain.window import COARSE_S, FINE_S

if TYPE_CHECKING:
    from gateway.domain.incident import Place
    from gateway.domain.window import Window

RECENT_BINS = 12  # one minute, read one by one
# Cells younger than this may still grow: a worker flushes five times a second, control reads twice.
_SETTLED_S = 15
# The past ends here: a fault younger than this must not be part of what it is compared with.
_GAP_S = 30
_PAST_S = 600
# A minute is closed when its stragglers are in.
_STRAGGLERS_S = 5


class Baseline:
    """Sums that move along with time. ``advance`` first, then read; time may only go forward.

    Attributes:
        bins: the last minute's five-second bins, oldest first, the running one included: (start, sums).
        past: sums over about ten minutes that ended half a minute ago.
        minutes: closed minutes within ``span_s``, oldest first: start → sums.
    """

    def __init__(self, span_s: float = 3600.0) -> None:
        self._span_s = span_s
        self._now = -1.0
        self._settled: dict[int, Sums] = {}
        self._in_past: dict[int, Sums] = {}
        self.bins: list[tuple[int, Sums]] = []
        self.past: Sums = {}
        self.minutes: dict[int, Sums] = {}

    def advance(self, window: Window, now: float) -> None:
        """Take in what happened until ``now``; calling again with the same time costs nothing."""
        if now <= self._now:
            return
        self._now = now
        running = int(now) // FINE_S * FINE_S
        first = running - (RECENT_BINS - 1) * FINE_S
        self.bins = [(at, self._bin(window, at, now)) for at in range(first, running + 1, FINE_S)]
        self._move_past(window, now)
        self._close_minutes(window, now)
        self._settled = {at: sums for at, sums in self._settled.items() if at >= first}

    def last(self, bins: int) -> Sums:
        """Sums over the last so many bins, the running one included."""
        sums: Sums = {}
        for _, part in self.bins[-bins:]:
            add_sums(sums, part)
        return sums

    def usual(self, place: Place) -> Tally:
        """The place's past, empty when it has none."""
        return self.past.get(place, Tally())

    def _bin(self, window: Window, at: int, now: float) -> Sums:
        known = self._settled.get(at)
        if known is None:
            known = by_place(window, at, at + FINE_S)
            if at + FINE_S + _SETTLED_S <= now:
                self._settled[at] = known
        return known

    def _move_past(self, window: Window, now: float) -> None:
        end = now - _GAP_S
        start = end - _PAST_S
        for at in [at for at in self._in_past if at < start]:
            subtract_sums(self.past, self._in_past.pop(at))
        newest = max(self._in_past, default=int(start) // FINE_S * FINE_S - FINE_S)
        first = max(newest + FINE_S, int(start) // FINE_S * FINE_S, window.started_at or 0)
        for at in range(first - first % FINE_S, int(end) - FINE_S + 1, FINE_S):
            sums = by_place(window, at, at + FINE_S)
            if sums:
                self._in_past[at] = sums
                add_sums(self.past, sums)

    def _close_minutes(self, window: Window, now: float) -> None:
        running = int(now - _STRAGGLERS_S) // COARSE_S * COARSE_S
        oldest = int(now - self._span_s) // COARSE_S * COARSE_S
        self.minutes = {minute: sums for minute, sums in self.minutes.items() if minute >= oldest}
        start = max(oldest, (window.started_at if window.started_at is not None else running) // COARSE_S * COARSE_S)
        newest = max(self.minutes, default=start - COARSE_S)
        for minute in range(newest + COARSE_S, running, COARSE_S):
            self.minutes[minute] = by_place(window, minute, minute + COARSE_S, minutes=True)
