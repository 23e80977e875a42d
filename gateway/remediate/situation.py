"""What a proposal is made from, and what becomes of it: values of this stage only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.domain.plan import Action, Risk, Watch

if TYPE_CHECKING:
    from gateway.domain.diagnosis import Hypothesis
    from gateway.domain.incident import Incident
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window


class Situation(NamedTuple):
    """Everything a proposal may look at.

    ``since``: an earlier action on the same target ended then, and what was before it has been dealt with.
    """

    incident: Incident
    hypothesis: Hypothesis
    snapshot: Snapshot
    window: Window
    settings: RemediateSettings
    now: float
    since: float = 0.0

    @property
    def begun(self) -> float:
        """When what would be acted on began."""
        return max(self.incident.onset, self.since)


class Assessment(msgspec.Struct, frozen=True):
    """How dangerous an action is right now, and why; ``forbidden`` says what makes it impossible, or is empty."""

    risk: Risk
    reason: str
    forbidden: str = ""


class Draft(msgspec.Struct, frozen=True):
    """An action thought through but not yet given an id and a life."""

    upstream: str
    target: str
    ttl_s: float
    effect: str
    undo: str
    success_signal: str
    watch: Watch


class Refusal(msgspec.Struct, frozen=True):
    """Why an action that comes to mind is not proposed, in one sentence."""

    reason: str


class Plan(msgspec.Struct, frozen=True):
    """Proposed actions, best first, and why others are not proposed."""

    actions: tuple[Action, ...] = ()
    why_not: tuple[str, ...] = ()
