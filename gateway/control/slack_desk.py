"""Decisions taken in Slack: whoever presses a button is known, may decide, and decides on exactly what was shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.identity import RANK, Actor, Role
from gateway.domain.policy import NotifyChannel
from gateway.errors import DeliveryError, ForbiddenError, NotFoundError, SentinelError, UnauthenticatedError
from gateway.notify import slack_blocks, slack_interactions
from gateway.notify.slack_app import SlackApp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.admin.ports import Decisions, IncidentReader
    from gateway.domain.identity import User
    from gateway.domain.incident import Incident
    from gateway.notify.channels import Channel
    from gateway.notify.slack_interactions import Pressed

_MOST_SEEN = 10_000
_log = logs.get("control")


class Users(Protocol):
    """Who a linked member of Slack is here."""

    async def by_email(self, email: str) -> User | None:
        """None where there is no such user."""
        ...


class _Seat(msgspec.Struct, frozen=True):
    """One configured channel in which somebody may decide."""

    entry: NotifyChannel
    app: SlackApp
    secret: bytes


class SlackDesk:
    """Takes what Slack sends.

    Args:
        entries: the configured channels.
        channels: by name, the channels that deliver.
        secret: the value of an environment variable, or None.
        incidents: what an action belongs to.
        users: who a linked member is.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        entries: Iterable[NotifyChannel],
        channels: Mapping[str, Channel],
        secret: Callable[[str], str | None],
        incidents: IncidentReader,
        users: Users,
        clock: Callable[[], float],
    ) -> None:
        self._seats = tuple(
            _Seat(entry, app, key.encode())
            for entry in entries
            if entry.approvers
            and isinstance(app := channels.get(entry.name), SlackApp)
            and (key := secret(entry.secret_env))
        )
        self._incidents = incidents
        self._users = users
        self._clock = clock
        self._seen: dict[str, float] = {}  # signature → when it may be forgotten, oldest first

    def receive(self, timestamp: str, signature: str, body: bytes) -> Pressed | None:
        """What was pressed, if Slack says so now and for the first time; None for what asks for nothing.

        Raises:
            NotFoundError: nobody may decide in Slack here.
            UnauthenticatedError: not signed by the app, too old, or a repetition.
            InvalidInputError: signed, but no interaction.
        """
        if not self._seats:
            raise NotFoundError(
                "no Slack app takes decisions here", remedy='Add approvers to a [[notify]] of kind = "slack_app".'
            )
        now = self._clock()
        place = slack_interactions.verify(tuple(seat.secret for seat in self._seats), timestamp, signature, body, now)
        self._once(signature, now)
        pressed = slack_interactions.read(body)
        if pressed is None or pressed.button.startswith(slack_blocks.OPEN):
            return None
        secret = self._seats[place].secret
        if not any(seat.secret == secret and seat.app.channel_id == pressed.channel for seat in self._seats):
            raise UnauthenticatedError("the button was not pressed in a channel of ours")
        return pressed

    async def act(self, pressed: Pressed, decisions: Decisions) -> None:
        """Do what was pressed; why not is said to whoever pressed, and to nobody else. Never raises."""
        seat = next(seat for seat in self._seats if seat.app.channel_id == pressed.channel)
        try:
            actor = await self._actor(seat, pressed.user)
            await self._decide(seat, pressed, actor, decisions)
        except SentinelError as error:
            _log.warning("slack.refused", user=pressed.user, button=pressed.button, why=str(error))
            await self._whisper(seat, pressed.user, f"Nothing was done: {error}. {error.remedy}".strip())
        except Exception:  # noqa: BLE001 - the border of a task that nobody waits for
            _log.exception("slack.crashed", button=pressed.button)
            await self._whisper(seat, pressed.user, "Nothing was done: the gateway failed at it. Use the dashboard.")
        else:
            _log.info("slack.pressed", user=pressed.user, button=pressed.button, actor=actor.name)

    async def _decide(self, seat: _Seat, pressed: Pressed, actor: Actor, decisions: Decisions) -> None:
        if pressed.button == slack_blocks.ACKNOWLEDGE:
            incident = await self._incidents.get(pressed.value)
            _check_tenant(seat, actor, incident)
            await decisions.acknowledge(incident.id, actor)
            return
        action_id, fingerprint = slack_blocks.pressed(pressed.value)
        if pressed.button not in {slack_blocks.APPROVE, slack_blocks.REJECT} or not action_id or not fingerprint:
            raise NotFoundError("there is no such button here")
        incident = await self._incidents.of_action(action_id)
        _check_tenant(seat, actor, incident)
        if pressed.button == slack_blocks.APPROVE:
            await decisions.approve(action_id, actor, fingerprint)
        else:
            await decisions.reject(action_id, actor, "")

    async def _actor(self, seat: _Seat, member: str) -> Actor:
        for approver in seat.entry.approvers:
            known, _, email = approver.partition("=")
            if known != member:
                continue
            if not email:
                return Actor(kind="slack", name=f"{member} in Slack", role=Role.OPERATOR)
            user = await self._users.by_email(email.lower())
            if user is None or user.disabled or RANK[user.role] < RANK[Role.OPERATOR]:
                raise ForbiddenError(f"{email} is no user of the dashboard who may decide")
            return Actor(kind="user", name=user.email, role=user.role, tenant=user.tenant)
        raise ForbiddenError(
            "you are not among those who may decide here", remedy="They stand in approvers of this [[notify]]."
        )

    async def _whisper(self, seat: _Seat, member: str, text: str) -> None:
        try:
            await seat.app.whisper(member, text, self._clock())
        except DeliveryError as error:
            _log.warning("slack.not_answered", user=member, why=str(error))

    def _once(self, signature: str, now: float) -> None:
        while self._seen and (len(self._seen) > _MOST_SEEN or next(iter(self._seen.values())) < now):
            del self._seen[next(iter(self._seen))]
        if signature in self._seen:
            raise UnauthenticatedError("this was received before", remedy="Press the button again.")
        self._seen[signature] = now + 2 * slack_interactions.WINDOW_S


def _check_tenant(seat: _Seat, actor: Actor, incident: Incident) -> None:
    if (actor.tenant and actor.tenant != incident.tenant) or (
        seat.entry.tenants and incident.tenant not in seat.entry.tenants
    ):
        raise NotFoundError("there is no such incident in this channel")
