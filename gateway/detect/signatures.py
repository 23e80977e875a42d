"""What kind of failure it is: the gateway turns requests away by itself, or an error nobody has seen there before.

Both name the kind in words, which a share of errors does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.detect.places import spoken
from gateway.detect.severity import by_failing
from gateway.detect.shares import surprise
from gateway.domain.incident import Anomaly, Place, Severity, Signal
from gateway.domain.traffic import NOT_THE_UPSTREAM, ErrorKind
from gateway.domain.window import COARSE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.traffic import SeriesKey
    from gateway.domain.window import Window

_BEFORE_S = 600
_SERVER_ERROR = 500
_FULL = {ErrorKind.OVERLOADED: "every connection and queue was full", ErrorKind.CIRCUIT_OPEN: "its circuit was open"}


class Saturation:
    """Requests to an upstream are turned away here: there is no room for them, or its circuit is open."""

    name = "saturation"
    _surprising = 8.0
    _share = 0.02
    _fewest = 10

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Upstreams with far more refusals for want of room in the last minute than in the ten before."""
        if not window.errors(now - COARSE_S, now) & _FULL.keys():
            return []
        recent = _by_kind(window.counts(now - COARSE_S, now, by=("upstream", "error"), where=_to_upstream))
        span = (now - COARSE_S - _BEFORE_S, now - COARSE_S)
        before = _by_kind(window.counts(*span, by=("upstream", "error"), where=_to_upstream, minutes=True))
        return [
            found
            for upstream, kinds in recent.items()
            for kind in _FULL
            if (found := self._look(upstream, kind, kinds, before.get(upstream, {}), now)) is not None
        ]

    def _look(
        self, upstream: str, kind: ErrorKind, kinds: Mapping[str, int], before: Mapping[str, int], now: float
    ) -> Anomaly | None:
        bad, total = kinds.get(kind, 0), sum(kinds.values())
        bad_before, total_before = before.get(kind, 0), sum(before.values())
        score = surprise(bad, total, bad_before, total_before)
        if bad < self._fewest or bad < self._share * total or score < self._surprising:
            return None
        expected = bad_before / total_before if total_before else 0.0
        place = Place(upstream=upstream)
        return Anomaly(
            detector=self.name,
            signal=Signal.SATURATION,
            place=place,
            severity=by_failing(bad / total - expected),
            observed=bad / total,
            expected=expected,
            score=score,
            requests=total,
            onset=now - COARSE_S,
            seen_at=now,
            reason=f"{bad} of {total} requests to {spoken(place)} were turned away here: {_FULL[kind]}",
        )


_LASTING_S = 2 * COARSE_S
_OLD = (-COARSE_S, -COARSE_S)  # nothing new any more


class NewError:
    """A kind of failure that was never seen at a route before. Speaks once of each, after an hour of watching."""

    name = "new_error"
    _watched_s = 3600.0
    _enough = 500  # requests at the route, before anything about it is new
    _fewest = 3
    _most = 2000  # kinds remembered; beyond that nothing is new any more

    def __init__(self) -> None:
        self._since: float | None = None
        self._known: dict[tuple[str, int, str], tuple[int, int]] = {}  # the minutes it was seen first and last in
        self._requests: dict[str, int] = {}
        self._minute = -1

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Findings about the minute that has just been completed; empty in between."""
        minute = int(now - 5) // COARSE_S * COARSE_S - COARSE_S
        if minute <= self._minute:
            return []
        self._minute = minute
        self._since = minute if self._since is None else self._since
        found = []
        by = ("route", "status", "error")
        counts = window.counts(minute, minute + COARSE_S, by=by, where=_told_apart, minutes=True)
        totals: dict[str, int] = {}
        for (route, _, _), requests in counts.items():
            totals[str(route)] = totals.get(str(route), 0) + requests
        for (route, status, error), requests in counts.items():
            kind = (str(route), int(status), str(error))
            if kind[1] < _SERVER_ERROR or not self._is_new(kind, minute) or requests < self._fewest:
                continue
            if self._may_speak(kind[0], minute):
                found.append(self._anomaly(kind, requests, totals[kind[0]], (minute, now)))
            if kind in self._known:
                self._known[kind] = _OLD
        for route, requests in totals.items():
            self._requests[route] = self._requests.get(route, 0) + requests
        return found

    def _is_new(self, kind: tuple[str, int, str], minute: int) -> bool:
        """Whether it was seen first two minutes ago, and in every minute since.

        What is over sooner is a restart or a stumble. And a single failure makes its kind known: one that comes now and
        then is not new when three come together.
        """
        first, last = self._known.get(kind, (minute, minute))
        lasts = minute - last <= COARSE_S and minute - first <= _LASTING_S
        if kind in self._known or len(self._known) < self._most:
            self._known[kind] = (first, minute) if lasts else _OLD
        return lasts and minute - first == _LASTING_S

    def _may_speak(self, route: str, minute: int) -> bool:
        watched = self._since is not None and minute - self._since >= self._watched_s
        return watched and self._requests.get(route, 0) >= self._enough and len(self._known) < self._most

    def _anomaly(self, kind: tuple[str, int, str], requests: int, total: int, times: tuple[int, float]) -> Anomaly:
        place = Place(route=kind[0])
        named = f"{kind[1]}" + (f" ({kind[2].replace('_', ' ')})" if kind[2] else "")
        return Anomaly(
            detector=self.name,
            signal=Signal.ERROR_RATE,
            place=place,
            severity=Severity.P4,
            observed=requests / total,
            expected=0.0,
            score=float(requests),
            requests=total,
            onset=float(times[0]),
            seen_at=times[1],
            reason=f"{requests} of {total} requests at {spoken(place)} ended with {named}, "
            "which was never seen there before",
        )


def _to_upstream(key: SeriesKey) -> bool:
    return key.upstream != "" and key.error not in NOT_THE_UPSTREAM


def _told_apart(key: SeriesKey) -> bool:
    """Stored minutes know the class of a status only, and no method: they cannot say what is new."""
    return key.route != "" and key.method != "" and key.error not in NOT_THE_UPSTREAM


def _by_kind(counts: Mapping[tuple[str | int, ...], int]) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for (upstream, error), requests in counts.items():
        kinds.setdefault(str(upstream), {})[str(error)] = requests
    return kinds
