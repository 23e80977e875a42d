"""What is usual: recent bins one by one, the last ten minutes as rolling sums, and an hour of closed minutes.

While an incident is open its places are held: what was usual before it stays what it is compared with, and nothing that
happens during it is ever taken for usual.

Every cell of the window is summed by place once and remembered until it grows, so that a pass costs what five seconds
of traffic cost, however long the spans are. Memory is bounded by places × spans; places come from the configuration.
"""

from __future__ import annotations

from collections import deque
from itertools import islice, takewhile
from math import ceil
from typing import TYPE_CHECKING

from gateway.detect.held import Held
from gateway.detect.places import Sums, Total, add_sums, by_place, subtract_sums
from gateway.detect.screen import Screen
from gateway.domain.window import COARSE_S, FINE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.incident import Place
    from gateway.domain.window import Window

RECENT_BINS = 12  # one minute, read one by one
# The past ends here: a fault younger than this must not be part of what it is compared with.
_GAP_S = 30
_PAST_S = 600
# A minute is closed when its stragglers are in.
_STRAGGLERS_S = 5
_NOTHING = Total()  # read only


class Baseline:
    """Sums that move along with time. ``advance`` first, then read; time may only go forward.

    Attributes:
        bins: the last minute's five-second bins, oldest first, the running one included: (start, sums).
        past: sums over about ten minutes that ended half a minute ago.
        minutes: closed minutes within ``span_s`` (longer while something is held), oldest first: start → sums.
        screen: which places are worth a closer look now.
    """

    def __init__(self, span_s: float = 3600.0, held: Callable[[], Held] = Held) -> None:
        self._span_s = span_s
        self._find_held = held
        self._held = Held()
        self._moved: int | None = None  # up to here cells were taken into the past
        self._past_since = 0
        self._faulty: dict[int, set[Place]] = {}  # minute → places in trouble then
        self._now = -1.0
        self._summed: dict[int, tuple[int, Sums]] = {}  # start of a bin → how often it had grown, sums
        self._last: dict[int, Sums] = {}
        self._in_past: dict[int, Sums] = {}
        self.bins: list[tuple[int, Sums]] = []
        self.past: Sums = {}
        self.minutes: dict[int, Sums] = {}
        self._columns: dict[Place, deque[Total]] = {}  # the same by place: one entry for each of the minutes
        self.screen = Screen()

    def advance(self, window: Window, now: float) -> None:
        """Take in what happened until ``now``; calling again with the same time costs nothing."""
        if now <= self._now:
            return
        self._now = now
        self._hold(self._find_held())
        running = int(now) // FINE_S * FINE_S
        first = running - (RECENT_BINS - 1) * FINE_S
        self._last = {}
        self.bins = [(at, self._bin(window, at)) for at in range(first, running + 1, FINE_S)]
        self._move_past(window, now)
        self._close_minutes(window, now)
        self._summed = {at: known for at, known in self._summed.items() if at >= first}
        self.screen.settle(self.bins, self.past)

    def recent_places(self) -> list[Place]:
        """Places with traffic in the last minute. Far cheaper than :meth:`last`, which adds histograms."""
        return list(dict.fromkeys(place for _, sums in self.bins for place in sums))

    def last(self, bins: int) -> Sums:
        """Sums over the last so many bins, the running one included; worked out once per moment. Read only."""
        if bins not in self._last:
            sums: Sums = {}
            for _, part in self.bins[-bins:]:
                add_sums(sums, part)
            self._last[bins] = sums
        return self._last[bins]

    def usual(self, place: Place) -> Total:
        """The place's past, empty when it has none."""
        return self.past.get(place) or Total()

    def _bin(self, window: Window, at: int) -> Sums:
        known = self._summed.get(at)
        if known is not None and known[0] == window.changes(at):
            return known[1]
        sums = by_place(window, at, at + FINE_S)
        self._summed[at] = (window.changes(at), sums)
        self.screen.take(at, sums)
        return sums

    @property
    def past_bins(self) -> int:
        """How many bins the past spans, those without traffic included."""
        return (self._moved - self._past_since) // FINE_S if self._moved is not None else 0

    def past_counts(self, place: Place) -> list[int]:
        """The place's requests in each bin of the past, oldest first; empty while the place is held."""
        if self._moved is None or self._held.since(place) is not None:
            return []
        found = [self._in_past.get(at, {}).get(place) for at in range(self._past_since, self._moved, FINE_S)]
        return [total.requests if total is not None else 0 for total in found]

    def usual_minutes(self, place: Place, before: int) -> list[Total]:
        """The place in each closed minute that began before that one and in which it was not in trouble."""
        column = self._columns.get(place)
        if column is None:
            column = deque([_NOTHING] * len(self.minutes))
        known = len(self.minutes) - sum(1 for _ in takewhile(lambda minute: minute >= before, reversed(self.minutes)))
        if not self._faulty:
            return list(islice(column, known))
        return [
            total
            for minute, total in islice(zip(self.minutes, column, strict=True), known)
            if place not in self._faulty.get(minute, ())
        ]

    def in_trouble(self, place: Place, minute: int) -> bool:
        """Whether an incident was open there in that minute."""
        return place in self._faulty.get(minute, ())

    def _hold(self, held: Held) -> None:
        """Take back what was learned since an onset that was only known later."""
        if held == self._held:
            return
        # Minutes that are still running, or wait for their stragglers, were in trouble even if it has just ended.
        running = int(self._now) // COARSE_S * COARSE_S
        for minute in (running - COARSE_S, running):
            if minute not in self.minutes:
                self._mark(minute, dict.fromkeys(self.recent_places(), _NOTHING))
        self._held = held
        for at, sums in self._in_past.items():
            for place in [place for place in sums if self._began_before(place, at + FINE_S)]:
                self._unlearn({place: sums.pop(place)})
        for minute, sums in self.minutes.items():
            self._mark(minute, sums)

    def _began_before(self, place: Place, end: float) -> bool:
        since = self._held.since(place)
        return since is not None and since < end

    def _mark(self, minute: int, sums: Sums) -> None:
        if not self._held:
            return
        faulty = {place for place in sums if self._began_before(place, minute + COARSE_S)}
        if faulty:
            self._faulty.setdefault(minute, set()).update(faulty)

    def _move_past(self, window: Window, now: float) -> None:
        end = now - _GAP_S
        start = end - _PAST_S
        for at in [at for at in self._in_past if at < start]:
            gone = self._in_past[at]
            kept = {}
            if self._held:
                kept = {place: gone.pop(place) for place in [*gone] if self._held.since(place) is not None}
            self._unlearn(gone)
            if kept:
                self._in_past[at] = kept
            else:
                del self._in_past[at]
        moved = self._moved if self._moved is not None else 0
        first = max(moved, int(start) // FINE_S * FINE_S, window.started_at or 0)
        self._past_since = max(ceil(start / FINE_S) * FINE_S, (window.started_at or 0) // FINE_S * FINE_S)
        for at in range(first - first % FINE_S, int(end) - FINE_S + 1, FINE_S):
            known = self._summed.get(at)
            current = known is not None and known[0] == window.changes(at)
            sums = dict(known[1]) if known is not None and current else by_place(window, at, at + FINE_S)
            if self._held:
                sums = {place: total for place, total in sums.items() if not self._began_before(place, at + FINE_S)}
            self._moved = at + FINE_S
            if sums:
                self._in_past[at] = sums
                add_sums(self.past, sums)
                self.screen.learn(sums)

    def _unlearn(self, sums: Sums) -> None:
        subtract_sums(self.past, sums)
        self.screen.unlearn(sums)

    def _close_minutes(self, window: Window, now: float) -> None:
        running = int(now - _STRAGGLERS_S) // COARSE_S * COARSE_S
        # What was usual before a trouble is still there while it lasts, but not for ever.
        reference = max(min(now, self._held.earliest), now - self._span_s)
        oldest = int(reference - self._span_s) // COARSE_S * COARSE_S
        self._drop_minutes(sum(1 for _ in takewhile(lambda minute: minute < oldest, self.minutes)))
        if self._faulty:
            self._faulty = {minute: places for minute, places in self._faulty.items() if minute >= oldest}
        begin = int(now - self._span_s) // COARSE_S * COARSE_S
        start = max(begin, (window.started_at if window.started_at is not None else running) // COARSE_S * COARSE_S)
        newest = next(reversed(self.minutes), start - COARSE_S)
        for minute in range(newest + COARSE_S, running, COARSE_S):
            self._append_minute(minute, by_place(window, minute, minute + COARSE_S, minutes=True))

    def _append_minute(self, minute: int, sums: Sums) -> None:
        for place in sums.keys() - self._columns.keys():
            self._columns[place] = deque([_NOTHING] * len(self.minutes))
        for place, column in self._columns.items():
            column.append(sums.get(place) or _NOTHING)
        self.minutes[minute] = sums
        self._mark(minute, sums)

    def _drop_minutes(self, oldest: int) -> None:
        """Without so many of the oldest, and without the places that were seen in those only."""
        for minute in [*islice(self.minutes, oldest)]:
            for place in self.minutes.pop(minute):
                column = self._columns[place]
                if all(total is _NOTHING for total in islice(column, 1, None)):
                    del self._columns[place]
            for column in self._columns.values():
                column.popleft()
