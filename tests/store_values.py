"""Incidents and actions for tests of the store."""

from __future__ import annotations

from typing import Any

from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal, TimelineEntry
from gateway.domain.plan import Action, ActionKind, ActionState, Risk

NOW = 1_800_000_000.0


def action(**changes: Any) -> Action:
    """A pending ejection."""
    values: dict[str, Any] = {
        "id": "a-1",
        "incident_id": "i-1",
        "kind": ActionKind.EJECT_TARGET,
        "upstream": "payments",
        "target": "10.0.0.5:9000",
        "ttl_s": 600.0,
        "risk": Risk.SAFE,
        "risk_reason": "1 of 2 targets",
        "effect": "takes 10.0.0.5:9000 out",
        "undo": "puts it back",
        "success_signal": "errors below 5 %",
        "state": ActionState.PENDING,
        "created_at": NOW,
        "expires_at": NOW + 1800,
    }
    return Action(**(values | changes))


def incident(**changes: Any) -> Incident:
    """An open incident without actions."""
    values: dict[str, Any] = {
        "id": "i-1",
        "dedup_key": "error_rate payments",
        "state": IncidentState.OPEN,
        "severity": Severity.P1,
        "signal": Signal.ERROR_RATE,
        "place": Place(upstream="payments"),
        "title": "Errors at payments \x00 <b>",
        "opened_at": NOW,
        "onset": NOW - 5,
        "updated_at": NOW,
        "timeline": (TimelineEntry(NOW, "incident.opened", "Opened."),),
    }
    return Incident(**(values | changes))
