"""What is done about an incident: proposed, decided, begun once, watched, taken back. Saved before every act.

The pipeline calls it under its lock. What runs outside the gateway runs beside the pipeline, so that nothing waits for
another system; the incident says RUNNING meanwhile, and a control that finds RUNNING without having begun it says that
the outcome is unknown: it never begins a second time.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.casebook import with_action
from gateway.domain.action_words import words
from gateway.domain.incident import IncidentState, TimelineEntry
from gateway.domain.plan import ACTIVE, Action, ActionKind, ActionState
from gateway.domain.stop import Stop
from gateway.errors import ConflictError, SentinelError, StoreUnavailableError
from gateway.notify.message import What
from gateway.remediate import approval, risk_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.casebook import Casebook
    from gateway.domain.identity import Actor
    from gateway.domain.incident import Incident
    from gateway.domain.policy import RemediateSettings
    from gateway.newsroom import Newsroom
    from gateway.remediate.closed_loop import Progress, Remediation

# What people are told of an action's time line entries; the others stand on the incident page.
NEWS = {
    "action.executed": What.EXECUTED,
    "action.failed": What.FAILED,
    "action.unknown": What.FAILED,
    "action.verified": What.VERIFIED,
    "action.restored": What.RETURNED,
    "action.reverted": What.RETURNED,
}
_NUMBERS = re.compile(r"\d[\d.,]*")
_LOST = "control ended after it was begun and before its end was known"

_log = logs.get("pipeline")


class ActionClaims(Protocol):
    """What makes a decision happen once, however many people click on however many nodes."""

    async def claim(self, action_id: str, from_state: ActionState, to_state: ActionState) -> bool:
        """True for exactly one of any number of callers."""
        ...

    async def begin(self, action_id: str) -> bool:
        """APPROVED → RUNNING, for the leader alone and only in the store. Raises StoreUnavailableError."""
        ...


class StopSwitch(Protocol):
    """Whether actions are stopped."""

    async def look(self) -> Stop:
        """As the store says now; as it was last known while the store is away."""
        ...


class Acting:
    """Carries actions through their lives.

    Args:
        casebook: where every version of an incident is kept.
        remediation: plans, executes, watches and takes back.
        claims: what makes a decision happen once.
        newsroom: tells people.
        stop: looked at before anything is executed or approved; None: nobody can stop it.
        settings: the operator's bounds, as of the call.
        clock: seconds since the epoch.
        lock: the pipeline's, for what ends beside it.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        remediation: Remediation,
        claims: ActionClaims,
        newsroom: Newsroom,
        stop: StopSwitch | None,
        settings: Callable[[], RemediateSettings],
        clock: Callable[[], float],
        lock: asyncio.Lock,
    ) -> None:
        self._cases = casebook
        self._remediation = remediation
        self._claims = claims
        self._news = newsroom
        self._switch = stop
        self._settings = settings
        self._clock = clock
        self._lock = lock
        self._refusals: dict[str, tuple[str, ...]] = {}
        self._outside: dict[str, asyncio.Task[None]] = {}

    async def _stop(self) -> Stop:
        return Stop() if self._switch is None else await self._switch.look()

    # Plan.

    async def plan(self, incident_id: str, now: float) -> bool:
        """Propose what fits the diagnosis, and run what may; False where there is nothing to plan now."""
        incident = self._cases[incident_id]
        if incident.diagnosis is None or _active(incident):
            return False
        plan = self._remediation.plan(incident, incident.diagnosis, now)
        # The same reasons with other numbers are no news; each pass has its own, and they would crowd out the story.
        why_not = tuple(_NUMBERS.sub("", why) for why in plan.why_not)
        if not plan.actions and not incident.actions and self._refusals.get(incident_id) != why_not:
            self._refusals[incident_id] = why_not
            await self._cases.save(incident, TimelineEntry(now, "plan.empty", " ".join(plan.why_not)))
        for action in plan.actions:
            await self._propose(action, now)
        return True

    async def _propose(self, action: Action, now: float) -> None:
        if _active(self._cases[action.incident_id]):
            return  # one at a time: what the next one would do is judged by traffic after this one
        decision = risk_policy.decide(action.risk, self._settings().mode)
        stop = await self._stop()
        if decision is risk_policy.Decision.RUN and not stop.on:
            text = f"Planned ({action.risk}: {action.risk_reason}): {action.effect}"
            await self._cases.save_action(action, TimelineEntry(now, "action.planned", text))
            await self._run(approval.approve_by_policy(action, now), now)
            return
        asks = decision is not risk_policy.Decision.OBSERVE
        waits = "waits for approval" if asks else "only shown: [remediate] mode is observe"
        if asks and stop.on:
            waits = f"waits: {approval.stopped_words(stop)}"
        text = f"Proposed, {waits} ({action.risk}: {action.risk_reason}): {action.effect}"
        incident = await self._cases.save_action(action, TimelineEntry(now, "action.proposed", text))
        if asks:
            await self._news.tell(incident, What.PROPOSED, action)

    # Decide.

    async def approve(self, action_id: str, actor: Actor, fingerprint: str) -> Action:
        """Run a PENDING action; with the fingerprint of what was shown, only if it is still exactly that.

        Raises:
            NotFoundError, ForbiddenError, or ConflictError naming who was first or who stopped all actions.
        """
        action, now = self._cases.of_action(action_id), self._clock()
        approved = approval.approve(action, actor, fingerprint or action.fingerprint, now)
        approval.not_stopped(await self._stop())
        return await self._run(approved, now)

    async def reject(self, action_id: str, actor: Actor, reason: str) -> Action:
        """Decline a PENDING action. Raises as :meth:`approve`."""
        action, now = self._cases.of_action(action_id), self._clock()
        rejected = approval.reject(action, actor, reason, now)
        if not await self._claims.claim(action_id, ActionState.PENDING, ActionState.REJECTED):
            raise ConflictError(f"action {action_id} was decided elsewhere a moment ago")
        text = f"Declined by {actor.name}" + (f": {rejected.note}" if rejected.note else "")
        entry = TimelineEntry(now, "action.rejected", text, actor=actor.name)
        await self._news.tell(await self._cases.save_action(rejected, entry), What.REJECTED, rejected)
        return rejected

    async def take_back(self, action_id: str, actor: Actor, reason: str) -> Action:
        """Take an EXECUTED action back at once; that is never stopped.

        Raises:
            NotFoundError, ForbiddenError, ConflictError: it is not in force, or cannot be taken back.
        """
        action, now = self._cases.of_action(action_id), self._clock()
        approval.may_take_back(action, actor)
        why = f"{actor.name} took it back" + (f": {reason}" if reason else "")
        progress = await self._remediation.take_back(action, now, why)
        await self._keep(progress)
        return progress.action

    # Act.

    async def _run(self, approved: Action, now: float) -> Action:
        """Carry out an approved action: claimed by one, saved, then done."""
        if not await self._claims.claim(approved.id, ActionState.PENDING, ActionState.APPROVED):
            raise ConflictError(f"action {approved.id} was decided elsewhere a moment ago")
        entry = TimelineEntry(now, "action.approved", f"Approved by {approved.decided_by}.", actor=approved.decided_by)
        await self._cases.save_action(approved, entry)
        return await self._execute(approved, now)

    async def _execute(self, approved: Action, now: float) -> Action:
        if approved.kind is ActionKind.RUN_OUTSIDE:
            return await self._begin_outside(approved, now)
        progress = await self._remediation.execute(approved, now)
        await self._keep(progress)
        return progress.action

    async def _begin_outside(self, approved: Action, now: float) -> Action:
        """Begin what cannot be undone by forgetting it: only with the store, only as the leader, only once."""
        try:
            begun = await self._claims.begin(approved.id)
        except StoreUnavailableError as error:
            begun, why = False, f"the store is away, and without it nothing is certain to run once ({error})"
        else:
            why = "another control leads, or began it already"
        if not begun:
            failed = msgspec.structs.replace(approved.moved_to(ActionState.FAILED), note=why, ended_at=now)
            entry = TimelineEntry(now, "action.failed", f"{words(approved).failed}: {why}.")
            await self._news.tell(await self._cases.save_action(failed, entry), What.FAILED, failed)
            return failed
        running = approved.moved_to(ActionState.RUNNING)
        await self._cases.save_action(running, TimelineEntry(now, "action.begun", f"Begun: {approved.effect}"))
        self._outside[running.id] = asyncio.create_task(self._run_outside(running), name=f"outside {running.id}")
        return running

    async def _run_outside(self, running: Action) -> None:
        try:
            progress = await self._remediation.execute(running, self._clock())
            async with self._lock:
                await self._keep(progress)
        except Exception:  # noqa: BLE001 - a task border: the next pass says that the outcome is unknown
            _log.exception("action.crashed", action=running.id)
        finally:
            self._outside.pop(running.id, None)

    async def follow(self, incident_id: str, now: float) -> None:
        """Verify what is in force, try it, take it back; let lapse what nobody decided."""
        for action in self._cases[incident_id].actions:
            if action.state is ActionState.EXECUTED:
                await self._keep(await self._remediation.advance(action, now))
            elif (lapsed := approval.expire(action, now)) is not action:
                await self._cases.save_action(lapsed, TimelineEntry(now, "action.expired", f"Lapsed: {lapsed.note}."))
            elif action.state is ActionState.APPROVED and not (await self._stop()).on:
                await self._execute(action, now)  # control died between saving and doing
            elif action.state is ActionState.RUNNING and action.id not in self._outside:
                await self._say_unknown(action, now)

    async def _say_unknown(self, action: Action, now: float) -> None:
        unknown = msgspec.structs.replace(action.moved_to(ActionState.UNKNOWN), note=_LOST, ended_at=now)
        text = f"Whether {words(action).done} is not known: {_LOST}. It is not begun again."
        entry = TimelineEntry(now, "action.unknown", text)
        await self._cases.save_action(unknown, entry)
        await self._news.tell(self._cases[action.incident_id], What.FAILED, unknown)
        await self._escalate(self._cases[action.incident_id], now)

    async def end_all(self, incident_id: str, now: float) -> None:
        """The incident is being closed: running actions are taken back, undecided ones lapse."""
        for action in self._cases[incident_id].actions:
            if action.state is ActionState.EXECUTED:
                await self._take_back_at_close(action, now)
            elif action.state is ActionState.RUNNING:
                await self._say_unknown(action, now)
            elif (lapsed := approval.expire(action, now, "the incident was closed")) is not action:
                await self._cases.save_action(lapsed, TimelineEntry(now, "action.expired", f"Lapsed: {lapsed.note}."))
        self._refusals.pop(incident_id, None)

    async def _take_back_at_close(self, action: Action, now: float) -> None:
        try:
            await self._keep(await self._remediation.take_back(action, now, "the incident was closed"))
        except SentinelError as error:  # its directive ends by itself, and nobody has to wait for that to close
            _log.warning("action.not_taken_back", action=action.id, why=str(error))

    # Keep.

    async def _keep(self, progress: Progress) -> None:
        """Save what became of an action, and tell what people want to know of it."""
        action = progress.action
        if not progress.changed:
            self._cases.note(with_action(self._cases[action.incident_id], action))
            return
        incident = self._cases[action.incident_id]
        if action.state is ActionState.EXECUTED and incident.state is IncidentState.ANALYZING:
            self._cases.note(incident.moved_to(IncidentState.MITIGATING))
        incident = await self._cases.save_action(action, *progress.entries)
        for entry in progress.entries:
            if entry.kind in NEWS:
                await self._news.tell(incident, NEWS[entry.kind], action)
        if progress.escalate:
            await self._escalate(incident, progress.entries[-1].at)

    async def _escalate(self, incident: Incident, at: float) -> None:
        text = "The gateway is at its end here: a person has to look."
        if incident.state is IncidentState.MITIGATING:
            incident = incident.moved_to(IncidentState.ANALYZING)
        entry = TimelineEntry(at, "incident.escalated", text)
        await self._news.tell(await self._cases.save(incident, entry), What.ESCALATED)


def _active(incident: Incident) -> bool:
    return any(action.state in ACTIVE for action in incident.actions)


def ran_lately(incidents: Iterable[Incident]) -> tuple[tuple[str, float, str], ...]:
    """Which of [actions] ran, when, and by which action, of the incidents in the book."""
    return tuple(
        (action.command, action.executed_at or action.decided_at or 0.0, action.id)
        for incident in incidents
        for action in incident.actions
        if action.command and not action.dry and action.state in _RAN
    )


def about(incidents: Iterable[Incident]) -> frozenset[str]:
    """The upstreams that incidents show at, are blamed on or were acted on for."""
    return frozenset(
        upstream
        for incident in incidents
        for upstream in (
            incident.place.upstream,
            *(anomaly.place.upstream for anomaly in incident.anomalies),
            *(action.upstream for action in incident.actions),
            *(one.upstream for one in (incident.diagnosis.hypotheses[:1] if incident.diagnosis else ())),
        )
        if upstream
    )


_RAN = frozenset(
    {ActionState.RUNNING, ActionState.EXECUTED, ActionState.KEPT, ActionState.UNKNOWN, ActionState.REVERTED}
)
