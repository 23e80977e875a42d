"""Figures that others measured, judged by the detectors of closed minutes: error share and latency per service.

They are kept apart from our own traffic: a service that stands behind this gateway would be counted twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.detect.baseline import Baseline
from gateway.detect.closed_minute import ErrorThreshold, RobustZ
from gateway.detect.held import Held
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.window import COARSE_S, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.domain.incident import Anomaly
    from gateway.domain.other_logs import ServiceMinute
    from gateway.domain.policy import DetectSettings

SPAN_S = 7200
_FAILED, _WELL = 500, 200
_JUST_CLOSED_S = 10


class OthersFigures:
    """Minutes of services as others measured them.

    A minute is judged once, when it is over and has settled: documents arrive late, and what came in part would look
    like a drop.

    Args:
        settings: of detection.
        settle_s: how long after its end a minute is still waited for.
        held: what is in trouble and must not be learned.
    """

    def __init__(self, settings: DetectSettings, settle_s: float, held: Callable[[], Held] = Held) -> None:
        self._settle_s = settle_s
        self._window = Window()
        baseline = Baseline(settings.baseline_s, held)
        self._detectors = (ErrorThreshold(baseline, settings), RobustZ(baseline, settings))
        self._waiting: dict[int, dict[str, ServiceMinute]] = {}
        self._kept: dict[tuple[str, int], ServiceMinute] = {}
        self._judged = -1

    def take(self, minutes: Iterable[ServiceMinute], now: float) -> None:
        """Learn what is known of some minutes by now; one that was judged already stays as it was."""
        for one in minutes:
            if self._judged < one.minute <= now and one.minute > now - SPAN_S and one.minute % COARSE_S == 0:
                self._waiting.setdefault(one.minute, {})[one.service] = one

    def examine(self, now: float) -> list[Anomaly] | None:
        """What is wrong in the minutes that settled since the last call; None when none did."""
        ready = sorted(minute for minute in self._waiting if minute + COARSE_S + self._settle_s <= now)
        if not ready:
            return None
        for minute in ready:
            self._window.add_minute(minute, _cell(self._waiting[minute].values()))
            for service, one in self._waiting.pop(minute).items():
                self._kept[service, minute] = one
        self._judged = ready[-1]
        self._kept = {key: one for key, one in self._kept.items() if key[1] > self._judged - SPAN_S}
        self._window.forget(now)
        at = self._judged + COARSE_S + _JUST_CLOSED_S  # as if the last of them had closed this moment
        return [anomaly for detector in self._detectors for anomaly in detector.examine(self._window, at)]

    def of(self, service: str, start: float, end: float) -> list[ServiceMinute]:
        """The settled minutes of a service that begin in [start, end), in order."""
        found = [one for (name, minute), one in self._kept.items() if name == service and start <= minute < end]
        return sorted(found, key=lambda one: one.minute)


def _cell(minutes: Iterable[ServiceMinute]) -> dict[SeriesKey, Tally]:
    cell = {}
    for one in minutes:
        key = SeriesKey("", one.service, "", "", "GET", _FAILED if one.errors else _WELL, "")
        cell[key] = Tally(requests=one.requests, errors=one.errors, latency=dict(one.latency))
    return cell
