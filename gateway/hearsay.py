"""Which alerts of other monitoring speak of an incident, and what became of them. Pure.

They stand in the incident itself, so that its page and export say what was said even when the alerts are long
forgotten, and so that it stays open while one of them fires although control has just begun and knows of none yet.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import ExternalAlert, Incident, Signal, TimelineEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST = 20


def with_alerts(
    incident: Incident, known: Mapping[str, ExternalAlert], now: float
) -> tuple[Incident, tuple[TimelineEntry, ...]]:
    """The incident with its alerts as they stand, and what is new about them for its story.

    Args:
        incident: an open one.
        known: by fingerprint, all that fire, and those that ended lately.
        now: seconds since the epoch.
    """
    places = {anomaly.place for anomaly in incident.anomalies if anomaly.signal is Signal.ALERT}
    before = {alert.fingerprint: alert for alert in incident.alerts}
    if not places and not before:
        return incident, ()
    # One that fired and is not known any more was forgotten meanwhile: nobody would ever say that it is over.
    after = {key: known.get(key) or _lapsed(alert, now) for key, alert in before.items()}
    after |= {
        key: alert
        for key, alert in known.items()
        if alert.ended_at is None and not alert.set_aside and alert.place in places
    }
    kept = sorted(after.values(), key=lambda one: (one.ended_at is not None, one.severity, one.received_at))[:MOST]
    # Repetitions are no news: every version of an incident is kept.
    kept = [_unchanged(before.get(alert.fingerprint), alert) for alert in kept]
    kept.sort(key=lambda one: (one.received_at, one.fingerprint))
    if tuple(kept) == incident.alerts:
        return incident, ()
    told = {alert.fingerprint for alert in kept} | before.keys()  # the others are no news before they are kept
    news = _story(before, [alert for key, alert in after.items() if key in told], now)
    return msgspec.structs.replace(incident, alerts=tuple(kept)), tuple(news)


def _lapsed(alert: ExternalAlert, now: float) -> ExternalAlert:
    return alert if alert.ended_at is not None else msgspec.structs.replace(alert, ended_at=now)


def _unchanged(before: ExternalAlert | None, after: ExternalAlert) -> ExternalAlert:
    if before is not None and msgspec.structs.replace(after, heard_at=before.heard_at) == before:
        return before
    return after


def _story(before: Mapping[str, ExternalAlert], after: Iterable[ExternalAlert], now: float) -> Iterable[TimelineEntry]:
    """One line per source and kind of news, however many alerts there are."""
    news: Counter[tuple[str, str]] = Counter()
    for alert in after:
        known = before.get(alert.fingerprint)
        fired = known is not None and known.ended_at is None
        if alert.ended_at is None and not fired:
            news["alert.fired", alert.source.spoken] += 1
        elif alert.ended_at is not None and fired:
            news["alert.resolved" if alert.resolved else "alert.lapsed", alert.source.spoken] += 1
    for (kind, source), count in news.items():
        alerts = "an alert" if count == 1 else f"{count} alerts"
        text = {
            "alert.fired": f"{source} tells of {alerts}.",
            "alert.resolved": f"{source} says that {alerts} {'is' if count == 1 else 'are'} over.",
            "alert.lapsed": f"Nothing was heard of {alerts} of {source} for too long.",
        }[kind]
        yield TimelineEntry(now, kind, text)
