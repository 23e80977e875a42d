"""An incident and an action to tell about."""

from __future__ import annotations

import msgspec

from gateway.domain.diagnosis import Confidence, Diagnosis, Report
from gateway.domain.incident import Anomaly, Incident, IncidentState, Place, Severity, Signal
from gateway.domain.plan import Action, ActionKind, ActionState, Outcome, Risk

NOW = 1_767_236_400.0  # 2026-01-01 03:00:00 UTC


def incident(**fields: object) -> Incident:
    place = Place(route="orders", upstream="orders")
    base = Incident(
        id="i-1",
        dedup_key="payments:error_rate",
        state=IncidentState.ANALYZING,
        severity=Severity.P1,
        signal=Signal.ERROR_RATE,
        place=place,
        title="orders: half of the requests fail",
        opened_at=NOW,
        onset=NOW - 20,
        updated_at=NOW,
        anomalies=(
            Anomaly(
                detector="hard_failure",
                signal=Signal.ERROR_RATE,
                place=place,
                severity=Severity.P1,
                observed=0.5,
                expected=0.0,
                score=40.0,
                requests=100,
                onset=NOW - 20,
                seen_at=NOW,
                reason="50 of the last 100 requests of orders failed; usually 0.",
            ),
        ),
    )
    return msgspec.structs.replace(base, **fields)


def action(**fields: object) -> Action:
    base = Action(
        id="a-1",
        incident_id="i-1",
        kind=ActionKind.EJECT_TARGET,
        upstream="payments",
        target="10.0.0.1:1",
        ttl_s=600.0,
        risk=Risk.SAFE,
        risk_reason="1 of 2 targets and 50 % of the capacity remain",
        effect="Take 10.0.0.1:1 out of payments for 10 min.",
        undo="Lift the ejection.",
        success_signal="Fewer requests fail.",
        state=ActionState.PENDING,
        created_at=NOW,
        expires_at=NOW + 1800,
    )
    return msgspec.structs.replace(base, **fields)


def executed(**fields: object) -> Action:
    return action(
        state=ActionState.EXECUTED,
        executed_at=NOW,
        directive_id="d-a-1",
        effect_until=NOW + 600,
        decided_by="user ana",
        **fields,
    )


HELPED = Outcome("helped", 0.5, 0.0, 200, NOW + 15, "It helped. payments: 150 of 300 failed before, 0 of 200 after.")


def diagnosis(**fields: object) -> Diagnosis:
    report = Report(
        source="rules",
        title="",
        summary="One target of payments fails; orders suffers from it.",
        root_cause="10.0.0.1:1 of payments refuses every request.",
        inconclusive=False,
        confidence=Confidence.HIGH,
        confidence_score=0.93,
        affected=("orders", "payments"),
        claims=(),
        steps=("Look at 10.0.0.1:1.",),
    )
    return Diagnosis(at=NOW + 1, evidence=(), hypotheses=(), report=msgspec.structs.replace(report, **fields))
