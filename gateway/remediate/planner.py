"""From a diagnosis to typed actions, or to the reasons why there is nothing to do. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.callers import Callers
from gateway.domain.incident import Signal
from gateway.domain.plan import ACTIVE, FOR_GOOD, Action, ActionKind, ActionState, Risk
from gateway.domain.topology import Topology
from gateway.remediate.catalogue import CATALOGUE
from gateway.remediate.situation import Draft, Plan, Refusal, Situation, leads_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.domain.diagnosis import Diagnosis, Hypothesis
    from gateway.domain.incident import Change, Incident, Place
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window

# A hypothesis with less than half of the leader's score is a remark, not a reason to touch traffic.
_CLOSE_ENOUGH = 0.5
# At most so many proposals at a time: people decide between few things, and the cap on ejections is small.
_MOST = 3
_UNDECIDED_OR_ACTIVE = ACTIVE | {ActionState.PENDING}
_DONE = frozenset({ActionState.KEPT, ActionState.UNKNOWN})
# What makes two actions of a kind the same one.
_IDENTITY = ("upstream", "target", "route", "caller", "command", "from_revision")
_DID_NOT_HELP = frozenset({"no_effect", "worse"})


def candidates(
    incident: Incident,
    diagnosis: Diagnosis,
    snapshot: Snapshot,
    window: Window,
    settings: RemediateSettings,
    now: float,
    *,
    callers: Callers | None = None,
    changes: tuple[Change, ...] = (),
) -> Plan:
    """What could be done about the leading hypotheses, best first, each PENDING; and why not more.

    A hypothesis only points; whether its action is proposed is decided by the catalogue's precondition on the traffic.
    """
    topology = Topology.of(snapshot)
    shows = (incident.place, *(anomaly.place for anomaly in incident.anomalies))
    causes = _leading(diagnosis)
    if incident.signal is Signal.SELF:
        return Plan(why_not=("A part of the gateway itself is in trouble: the steps of the report mend it.",))
    if not causes:
        return Plan(why_not=("No cause stands out, so nothing is proposed.",))
    actions: list[Action] = []
    why_not: list[str] = []
    for cause in causes:
        if cause.upstream and not (
            topology.touches(shows, cause.upstream) or _behind_one_split(shows, cause.upstream, snapshot)
        ):
            # Its own incident acts there, and only there can it be judged whether that helped.
            why_not.append(f"{cause.upstream} neither calls {_services(shows, topology)} nor is called by it.")
            continue
        situation = Situation(
            incident,
            cause,
            snapshot,
            window,
            settings,
            now,
            callers=callers or Callers(),
            changes=changes,
            commands=settings.commands,
        )
        made = _first_fitting(situation, why_not)
        if made is not None and all(made.id != other.id for other in actions):
            actions.append(made)
    return Plan(actions=tuple(actions[:_MOST]), why_not=tuple(dict.fromkeys(why_not)))


def _first_fitting(situation: Situation, why_not: list[str]) -> Action | None:
    """The first action of the catalogue that fits the cause; what does not fit says why."""
    for kind in CATALOGUE:
        draft = CATALOGUE[kind].propose(situation)
        made = draft if isinstance(draft, Refusal) else _considered(kind, draft, situation)
        if isinstance(made, Action):
            return made
        why_not.append(f"{CATALOGUE[kind].title}: {made.reason}.")
        if isinstance(made, _Waits):
            return None  # what comes after it is only tried when it was done and did not help
    return None


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


def _behind_one_split(shows: Iterable[Place], upstream: str, snapshot: Snapshot) -> bool:
    """Whether one of the places lies on a route that divides its requests between that upstream and others."""
    routes = [route for route in snapshot.routes if route.split is not None and upstream in leads_to(route)]
    return any(place.route == route.name or place.upstream in leads_to(route) for place in shows for route in routes)


def _services(shows: Iterable[Place], topology: Topology) -> str:
    return " or ".join(sorted({found for place in shows if (found := topology.upstream_at(place))}))


class _Waits(Refusal, frozen=True):
    """Such an action stands already, or somebody declined it: nothing is tried in its place."""


def _considered(kind: ActionKind, draft: Draft, situation: Situation) -> Action | Refusal:
    """The action, unless the incident has had it already; what was before an earlier one has been dealt with."""
    earlier = tuple(_same(kind, draft, situation))
    thing = draft.target or draft.caller or draft.command or draft.upstream
    if (why := _settled(kind, thing, earlier)) is not None:
        return why
    ended = max((action.ended_at or 0.0 for action in earlier if action.executed_at is not None), default=0.0)
    if ended:
        again = CATALOGUE[kind].propose(situation._replace(since=ended))
        if isinstance(again, Refusal):
            return again
        draft = again
    action = _action(kind, draft, situation, ordinal=len(earlier))
    assessed = CATALOGUE[kind].risk(action, situation.snapshot, situation.settings, situation.now)
    if assessed.forbidden:
        return Refusal(f"{thing}: {assessed.forbidden}")
    return msgspec.structs.replace(action, risk=assessed.risk, risk_reason=assessed.reason)


def _settled(kind: ActionKind, thing: str, earlier: tuple[Action, ...]) -> Refusal | None:
    """Why the same is not proposed again in this incident, or None."""
    if any(action.state in _UNDECIDED_OR_ACTIVE for action in earlier):
        return _Waits(f"{thing} has such an action already, undecided or in force")
    if any(action.outcome is not None and action.outcome.verdict in _DID_NOT_HELP for action in earlier):
        return Refusal(f"it was tried at {thing} in this incident and did not help")
    if any(action.state is ActionState.REJECTED for action in earlier):
        return _Waits(f"it was declined for {thing} in this incident")
    done = _DONE | {ActionState.FAILED} if kind in FOR_GOOD else _DONE
    if any(action.state in done for action in earlier):
        return Refusal(f"it was done for {thing} in this incident, or tried")
    return None


def _same(kind: ActionKind, draft: Draft, situation: Situation) -> Iterator[Action]:
    what = tuple(getattr(draft, name) for name in _IDENTITY)
    return (
        action
        for action in situation.incident.actions
        if action.kind is kind and tuple(getattr(action, name) for name in _IDENTITY) == what
    )


def _action(kind: ActionKind, draft: Draft, situation: Situation, *, ordinal: int) -> Action:
    incident, now = situation.incident, situation.now
    # The id follows from what it is, so planning again after a crash gives the same action, not a second one.
    more = [value for name in _IDENTITY[2:] if (value := getattr(draft, name))]
    identity = "\x1f".join((incident.id, kind, draft.upstream, draft.target, *map(str, more), str(ordinal)))
    return Action(
        id=f"a-{sha256(identity.encode()).hexdigest()[:12]}",
        incident_id=incident.id,
        kind=kind,
        risk=Risk.CRITICAL,  # until it is assessed
        risk_reason="",
        state=ActionState.PENDING,
        created_at=now,
        expires_at=now + situation.settings.approval_ttl_s,
        tenant=incident.tenant,
        **{name: getattr(draft, name) for name in Draft.__struct_fields__},
    )
