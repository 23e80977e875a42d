"""Acting on the edge itself: an action is one directive, replaced for a trial and withdrawn to undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.plan import FOR_GOOD, ActionKind, ActionState
from gateway.domain.snapshot import Directive, DirectiveKind

if TYPE_CHECKING:
    from gateway.domain.plan import Action
    from gateway.remediate.actions.executor import Executor

_log = logs.get("remediate")
_NOTE_LENGTH = 500


class DirectiveBoard(Protocol):
    """Where directives are put up for the workers to follow."""

    async def issue(self, directive: Directive) -> None:
        """Put it in force everywhere; one with the same id is replaced.

        Raises ConflictError when the fence is no longer this control's.
        """
        ...

    async def withdraw(self, directive_id: str) -> None:
        """Take it out of force; unknown ids are fine: it may have ended by itself."""
        ...

    def active(self) -> tuple[Directive, ...]:
        """Every directive in force, of incidents and of health checks."""
        ...

    def fence(self) -> int:
        """The leader's fencing token; workers refuse a lower one than they have seen."""
        ...


class ByDirective:
    """Carries out what workers do by themselves: one directive, whose kind and id follow from the action's."""

    dry = False

    def __init__(self, board: DirectiveBoard) -> None:
        self._board = board

    async def execute(self, action: Action, now: float) -> Action:
        """In full effect for the action's time to live."""
        executed = action.moved_to(ActionState.EXECUTED)
        until = now + action.ttl_s
        await self._issue(action, 0.0, now, until)
        return msgspec.structs.replace(
            executed, executed_at=now, directive_id=_directive_id(action), effect_until=until
        )

    async def trial(self, action: Action, share: float, now: float) -> Action:
        """A share of what it holds back let through, until its time to live ends or the trial is decided."""
        await self._issue(action, share, now, action.effect_until)
        return action

    async def hold(self, action: Action, now: float) -> Action:
        """In full effect again, and for a fresh time to live."""
        until = now + action.ttl_s
        await self._issue(action, 0.0, now, until)
        return msgspec.structs.replace(action, effect_until=until)

    async def undo(self, action: Action, now: float, why: str) -> Action:
        """Everything as it was."""
        reverted = action.moved_to(ActionState.REVERTED)
        await self._board.withdraw(_directive_id(action))
        return msgspec.structs.replace(reverted, ended_at=now, note=why[:_NOTE_LENGTH])

    async def _issue(self, action: Action, share: float, now: float, until: float) -> None:
        await self._board.issue(
            Directive(
                id=_directive_id(action),
                kind=DirectiveKind(action.kind.value),
                upstream=action.upstream,
                target=action.target,
                share=share,
                issued_at=now,
                expires_at=until,
                fence=self._board.fence(),
                source="incident",
                reason=f"incident {action.incident_id}",
                action_id=action.id,
                route=action.route,
                caller=action.caller,
                amount=action.amount,
                by_plan=action.by_plan,
            )
        )


def by_directive(board: DirectiveBoard) -> dict[ActionKind, Executor]:
    """Who carries out each kind of action that workers do by themselves."""
    executor = ByDirective(board)
    return {kind: executor for kind in ActionKind if kind not in FOR_GOOD}


class DryRun:
    """Writes down what would be done and does nothing; the action lives its life as if it had been."""

    dry = True

    async def execute(self, action: Action, now: float) -> Action:
        """EXECUTED, in the log only."""
        _log.info("action.dry_run", step="execute", action=action.id, effect=action.effect)
        executed = action.moved_to(ActionState.EXECUTED)
        return msgspec.structs.replace(
            executed, executed_at=now, effect_until=now + action.ttl_s, dry=True, note="Dry run: nothing was changed."
        )

    async def trial(self, action: Action, share: float, now: float) -> Action:
        """In the log only."""
        _log.info("action.dry_run", step="trial", action=action.id, share=share, at=now)
        return action

    async def hold(self, action: Action, now: float) -> Action:
        """In the log only, with a fresh time to live."""
        _log.info("action.dry_run", step="hold", action=action.id)
        return msgspec.structs.replace(action, effect_until=now + action.ttl_s)

    async def undo(self, action: Action, now: float, why: str) -> Action:
        """REVERTED, in the log only."""
        _log.info("action.dry_run", step="undo", action=action.id, why=why)
        return msgspec.structs.replace(action.moved_to(ActionState.REVERTED), ended_at=now, note=why[:_NOTE_LENGTH])


def _directive_id(action: Action) -> str:
    return f"d-{action.id}"
