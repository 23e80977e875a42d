"""What other monitoring says, as a finding like our own: one per source and place, for as long as any alert fires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.detect.places import spoken
from gateway.detect.severity import gravest
from gateway.domain.incident import Anomaly, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.domain.incident import AlertSource, ExternalAlert, Place
    from gateway.domain.window import Window


class ExternalAlerts:
    """Speaks of every place that an alert fires for; its sentences hold no word of an alert.

    Args:
        firing: the alerts that fire, looked up in every pass.
    """

    def __init__(self, firing: Callable[[], Iterable[ExternalAlert]]) -> None:
        self._firing = firing

    def examine(self, window: Window, now: float) -> list[Anomaly]:  # noqa: ARG002 - as every detector
        """One finding per source and place."""
        together: dict[tuple[AlertSource, Place], list[ExternalAlert]] = {}
        for alert in self._firing():
            together.setdefault((alert.source, alert.place), []).append(alert)
        return [_finding(source, place, alerts, now) for (source, place), alerts in together.items()]


def _finding(source: AlertSource, place: Place, alerts: list[ExternalAlert], now: float) -> Anomaly:
    severity = gravest([alert.severity for alert in alerts])
    fire = "one alert fires" if len(alerts) == 1 else f"{len(alerts)} alerts fire"
    return Anomaly(
        detector=str(source),
        signal=Signal.ALERT,
        place=place,
        severity=severity,
        observed=float(len(alerts)),
        expected=0.0,
        score=float(len(alerts)),
        requests=0,
        onset=min(alert.starts_at for alert in alerts),
        seen_at=now,
        reason=f"{source.spoken} says that {fire} for {spoken(place)}, {severity}",
    )
