"""What other monitoring says of an incident, as evidence: their words only in quotes and cut, for tokens to replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.diagnose.redaction import quoted
from gateway.diagnose.surroundings import clock

if TYPE_CHECKING:
    from gateway.diagnose.surroundings import Facts
    from gateway.domain.incident import ExternalAlert, Incident

_MOST = 5
_LINK = "/api/v1/alerts"


def alerts(facts: Facts, incident: Incident) -> None:
    """One fact per alert, the gravest first, those that fire before those that ended."""
    ranked = sorted(incident.alerts, key=lambda one: (one.ended_at is not None, one.severity, one.starts_at))
    for alert in ranked[:_MOST]:
        name, summary = alert.words.name, alert.words.summary
        # Under keys of this kind a model sees tokens in place of the quotes.
        values: dict[str, float | int | str] = {
            "alert": name,
            "alert_summary": summary,
            "severity": str(alert.severity),
        }
        said = f": {quoted(summary)}" if summary else ""
        facts.add(
            "alert",
            f"{alert.source.spoken} says {quoted(name)}{said}, {alert.severity}, {_since(alert)}.",
            values,
            _LINK,
        )


def _since(alert: ExternalAlert) -> str:
    begun = f"since {clock(alert.starts_at)}"
    return begun if alert.ended_at is None else f"{begun} until {clock(alert.ended_at)}"
