"""Acting outside the gateway: what the operator configured is done once, or written down in a dry run.

A doer either did it, did not do it (RemedyError), or does not know (UnknownOutcomeError); there is no trying again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.plan import ActionState
from gateway.errors import RemedyError
from gateway.remediate.outside import what

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.plan import Action
    from gateway.domain.policy import OutsideCommand

_log = logs.get("remediate")
_NOTE_LENGTH = 500


class Doer(Protocol):
    """Does one kind of command."""

    async def run(self, command: OutsideCommand, action: Action, now: float) -> str:
        """Do it once, within the command's timeout; what to note of it, bounded, without a secret.

        Raises:
            RemedyError: it was not done, and nothing was changed.
            UnknownOutcomeError: it was begun, and its end is not known.
        """
        ...


class RunOutside:
    """Carries out RUN_OUTSIDE.

    Args:
        doers: by kind of command.
        commands: what is configured, as of the call.
    """

    dry = False

    def __init__(self, doers: Mapping[str, Doer], commands: Callable[[], tuple[OutsideCommand, ...]]) -> None:
        self._doers = doers
        self._commands = commands

    async def execute(self, action: Action, now: float) -> Action:
        """Done, or written down."""
        executed = action.moved_to(ActionState.EXECUTED)
        command = next((one for one in self._commands() if one.name == action.command), None)
        if command is None:
            raise RemedyError(f"[actions] has no {action.command} any more")
        if command.dry_run:
            _log.info("action.dry_run", step="execute", action=action.id, effect=what(command))
            note = f"Dry run: {what(command)}; nothing was changed."
            return msgspec.structs.replace(executed, executed_at=now, dry=True, note=note)
        _log.warning("action.outside", action=action.id, command=command.name, kind=command.kind)
        note = await self._doers[command.kind].run(command, action, now)
        return msgspec.structs.replace(executed, executed_at=now, note=note[:_NOTE_LENGTH])

    async def trial(self, action: Action, share: float, now: float) -> Action:  # noqa: ARG002 - the Executor's form
        """There is no part of it."""
        return action

    async def hold(self, action: Action, now: float) -> Action:  # noqa: ARG002 - the Executor's form
        """It holds by itself."""
        return action

    async def undo(self, action: Action, now: float, why: str) -> Action:
        """What was done stays; what takes it back is an action of its own, decided like any other."""
        note = f"{why.rstrip('.')}; what was done outside stays"
        return msgspec.structs.replace(
            action.moved_to(ActionState.KEPT), ended_at=now, note=(action.note or note)[:_NOTE_LENGTH]
        )
