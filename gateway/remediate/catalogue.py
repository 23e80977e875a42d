"""The catalogue of actions: one row each. A new action is one row here and one executor in ``actions/``. Pure.

Nothing outside it can be planned, whatever a hypothesis or a model says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.domain.plan import ActionKind
from gateway.remediate import abuse, ejection, load, outside, rollback, shift

_HOUR_S = 3600.0

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.plan import Action
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.remediate.situation import Assessment, Draft, Refusal, Situation


class AssessRisk(Protocol):
    """How dangerous an action is as things stand; its own directive does not count against it."""

    def __call__(self, action: Action, snapshot: Snapshot, settings: RemediateSettings, now: float, /) -> Assessment:
        """MODERATE, say, and why; or what forbids it."""
        ...


class Row(NamedTuple):
    """One kind of action: what it is called, when it may be proposed, and how its risk is computed.

    ``propose`` checks the precondition and spells out blast radius, undo, success signal and time to live in a Draft.
    The other texts are what people are told of the kind; the reference is written from them.
    """

    kind: ActionKind
    title: str
    precondition: str
    blast_radius: str
    cost: str
    returns: str
    propose: Callable[[Situation], Draft | Refusal]
    risk: AssessRisk


def _of_ejection(action: Action, snapshot: Snapshot, settings: RemediateSettings, now: float) -> Assessment:
    return ejection.risk(action.upstream, action.target, snapshot, settings, now, but=action.directive_id)


def _timeless(judge: Callable[[Action, Snapshot, RemediateSettings], Assessment]) -> AssessRisk:
    return lambda action, snapshot, settings, _now: judge(action, snapshot, settings)


def _outside(action: Action, _snapshot: Snapshot, settings: RemediateSettings, now: float) -> Assessment:
    lately = sum(name == action.command and at > now - _HOUR_S and by != action.id for name, at, by in settings.ran)
    return outside.risk(action, settings.commands, lately)


# The order is the order of trying: what concerns least comes first, and of one cause's actions the first that fits is
# proposed.
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
            cost="the other targets carry its requests",
            returns="a small share tries the target; it comes back when that goes well",
            propose=ejection.propose,
            risk=_of_ejection,
        ),
        Row(
            kind=ActionKind.SHIFT_WEIGHT,
            title="Send a split route's requests past one of its upstreams",
            precondition="on one route, one upstream of the split is clearly worse than the others, and they are well",
            blast_radius="its share of the route's requests; up to half is SAFE",
            cost="the other upstreams of the split carry its requests",
            returns="a small share tries the upstream; it gets its weight back when that goes well",
            propose=shift.propose,
            risk=_timeless(shift.risk),
        ),
        Row(
            kind=ActionKind.ROLL_BACK,
            title="Go back to the configuration before",
            precondition=(
                "the newest revision came at most ten minutes before it began, its changes name the upstream or a "
                "route to it, and that is clearly worse than before"
            ),
            blast_radius="everything the revision changed; never SAFE",
            cost="what the revision was made for is gone until it is applied again",
            returns="it stays; if it does not help, the revision is put in force again",
            propose=rollback.propose,
            risk=_timeless(rollback.risk),
        ),
        Row(
            kind=ActionKind.LIMIT_CALLER,
            title="Limit one caller",
            precondition=(
                "an upstream is clearly worse than before, and one caller asks for a third of everything, four times "
                "what it used to and three times what the next one does"
            ),
            blast_radius="one address or subject; SAFE",
            cost="what the caller asks for beyond twice its usual is answered 429",
            returns="what it asks for is seen all the while; it is free again once it asks for no more than it may",
            propose=abuse.propose_limit,
            risk=_timeless(abuse.risk),
        ),
        Row(
            kind=ActionKind.BLOCK_CALLER,
            title="Keep one caller out",
            precondition="as for limiting it, and limiting it did not help in this incident",
            blast_radius="one address or subject; never SAFE",
            cost="everything the caller asks for is answered 403",
            returns="as for limiting it",
            propose=abuse.propose_block,
            risk=_timeless(abuse.risk),
        ),
        Row(
            kind=ActionKind.TIGHTEN_LIMIT,
            title="Tighten a route's limits",
            precondition=(
                "an upstream fails under half as much again as usual, and callers of a route use its limits so that "
                "half or a quarter of them would bring the load back to usual"
            ),
            blast_radius="callers of one route who ask for more than the tightened limit; never SAFE",
            cost="they get 429 for the rest",
            returns="the limits are loosened step by step while that goes well",
            propose=load.propose_tighten,
            risk=_timeless(load.risk),
        ),
        Row(
            kind=ActionKind.SHED_LOAD,
            title="Turn a share of an upstream's requests away",
            precondition="an upstream fails under half as much again as usual",
            blast_radius="the share turned away, at most [remediate] max_shed; never SAFE",
            cost="those requests get 503 and Retry-After; callers on plans of low priority first",
            returns="more and more is let through while that goes well",
            propose=load.propose_shed,
            risk=_timeless(load.risk),
        ),
        Row(
            kind=ActionKind.OPEN_CIRCUIT,
            title="Open an upstream's circuit",
            precondition=(
                "nine of ten of its requests go wrong, and it is under a surge or most callers wait until time is up"
            ),
            blast_radius="all requests to the upstream; never SAFE",
            cost="they get 503 at once, also the few that would have gone well",
            returns="a small share tries it, then more while that goes well",
            propose=load.propose_circuit,
            risk=_timeless(load.risk),
        ),
        Row(
            kind=ActionKind.RUN_OUTSIDE,
            title="Run what is configured under [actions]",
            precondition="an upstream is clearly worse than before, nothing above fits, and [actions] has one for it",
            blast_radius="as the operator judged it (risk); at most per_hour times",
            cost="as the operator configured it",
            returns="it stays; if it does not help, the one named by undo runs",
            propose=outside.propose,
            risk=_outside,
        ),
    )
}
