"""One action's way through execution, verification, trials and return: pure decisions, carried out by executors.

The caller saves the returned action after every call and calls again a few seconds later; since every act ends by
itself and has an id of its own, a crash in between costs nothing but time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.domain.action_words import words
from gateway.domain.callers import Callers
from gateway.domain.incident import TimelineEntry
from gateway.domain.plan import ABOUT_CALLERS, FOR_GOOD, Action, ActionKind, ActionState, Trial
from gateway.errors import SentinelError, UnknownOutcomeError
from gateway.remediate.abuse import LOOK_S, goes_on
from gateway.remediate.half_open import (
    DEFAULT_POLICY,
    Extend,
    Keep,
    Restore,
    Revert,
    Settle,
    TrialAt,
    TrialPolicy,
    next_step,
    of_caller,
)
from gateway.remediate.planner import candidates, chosen
from gateway.remediate.risk_policy import objection
from gateway.remediate.situation import Plan, leads_to
from gateway.remediate.verification import begin, faded, verify
from gateway.remediate.wording import span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.diagnosis import Diagnosis
    from gateway.domain.incident import Change, Incident
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window
    from gateway.remediate.actions.executor import Executor
    from gateway.remediate.half_open import Step

_log = logs.get("remediate")
_SETTLED = frozenset({"helped", "no_effect", "worse", "too_little_traffic"})


class Progress(msgspec.Struct, frozen=True):
    """What became of an action in one step; ``escalate``: people have to look, the machine is at its end."""

    action: Action
    entries: tuple[TimelineEntry, ...] = ()
    escalate: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything happened that must be saved."""
        return bool(self.entries)


class Remediation:
    """Plans, executes, watches and takes back.

    Args:
        executors: who carries out each kind of action.
        window: the recent traffic that verdicts rest on.
        snapshot: the configuration and directives in force, as of the call.
        settings: the operator's bounds, as of the call.
        policy: how actions are brought back.
        callers: who asks for what, lately.
        changes: what was changed on purpose, lately.
        troubled: the upstreams that other open incidents than this one are about.
    """

    def __init__(
        self,
        executors: Mapping[ActionKind, Executor],
        window: Window,
        snapshot: Callable[[], Snapshot],
        settings: Callable[[], RemediateSettings],
        policy: TrialPolicy = DEFAULT_POLICY,
        *,
        callers: Callers | None = None,
        changes: Callable[[], tuple[Change, ...]] = tuple,
        troubled: Callable[[str], frozenset[str]] = lambda _incident_id: frozenset(),
    ) -> None:
        self._executors = executors
        self._window = window
        self._snapshot = snapshot
        self._settings = settings
        self._policy = policy
        self._callers = callers or Callers()
        self._changes = changes
        self._troubled = troubled

    def plan(self, incident: Incident, diagnosis: Diagnosis, now: float) -> Plan:
        """Candidates for the diagnosis, those its report suggests first."""
        made = candidates(
            incident,
            diagnosis,
            self._snapshot(),
            self._window,
            self._settings(),
            now,
            callers=self._callers,
            changes=self._changes(),
        )
        return Plan(chosen(made.actions, diagnosis.report.suggested_actions), made.why_not)

    async def execute(self, action: Action, now: float) -> Progress:
        """An APPROVED or RUNNING action carried out, or FAILED with the reason: cap and risk are checked once more.

        Raises:
            ConflictError: the action is neither.
        """
        action.moved_to(ActionState.EXECUTED)
        failed = action.moved_to(ActionState.FAILED)
        measured = begin(self._apart(action), self._window, now)
        why, over = objection(action, self._snapshot(), self._settings(), now), self._over(measured, now)
        if not why and not over:
            try:
                executed = await self._executors[action.kind].execute(measured, now)
            except UnknownOutcomeError as error:
                return self._unknown(measured, now, str(error))
            except SentinelError as error:
                why = str(error)
            else:
                held = Trial(since=now, pause_s=self._policy.first_pause_s)
                _log.info("action.executed", action=action.id, upstream=action.upstream, target=action.target)
                text = f"Executed, decided by {action.decided_by}: {action.effect}"
                return Progress(
                    msgspec.structs.replace(executed, trial=held), (TimelineEntry(now, "action.executed", text),)
                )
        _log.warning("action.failed", action=action.id, why=why or over)
        gone = msgspec.structs.replace(failed, note=why or over, ended_at=now)
        text = f"{words(action).failed}: {why or over}."
        return Progress(gone, (TimelineEntry(now, "action.failed", text),), escalate=bool(why))

    def _unknown(self, action: Action, now: float, why: str) -> Progress:
        _log.error("action.outcome_unknown", action=action.id, why=why)
        unknown = msgspec.structs.replace(action.moved_to(ActionState.UNKNOWN), note=why, ended_at=now)
        text = f"Whether {words(action).done} is not known: {why}. It is not begun again."
        return Progress(unknown, (TimelineEntry(now, "action.unknown", text),), escalate=True)

    async def advance(self, action: Action, now: float) -> Progress:
        """The next step of an EXECUTED action, if it is time for one; any other action comes back as it is."""
        if action.state is not ActionState.EXECUTED:
            return Progress(action)
        if action.dry:
            return await self._after_dry_run(action, now)
        action, entries = self._verified(action, now)
        try:
            progress = await self._stepped(action, now)
        except SentinelError as error:
            # The directive in force ends by itself, and the next call tries again.
            _log.warning("action.step_failed", action=action.id, why=str(error))
            progress = Progress(action)
        return msgspec.structs.replace(progress, entries=entries + progress.entries)

    async def take_back(self, action: Action, now: float, why: str) -> Progress:
        """An EXECUTED action taken back at once, because a person or the end of the incident wants it.

        Raises:
            SentinelError: it could not be taken back now; it still ends by itself.
        """
        if action.state is not ActionState.EXECUTED:
            return Progress(action)
        return await self._return(action, now, why, "action.reverted")

    def _apart(self, action: Action) -> Action:
        """The action with the upstreams that have been in trouble by themselves, so far."""
        known = frozenset(action.watch.apart) | self._troubled(action.incident_id)
        apart = tuple(sorted(known - {action.upstream}))
        return msgspec.structs.replace(action, watch=msgspec.structs.replace(action.watch, apart=apart))

    def _over(self, measured: Action, now: float) -> str:
        """Why it is not needed any more, or empty."""
        if measured.kind in ABOUT_CALLERS:
            goes_on, why = self._caller_goes_on(measured, now)
            return "" if goes_on else f"it is no longer needed: {why}"
        return faded(measured)

    def _caller_goes_on(self, action: Action, now: float) -> tuple[bool, str]:
        routes = frozenset(one.name for one in self._snapshot().routes if action.upstream in leads_to(one))
        return goes_on(action, self._callers, routes, now)

    async def _after_dry_run(self, action: Action, now: float) -> Progress:
        if action.kind in FOR_GOOD:
            return self._settled(action, now, "the dry run is over")
        if now < action.effect_until:
            return Progress(action)
        return await self._return(action, now, "the dry run is over", "action.restored")

    def _settled(self, action: Action, now: float, why: str, *, escalate: bool = False) -> Progress:
        """Done for good: nobody has to hold it."""
        _log.info("action.kept", action=action.id, why=why)
        kept = msgspec.structs.replace(action.moved_to(ActionState.KEPT), ended_at=now, note=action.note or why)
        entry = TimelineEntry(now, "action.kept", f"{_capital(words(action).done)}, and stays: {why.rstrip('.')}.")
        return Progress(kept, (entry,), escalate=escalate)

    def _next_step(self, action: Action, now: float) -> Step:
        if action.kind not in ABOUT_CALLERS:
            return next_step(action, self._window, now, self._policy)
        since = self._callers.since
        if (since is None or since > now - LOOK_S) and now < action.effect_until:
            return Keep()  # control has just begun: what it has not seen does not mean that nobody asked
        on, why = self._caller_goes_on(action, now)
        return of_caller(action, now, self._policy, goes_on=on, why=why)

    def _verified(self, action: Action, now: float) -> tuple[Action, tuple[TimelineEntry, ...]]:
        if action.trial.share > 0 or (action.outcome is not None and action.outcome.verdict in _SETTLED):
            return action, ()
        action = self._apart(action)
        outcome = verify(action, self._window, now)
        first = action.outcome is None
        action = msgspec.structs.replace(action, outcome=outcome)
        if outcome.verdict not in _SETTLED:
            return action, (TimelineEntry(now, "action.watching", outcome.statement),) if first else ()
        _log.info("action.verified", action=action.id, verdict=outcome.verdict, after=round(outcome.after, 4))
        return action, (TimelineEntry(now, "action.verified", outcome.statement),)

    async def _stepped(self, action: Action, now: float) -> Progress:
        executor = self._executors[action.kind]
        step = self._next_step(action, now)
        if isinstance(step, Settle):
            return self._settled(action, now, step.reason, escalate=step.escalate)
        if isinstance(step, TrialAt):
            # A wider trial goes on counting from where it began.
            since = action.trial.since if action.trial.share > 0 and not step.anew else now
            tried = await executor.trial(action, step.share, now)
            trial = msgspec.structs.replace(action.trial, share=step.share, since=since)
            return self._told(tried, trial, now, "action.trial", f"Trial: {step.reason}.")
        if isinstance(step, Extend):
            held = await executor.hold(action, now)
            trial = Trial(since=now, pause_s=step.pause_s, failed=action.trial.failed + 1)
            again = "Out" if action.kind is ActionKind.EJECT_TARGET else "In full effect"
            text = f"{again} again for {span(action.ttl_s)}, next look in {span(step.pause_s)}: {step.reason}."
            return self._told(held, trial, now, "action.extended", text)
        if isinstance(step, Restore):
            return await self._return(action, now, step.reason, "action.restored")
        if isinstance(step, Revert):
            progress = await self._return(action, now, step.reason, "action.reverted")
            return msgspec.structs.replace(progress, escalate=True)
        return Progress(action)

    def _told(self, action: Action, trial: Trial, now: float, kind: str, text: str) -> Progress:
        _log.info(kind, action=action.id, share=trial.share, pause_s=trial.pause_s, failed=trial.failed)
        return Progress(msgspec.structs.replace(action, trial=trial), (TimelineEntry(now, kind, text),))

    async def _return(self, action: Action, now: float, why: str, kind: str) -> Progress:
        returned = await self._executors[action.kind].undo(action, now, why)
        _log.info(kind, action=action.id, why=why)
        text = f"{_capital(words(action).undone)}: {why.rstrip('.')}."
        return Progress(returned, (TimelineEntry(now, kind, text),))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
