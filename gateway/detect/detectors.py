"""What a detector is, and the ones in service.

A new detector is one class with ``examine`` and one line in :func:`in_service`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.detect.baseline import Baseline
from gateway.detect.closed_minute import ErrorThreshold, LatencyThreshold, RobustZ
from gateway.detect.held import Held
from gateway.detect.open_minute import HardFailure, WorseThanBefore, WorseThanSiblings
from gateway.detect.signatures import NewError, Saturation
from gateway.detect.traffic_break import TrafficBreak
from gateway.detect.unlike_itself import UnlikeItself, Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.incident import Anomaly
    from gateway.domain.policy import DetectSettings
    from gateway.domain.window import Window


class Detector(Protocol):
    """Looks at recent traffic and says what is wrong. Same traffic and times in, same findings out."""

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Findings at ``now`` (seconds since the epoch); called about every five seconds, time only goes forward."""
        ...


def in_service(
    settings: DetectSettings, held: Callable[[], Held] = Held, watched: Watched | None = None
) -> tuple[Detector, ...]:
    """The detectors that run, sharing one baseline that learns nothing of what is ``held``.

    ``watched`` is what days of watching taught; without it that begins anew.
    """
    baseline = Baseline(settings.baseline_s, held)
    return (
        HardFailure(baseline),
        WorseThanSiblings(baseline),
        WorseThanBefore(baseline),
        TrafficBreak(baseline),
        ErrorThreshold(baseline, settings),
        LatencyThreshold(baseline, settings),
        RobustZ(baseline, settings),
        UnlikeItself(baseline, settings, watched),
        Saturation(),
        NewError(),
    )


def examine_all(detectors: tuple[Detector, ...], window: Window, now: float) -> list[Anomaly]:
    """What all detectors find."""
    return [anomaly for detector in detectors for anomaly in detector.examine(window, now)]
