"""What a proposal is made from, and what becomes of it: values of this stage only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.domain.callers import Callers
from gateway.domain.plan import Action, Risk, Watch

if TYPE_CHECKING:
    from gateway.domain.diagnosis import Hypothesis
    from gateway.domain.incident import Change, Incident
    from gateway.domain.policy import OutsideCommand, RemediateSettings
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.upstreams import Upstream
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
    callers: Callers = Callers()
    changes: tuple[Change, ...] = ()
    commands: tuple[OutsideCommand, ...] = ()

    @property
    def begun(self) -> float:
        """When what would be acted on began."""
        return max(self.incident.onset, self.since)

    @property
    def upstream(self) -> Upstream | None:
        """The upstream that is blamed, directly or by one of its routes."""
        cause = self.hypothesis
        if cause.upstream:
            return self.snapshot.upstream(cause.upstream)
        found = next((route for route in self.snapshot.routes if route.name == cause.route), None)
        return self.snapshot.upstream(found.upstream) if found is not None and found.upstream else None

    def routes_to(self, upstream: str) -> frozenset[str]:
        """The routes that lead to an upstream, whole or in part."""
        return frozenset(route.name for route in self.snapshot.routes if upstream in leads_to(route))


def leads_to(route: Route) -> tuple[str, ...]:
    """The upstreams a route's requests go to."""
    return (route.upstream,) if route.split is None else tuple(share.upstream for share in route.split.shares)


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
    route: str = ""
    caller: str = ""
    amount: float = 0.0
    by_plan: tuple[tuple[str, float], ...] = ()
    command: str = ""
    undo_command: str = ""
    revision: int = 0
    from_revision: int = 0
    blast: float = 0.0


class Refusal(msgspec.Struct, frozen=True):
    """Why an action that comes to mind is not proposed, in one sentence."""

    reason: str


class Plan(msgspec.Struct, frozen=True):
    """Proposed actions, best first, and why others are not proposed."""

    actions: tuple[Action, ...] = ()
    why_not: tuple[str, ...] = ()
