"""From a sender's terms to ours: which configured place an alert speaks of, and how grave that is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import AlertSource, ExternalAlert, Place, Severity
from gateway.ingest.reported import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.domain.sources import AlertSettings
    from gateway.domain.topology import Topology
    from gateway.ingest.reported import Reported

# Words of Prometheus' and Grafana's communities, PagerDuty, Datadog and syslog.
_WORDS: dict[str, Severity] = {
    **dict.fromkeys(("p1", "1", "sev1", "sev-1", "critical", "page", "emergency", "fatal", "disaster"), Severity.P1),
    **dict.fromkeys(("p2", "2", "sev2", "sev-2", "error", "high", "major", "alert"), Severity.P2),
    **dict.fromkeys(("p3", "3", "sev3", "sev-3", "warning", "warn", "medium", "average", "minor"), Severity.P3),
    **dict.fromkeys(("p4", "p5", "4", "5", "sev4", "sev-4", "info", "low", "notice", "none"), Severity.P4),
}
_UNKNOWN = Severity.P3  # worth a look in the day; a word nobody knows wakes nobody
# Monitoring may learn of it late, but a start of last week would only move the onset out of every window.
_EARLIEST_START_S = 3600.0


def place_of(labels: Mapping[str, str], names: Sequence[str], topology: Topology) -> Place:
    """The configured place that the labels in question name; empty when they name none.

    The first label that names an upstream, a route or a target decides; a later one may say which target of it.
    """
    found = Place()
    for name in names:
        value = labels.get(name, "")
        here = _named(value, topology) if value else Place()
        if found == Place():
            found = here
        elif not found.target and here.target and here.upstream == found.upstream:
            return here
    return found


def _named(value: str, topology: Topology) -> Place:
    for known, place in ((topology.targets, Place(upstream=value)), (topology.upstream_of, Place(route=value))):
        if value in known:
            return place
    at = [upstream for upstream, targets in topology.targets.items() if value in targets]
    if len(at) == 1:
        return Place(upstream=at[0], target=value)
    # Names in Kubernetes are in lower case whatever a file calls them.
    alike = [upstream for upstream in topology.targets if upstream.lower() == value.lower()]
    return Place(upstream=alike[0]) if len(alike) == 1 else Place()


def severity_of(word: str, settings: AlertSettings) -> Severity:
    """What their word means here."""
    word = word.strip().lower()
    return dict(settings.severities).get(word) or _WORDS.get(word, _UNKNOWN)


def placed(
    reported: Reported, source: AlertSource, settings: AlertSettings, topology: Topology, now: float
) -> ExternalAlert:
    """The alert in our terms; a start that cannot be is moved to where it can."""
    starts_at = now if reported.starts_at is None else min(now, max(now - _EARLIEST_START_S, reported.starts_at))
    ended_at = None
    if not reported.firing:
        ended_at = now if reported.ended_at is None else min(now, reported.ended_at)
    return ExternalAlert(
        fingerprint=fingerprint(source, reported.key),
        source=source,
        severity=severity_of(reported.severity, settings),
        place=place_of(reported.labels, settings.labels, topology),
        starts_at=starts_at,
        received_at=now,
        heard_at=now,
        words=reported.words,
        ended_at=ended_at,
        resolved=not reported.firing,
    )


# A delivery that is tried again comes within minutes; the same start after that is a new outbreak told badly.
_STALE_S = 300.0


def merged(known: ExternalAlert | None, told: ExternalAlert) -> tuple[ExternalAlert | None, str]:
    """What is known of an alert after it was told again, and what that was.

    It was "firing" (new, or again after its end), "repeated", "resolved", "unknown" (an end of what never began here)
    or "stale" (an old delivery that arrived after the end); the last two change nothing.
    """
    if told.ended_at is not None:
        if known is None or known.ended_at is not None:
            return None, "unknown"
        ended_at = max(told.ended_at, known.starts_at)
        return msgspec.structs.replace(known, ended_at=ended_at, resolved=True, heard_at=told.heard_at), "resolved"
    if known is None:
        return told, "firing"
    if known.ended_at is None:
        same = {name: getattr(known, name) for name in ("starts_at", "received_at", "set_aside")}
        return msgspec.structs.replace(told, **same), "repeated"
    if known.resolved and told.starts_at <= known.ended_at and told.heard_at - known.heard_at < _STALE_S:
        return None, "stale"
    # A new outbreak cannot have begun before the last one was over, whatever start is told.
    return msgspec.structs.replace(told, starts_at=max(told.starts_at, known.ended_at + 1.0)), "firing"
