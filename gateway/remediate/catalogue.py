"""The catalogue of actions: one row each. A new action is one row here and one executor in ``actions/``. Pure.

Nothing outside it can be planned, whatever a hypothesis or a model says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.domain.plan import ActionKind
from gateway.remediate import ejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.remediate.situation import Assessment, Draft, Refusal, Situation


class AssessRisk(Protocol):
    """How dangerous an action on this target of this upstream is, given what else is out already."""

    def __call__(
        self, upstream: str, target: str, snapshot: Snapshot, settings: RemediateSettings, now: float, /, *, but: str
    ) -> Assessment:
        """``but`` is the id of the action's own directive, which does not count against it."""
        ...


class Row(NamedTuple):
    """One kind of action: what it is called, when it may be proposed, and how its risk is computed.

    ``propose`` checks the precondition and spells out blast radius, undo, success signal and time to live in a Draft.
    """

    kind: ActionKind
    title: str
    precondition: str
    blast_radius: str
    propose: Callable[[Situation], Draft | Refusal]
    risk: AssessRisk


CATALOGUE: dict[ActionKind, Row] = {
    row.kind: row
    for row in (
        Row(
            kind=ActionKind.EJECT_TARGET,
            title="Take one target out of its upstream",
            precondition=(
                "one target is clearly worse than its siblings in the traffic of the last minute, and they are well"
            ),
            blast_radius="the share of the upstream's capacity that goes out, at most [remediate] max_ejected",
            propose=ejection.propose,
            risk=ejection.risk,
        ),
    )
}
