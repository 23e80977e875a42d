"""What our detectors find in figures of others, as alerts: they begin with a finding and end minutes after the last."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.domain.incident import AlertSource, AlertWords, ExternalAlert
from gateway.ingest.reported import fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.domain.incident import Anomaly

CLEAR_MINUTES = 2  # without a finding, until an alert is over


class AlertDesk(Protocol):
    """Where alerts become findings of detection."""

    async def note(self, alerts: Sequence[ExternalAlert]) -> None:
        """Keep them. Raises StoreUnavailableError."""
        ...

    def firing(self) -> Sequence[ExternalAlert]:
        """Those that fire."""
        ...


class FoundElsewhere:
    """The alerts of Elasticsearch's figures.

    Args:
        desk: keeps them; what it knows to fire after a restart goes on.
    """

    def __init__(self, desk: AlertDesk) -> None:
        self._desk = desk
        self._calm: Counter[str] = Counter()  # alert → minutes without a finding

    async def judge(self, found: Sequence[Anomaly], upstreams: Collection[str], now: float) -> None:
        """Findings of the minutes that were judged last. Those at services that are no upstream raise nothing.

        Raises:
            StoreUnavailableError: it is not known yet what fires.
        """
        mine = self._mine()
        told: dict[str, ExternalAlert] = {}
        for anomaly in found:
            if anomaly.place.upstream in upstreams:
                alert = _alert(anomaly, now)
                told[alert.fingerprint] = _joined(alert, told.get(alert.fingerprint), mine.get(alert.fingerprint))
        for key in mine:
            self._calm[key] = 0 if key in told else self._calm[key] + 1
        if told:
            await self._desk.note(list(told.values()))
        await self._end([one for key, one in mine.items() if self._calm[key] >= CLEAR_MINUTES], now, resolved=True)

    async def end_all(self, now: float) -> None:
        """Nobody can say any more whether it goes on. Raises StoreUnavailableError."""
        await self._end(list(self._mine().values()), now, resolved=False)

    def _mine(self) -> dict[str, ExternalAlert]:
        return {one.fingerprint: one for one in self._desk.firing() if one.source is AlertSource.ELASTICSEARCH}

    async def _end(self, alerts: Sequence[ExternalAlert], now: float, *, resolved: bool) -> None:
        for one in alerts:
            self._calm.pop(one.fingerprint, None)
        if alerts:
            await self._desk.note(
                [msgspec.structs.replace(one, ended_at=now, heard_at=now, resolved=resolved) for one in alerts]
            )


def _joined(alert: ExternalAlert, beside: ExternalAlert | None, before: ExternalAlert | None) -> ExternalAlert:
    """The alert, as grave as the gravest finding of this minute, and as old as it is known to be."""
    if beside is not None:
        alert = msgspec.structs.replace(
            alert, severity=min(alert.severity, beside.severity), starts_at=min(alert.starts_at, beside.starts_at)
        )
    if before is None:
        return alert
    return msgspec.structs.replace(
        alert, starts_at=min(before.starts_at, alert.starts_at), received_at=before.received_at
    )


def _alert(anomaly: Anomaly, now: float) -> ExternalAlert:
    return ExternalAlert(
        fingerprint=fingerprint(AlertSource.ELASTICSEARCH, f"{anomaly.place.upstream}:{anomaly.signal}"),
        source=AlertSource.ELASTICSEARCH,
        severity=anomaly.severity,
        place=anomaly.place,
        starts_at=anomaly.onset,
        received_at=now,
        heard_at=now,
        words=AlertWords(name=f"{anomaly.signal} of {anomaly.place.upstream}", summary=anomaly.reason),
    )
