"""Deciding about a proposed action: once, in time, by somebody who may, and exactly as it was shown. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.identity import RANK, SYSTEM, Actor, Role
from gateway.domain.plan import Action, ActionState
from gateway.errors import ConflictError, ForbiddenError

if TYPE_CHECKING:
    from gateway.domain.stop import Stop

_NOTE_LENGTH = 500


def approve(action: Action, actor: Actor, quoted: str, now: float) -> Action:
    """The action APPROVED by ``actor``, who quotes the fingerprint of what was shown.

    Raises:
        ForbiddenError: the actor's role or tenant does not allow it.
        ConflictError: decided already (names by whom), lapsed, or not the action that was shown.
    """
    _may_decide(action, actor)
    _still_open(action, now)
    approved = action.moved_to(ActionState.APPROVED)
    if not compare_digest(quoted.encode(), action.fingerprint.encode()):
        raise ConflictError(
            f"action {action.id} is not what was shown: it changed since",
            remedy="Load the incident again, read the action as it is now, and decide on that.",
        )
    return _decided(approved, actor, now)


def approve_by_policy(action: Action, now: float) -> Action:
    """The action APPROVED because the risk policy lets it run by itself. Raises ConflictError as :func:`approve`."""
    return approve(action, SYSTEM, action.fingerprint, now)


def reject(action: Action, actor: Actor, reason: str, now: float) -> Action:
    """The action REJECTED by ``actor``. Raises ForbiddenError or ConflictError as :func:`approve`."""
    _may_decide(action, actor)
    _still_open(action, now)
    rejected = _decided(action.moved_to(ActionState.REJECTED), actor, now)
    return msgspec.structs.replace(rejected, note=reason[:_NOTE_LENGTH], ended_at=now)


def stopped_words(stop: Stop) -> str:
    """Who stopped all actions and when, as people are told."""
    at = datetime.fromtimestamp(stop.at, UTC).strftime("%Y-%m-%d %H:%M")
    return f"actions were stopped by {stop.by} at {at} UTC" + (f" ({stop.why})" if stop.why else "")


def not_stopped(stop: Stop) -> None:
    """Raises ConflictError, naming who and when, while all actions are stopped."""
    if stop.on:
        raise ConflictError(stopped_words(stop), remedy="Let them run again first: sentinel stop-actions off.")


def may_take_back(action: Action, actor: Actor) -> None:
    """Raises ForbiddenError or ConflictError where ``actor`` cannot take this action back."""
    _may_decide(action, actor)
    if action.state is not ActionState.EXECUTED:
        raise ConflictError(f"action {action.id} is {action.state}: there is nothing to take back")
    if action.command:
        raise ConflictError(
            f"action {action.id} was done outside the gateway, which cannot take it back",
            remedy=f"Run what [actions.{action.undo_command}] runs." if action.undo_command else "Undo it there.",
        )


def expire(action: Action, now: float, why: str = "") -> Action:
    """The action EXPIRED if nobody decided in time, or at once with ``why`` (its incident was closed); else itself."""
    open_still = action.state in {ActionState.PENDING, ActionState.APPROVED}
    if not open_still or not (why or now >= action.expires_at):
        return action
    note = why or ("nobody decided in time" if action.state is ActionState.PENDING else "it was not started in time")
    return msgspec.structs.replace(action.moved_to(ActionState.EXPIRED), note=note[:_NOTE_LENGTH], ended_at=now)


def _may_decide(action: Action, actor: Actor) -> None:
    if RANK[actor.role] < RANK[Role.OPERATOR]:
        raise ForbiddenError(
            f"{actor.name} may look but not decide", remedy="Ask an operator, or an admin for the role of operator."
        )
    if actor.tenant and actor.tenant != action.tenant:
        raise ForbiddenError(f"action {action.id} does not belong to {actor.name}'s tenant")


def _still_open(action: Action, now: float) -> None:
    if action.state is ActionState.PENDING and now >= action.expires_at:
        raise ConflictError(
            f"action {action.id} lapsed: nobody decided in time",
            remedy="If the incident lasts, a fresh proposal follows with the next diagnosis.",
        )


def _decided(action: Action, actor: Actor, now: float) -> Action:
    return msgspec.structs.replace(action, decided_by=f"{actor.kind} {actor.name}", decided_at=now)
