"""When an incident is diagnosed again, and what counts as having found something else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.plan import ACTIVE

if TYPE_CHECKING:
    from gateway.domain.diagnosis import Diagnosis
    from gateway.domain.incident import Incident

FOLLOW_S = 60.0  # while nothing is done about it, the diagnosis follows the evidence in every pass this long …
LOOK_AGAIN_S = 60.0  # … and this often afterwards


def due_again(incident: Incident, before: Diagnosis, now: float) -> bool:
    """Whether it is time to look again."""
    if any(action.state in ACTIVE for action in incident.actions):
        return False  # what is seen now is the action's effect, not the fault
    return now - incident.opened_at < FOLLOW_S or now - before.at >= LOOK_AGAIN_S


def leading(diagnosis: Diagnosis) -> tuple[str, str]:
    """The upstream and target blamed."""
    found = diagnosis.leading
    return (found.upstream, found.target) if found else ("", "")


def finding(diagnosis: Diagnosis) -> str:
    """What was found, for the time line."""
    return diagnosis.report.root_cause or f"No cause stands out yet. {diagnosis.report.summary}"
