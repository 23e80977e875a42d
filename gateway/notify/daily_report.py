"""The report of a day: incidents, what became of them, and how objectives stand. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.domain.incident import IncidentState, Severity
from gateway.notify.message import Link, Message, What
from gateway.notify.wording import duration, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.incident import Incident
    from gateway.domain.objectives import ObjectiveState

DAY_S = 86_400.0
_MOST = 8
_WHOLE = 1.0


def daily(
    incidents: Sequence[Incident], objectives: Sequence[ObjectiveState], now: float, *, day: str, base_url: str = ""
) -> Message:
    """The message; its key holds the day, so that however many controls say it, it is said once.

    Args:
        incidents: what was open within the last 24 hours.
        objectives: how each objective stands.
        now: seconds since the epoch.
        day: the day it is the report of, as in its key.
        base_url: where the dashboard is reached.
    """
    still = [one for one in incidents if one.state is not IncidentState.CLOSED]
    head = f"{_counted(len(incidents), 'incident')} in the last 24 hours, {len(still)} still open."
    lines = [
        head,
        *(_incident(one, now) for one in sorted(incidents, key=lambda one: (one.severity, one.onset))[:_MOST]),
    ]
    if len(incidents) > _MOST:
        lines.append(f"… and {len(incidents) - _MOST} more.")
    troubled = sorted(objectives, key=lambda one: one.remaining)
    lines += [_objective(one) for one in troubled[:_MOST]]
    if not objectives:
        lines.append("No objectives are configured ([[slos]]).")
    return Message(
        key=f"report:daily:{day}",
        what=What.REPORT,
        at=now,
        severity=Severity.P4,
        title=f"Daily report, {datetime.fromtimestamp(now, UTC):%Y-%m-%d}",
        lines=tuple(plain(line, 400) for line in lines),
        links=(Link("Open the dashboard", f"{base_url.rstrip('/')}/dashboard/incidents"),) if base_url else (),
    )


def _incident(one: Incident, now: float) -> str:
    cause = one.diagnosis.report.root_cause if one.diagnosis else ""
    state = "closed after" if one.state is IncidentState.CLOSED else "open since"
    return f"{one.severity} {one.title}, {state} {duration((one.closed_at or now) - one.onset)}. {cause}".rstrip()


def _objective(one: ObjectiveState) -> str:
    kept = f"{one.achieved:.3%} of {one.requests:,} requests" if one.requests else "no traffic"
    burning = " It burns too fast now." if one.firing else ""
    left = "overspent" if one.remaining < 0 else f"{min(one.remaining, _WHOLE):.0%} of the budget left"
    return f"{one.objective.name}: promised {one.objective.objective:.3%}, kept {kept}; {left}.{burning}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
