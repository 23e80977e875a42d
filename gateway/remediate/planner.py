"""From a diagnosis to typed actions, or to the reasons why there is nothing to do. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from gateway.domain.plan import Action, ActionKind, ActionState
from gateway.domain.topology import Topology
from gateway.remediate.catalogue import CATALOGUE
from gateway.remediate.situation import Draft, Plan, Refusal, Situation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.domain.diagnosis import Diagnosis, Hypothesis
    from gateway.domain.incident import Incident, Place
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window

# A hypothesis with less than half of the leader's score is a remark, not a reason to touch traffic.
_CLOSE_ENOUGH = 0.5
# At most so many proposals at a time: people decide between few things, and the cap on ejections is small.
_MOST = 3
_UNDECIDED_OR_ACTIVE = frozenset({ActionState.PENDING, ActionState.APPROVED, ActionState.EXECUTED})
_DID_NOT_HELP = frozenset({"no_effect", "worse"})


def candidates(
    incident: Incident,
    diagnosis: Diagnosis,
    snapshot: Snapshot,
    window: Window,
    settings: RemediateSettings,
    now: float,
) -> Plan:
    """What could be done about the leading hypotheses, best first, each PENDING; and why not more.

    A hypothesis only points; whether its action is proposed is decided by the catalogue's precondition on the traffic.
    """
    topology = Topology.of(snapshot)
    shows = (incident.place, *(anomaly.place for anomaly in incident.anomalies))
    causes = _leading(diagnosis)
    if not causes:
        return Plan(why_not=("No cause stands out, so nothing is proposed.",))
    actions: list[Action] = []
    why_not: list[str] = []
    for cause in causes:
        if cause.upstream and not topology.touches(shows, cause.upstream):
            # Its own incident acts there, and only there can it be judged whether that helped.
            why_not.append(f"{cause.upstream} neither calls {_services(shows, topology)} nor is called by it.")
            continue
        situation = Situation(incident, cause, snapshot, window, settings, now)
        for kind in CATALOGUE:
            made = _propose(kind, situation)
            if isinstance(made, Action) and all(made.id != other.id for other in actions):
                actions.append(made)
            elif isinstance(made, Refusal):
                why_not.append(f"{CATALOGUE[kind].title}: {made.reason}.")
    return Plan(actions=tuple(actions[:_MOST]), why_not=tuple(dict.fromkeys(why_not)))


def chosen(actions: tuple[Action, ...], suggested: Iterable[str]) -> tuple[Action, ...]:
    """The same actions, those a model suggested first, in its order; ids that were not offered mean nothing."""
    offered = {action.id: action for action in actions}
    first = [offered[name] for name in dict.fromkeys(suggested) if name in offered]
    return (*first, *(action for action in actions if action not in first))


def _leading(diagnosis: Diagnosis) -> tuple[Hypothesis, ...]:
    standing = [one for one in diagnosis.hypotheses if not one.ruled_out]
    if not standing:
        return ()
    best = max(one.score for one in standing)
    return tuple(one for one in standing if one.score >= best * _CLOSE_ENOUGH)[:_MOST]


def _services(shows: Iterable[Place], topology: Topology) -> str:
    return " or ".join(sorted({found for place in shows if (found := topology.upstream_at(place))}))


def _propose(kind: ActionKind, situation: Situation) -> Action | Refusal:
    earlier = tuple(_same(kind, situation))
    if any(action.state in _UNDECIDED_OR_ACTIVE for action in earlier):
        return Refusal(f"{situation.hypothesis.target} has such an action already, undecided or in force")
    if any(action.outcome is not None and action.outcome.verdict in _DID_NOT_HELP for action in earlier):
        return Refusal(f"it was tried at {situation.hypothesis.target} in this incident and did not help")
    if any(action.state is ActionState.REJECTED for action in earlier):
        return Refusal(f"it was declined for {situation.hypothesis.target} in this incident")
    ended = max((action.ended_at or 0.0 for action in earlier if action.executed_at is not None), default=0.0)
    draft = CATALOGUE[kind].propose(situation._replace(since=ended))
    return draft if isinstance(draft, Refusal) else _action(kind, draft, situation, ordinal=len(earlier))


def _same(kind: ActionKind, situation: Situation) -> Iterator[Action]:
    cause = situation.hypothesis
    return (
        action
        for action in situation.incident.actions
        if (action.kind, action.upstream, action.target) == (kind, cause.upstream, cause.target)
    )


def _action(kind: ActionKind, draft: Draft, situation: Situation, *, ordinal: int) -> Action:
    incident, now = situation.incident, situation.now
    assessed = CATALOGUE[kind].risk(draft.upstream, draft.target, situation.snapshot, situation.settings, now, but="")
    # The id follows from what it is, so planning again after a crash gives the same action, not a second one.
    identity = "\x1f".join((incident.id, kind, draft.upstream, draft.target, str(ordinal)))
    return Action(
        id=f"a-{sha256(identity.encode()).hexdigest()[:12]}",
        incident_id=incident.id,
        kind=kind,
        upstream=draft.upstream,
        target=draft.target,
        ttl_s=draft.ttl_s,
        risk=assessed.risk,
        risk_reason=assessed.reason,
        effect=draft.effect,
        undo=draft.undo,
        success_signal=draft.success_signal,
        state=ActionState.PENDING,
        created_at=now,
        expires_at=now + situation.settings.approval_ttl_s,
        tenant=incident.tenant,
        watch=draft.watch,
    )
