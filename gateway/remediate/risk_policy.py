"""Who may start an action: code, from its blast radius and the operator's mode. Never a model. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.domain.plan import Action, Mode, Risk
from gateway.remediate.catalogue import CATALOGUE

if TYPE_CHECKING:
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.remediate.situation import Assessment


class Decision(StrEnum):
    """What happens to a proposed action: it runs, a person is asked, or it is only shown."""

    RUN = "run"
    ASK = "ask"
    OBSERVE = "observe"


# Rows: how much the operator lets go; columns: how much could break.
DECISIONS: dict[tuple[Mode, Risk], Decision] = {
    (Mode.OBSERVE, Risk.SAFE): Decision.OBSERVE,
    (Mode.OBSERVE, Risk.MODERATE): Decision.OBSERVE,
    (Mode.OBSERVE, Risk.CRITICAL): Decision.OBSERVE,
    (Mode.APPROVE, Risk.SAFE): Decision.RUN,
    (Mode.APPROVE, Risk.MODERATE): Decision.ASK,
    (Mode.APPROVE, Risk.CRITICAL): Decision.ASK,
    (Mode.AUTO, Risk.SAFE): Decision.RUN,
    (Mode.AUTO, Risk.MODERATE): Decision.RUN,
    (Mode.AUTO, Risk.CRITICAL): Decision.ASK,
}
RANK: dict[Risk, int] = {Risk.SAFE: 0, Risk.MODERATE: 1, Risk.CRITICAL: 2}


def decide(risk: Risk, mode: Mode) -> Decision:
    """The cell of the table."""
    return DECISIONS[mode, risk]


def assess(action: Action, snapshot: Snapshot, settings: RemediateSettings, now: float) -> Assessment:
    """The action's risk as things stand: other directives in force and health ejections count against it."""
    return CATALOGUE[action.kind].risk(action, snapshot, settings, now)


def objection(action: Action, snapshot: Snapshot, settings: RemediateSettings, now: float) -> str:
    """Why an action that was decided must not be executed after all, or empty: things changed since it was shown."""
    current = assess(action, snapshot, settings, now)
    if current.forbidden:
        return current.forbidden
    if RANK[current.risk] > RANK[action.risk]:
        return f"its risk rose from {action.risk} to {current.risk} since it was decided: {current.reason}"
    return ""
