"""Going back to an earlier configuration, by the same way a person would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.identity import Actor, Role
from gateway.domain.plan import Action, ActionState
from gateway.errors import ConflictError
from gateway.remediate.rollback import ROLLED_BACK_BY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.audit import ConfigRevision

_log = logs.get("remediate")
_NOTE_LENGTH = 500
_LOOK_BACK = 10  # revisions
_ACTOR = Actor(kind=ROLLED_BACK_BY, name="sentinel", role=Role.ADMIN)


class Configurations(Protocol):
    """The configuration in force and its history."""

    async def revision(self, number: int) -> ConfigRevision:
        """One that was in force. Raises NotFoundError."""
        ...

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        """Newest first. Raises StoreUnavailableError."""
        ...

    async def apply(self, text: str, actor: Actor, note: str = "") -> ConfigRevision:
        """Validate, publish to every worker, record. Raises ConfigError; nothing was changed then."""
        ...


class RollBack:
    """Puts the configuration of an earlier revision in force, once: what it made names the action in its note."""

    dry = False

    def __init__(self, configurations: Configurations) -> None:
        self._configurations = configurations

    async def execute(self, action: Action, now: float) -> Action:
        """The earlier text in force, as a new revision; again after a crash it changes nothing more."""
        executed = action.moved_to(ActionState.EXECUTED)
        history = await self._configurations.history(limit=_LOOK_BACK)
        if not any(one.note == _note(action) for one in history):
            newest = history[0].revision if history else 0
            if newest != action.from_revision:
                raise ConflictError(f"revision {newest} is in force now, not {action.from_revision}")
            wanted = await self._configurations.revision(action.revision)
            made = await self._configurations.apply(wanted.text, _ACTOR, _note(action))
            _log.warning("config.rolled_back", action=action.id, to=action.revision, revision=made.revision)
        return msgspec.structs.replace(executed, executed_at=now)

    async def trial(self, action: Action, share: float, now: float) -> Action:  # noqa: ARG002 - the Executor's form
        """There is no half of a configuration."""
        return action

    async def hold(self, action: Action, now: float) -> Action:  # noqa: ARG002 - the Executor's form
        """It holds by itself."""
        return action

    async def undo(self, action: Action, now: float, why: str) -> Action:
        """The revision that was left in force again, unless somebody applied another meanwhile."""
        reverted = action.moved_to(ActionState.REVERTED)
        history = await self._configurations.history(limit=_LOOK_BACK)
        newest = history[0] if history else None
        note = f"{_note(action)}, taken back"
        if newest is not None and newest.note != note:
            if newest.note != _note(action):
                raise ConflictError(f"revision {newest.revision} was applied meanwhile; it stays")
            left = await self._configurations.revision(action.from_revision)
            await self._configurations.apply(left.text, _ACTOR, note)
        return msgspec.structs.replace(reverted, ended_at=now, note=why[:_NOTE_LENGTH])


def _note(action: Action) -> str:
    return f"action {action.id} of incident {action.incident_id}"
