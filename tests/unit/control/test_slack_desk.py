"""Decisions in Slack: signed, fresh, once, by those who may, on exactly what was shown."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from gateway.control.slack_desk import SlackDesk
from gateway.domain.plan import ActionState
from gateway.domain.policy import NotifyChannel
from gateway.errors import InvalidInputError, NotFoundError, UnauthenticatedError
from gateway.notify.slack_app import SlackApp
from tests.admin_fakes import FakeAdmin

if TYPE_CHECKING:
    from gateway.domain.plan import Action

pytestmark = pytest.mark.anyio

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL = "C024BE91L"
ENTRY = NotifyChannel(
    name="ops",
    kind="slack_app",
    secret_env="SIGNING",
    channel=CHANNEL,
    approvers=("U000ANA", "U0OTTO=otto@example.org", "U0VERA=vera@example.org"),
)


class Whispers(SlackApp):
    """Remembers what was said to whom instead of saying it."""

    def __init__(self) -> None:
        super().__init__("ops", "xoxb", CHANNEL, None, None)  # type: ignore[arg-type]  # it sends nothing
        self.said: list[tuple[str, str]] = []

    async def whisper(self, user: str, text: str, now: float) -> None:
        del now
        self.said.append((user, text))


class Desk:
    def __init__(self, entry: NotifyChannel = ENTRY) -> None:
        self.admin = FakeAdmin()
        self.app = Whispers()
        self.desk = SlackDesk(
            (entry,),
            {"ops": self.app},
            {"SIGNING": SECRET}.get,
            self.admin.incidents,
            self.admin.users,
            self.admin.clock,
        )

    @property
    def waiting(self) -> Action:
        return next(
            action
            for incident in self.admin.incidents.rows
            for action in incident.actions
            if action.state is ActionState.PENDING
        )

    def signed(self, body: bytes, *, age_s: float = 0.0, secret: str = SECRET) -> tuple[str, str, bytes]:
        at = f"{self.admin.clock.now - age_s:.0f}"
        digest = hmac.new(secret.encode(), b"v0:" + at.encode() + b":" + body, "sha256").hexdigest()
        return at, f"v0={digest}", body

    async def press(self, user: str, button: str, value: str, channel: str = CHANNEL) -> None:
        pressed = self.desk.receive(*self.signed(pressing(user, button, value, channel)))
        assert pressed is not None
        await self.desk.act(pressed, self.admin.ports.decisions)


def pressing(user: str, button: str, value: str, channel: str = CHANNEL) -> bytes:
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "ana"},
        "channel": {"id": channel},
        "actions": [{"action_id": button, "value": value, "type": "button"}],
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_an_approver_approves_exactly_what_was_shown(desk: Desk) -> None:
    action = desk.waiting
    await desk.press("U000ANA", "approve", f"{action.id}|{action.fingerprint}")
    assert [(verb, of, actor.name) for verb, of, actor in desk.admin.decisions.made] == [
        ("approve", action.id, "U000ANA in Slack")
    ]
    assert desk.app.said == []
    assert desk.admin.audit.rows[0].actor == "slack U000ANA in Slack"


async def test_a_linked_member_acts_as_the_user_of_the_dashboard(desk: Desk) -> None:
    await desk.press("U0OTTO", "reject", f"{desk.waiting.id}|{desk.waiting.fingerprint}")
    assert desk.admin.decisions.made[0][2].name == "otto@example.org"


@pytest.mark.parametrize("user", ["U0VERA", "U0STRANGER", ""])
async def test_who_may_not_decide_changes_nothing_and_is_told(desk: Desk, user: str) -> None:
    await desk.press(user, "approve", f"{desk.waiting.id}|{desk.waiting.fingerprint}")
    assert desk.admin.decisions.made == []
    assert [who for who, _ in desk.app.said] == [user]


@pytest.mark.parametrize("fingerprint", ["", "0" * 32])
async def test_an_action_that_is_not_what_was_shown_does_not_run(desk: Desk, fingerprint: str) -> None:
    await desk.press("U000ANA", "approve", f"{desk.waiting.id}|{fingerprint}")
    assert desk.admin.decisions.made == []
    assert desk.app.said[0][1].startswith("Nothing was done")


async def test_a_second_press_is_told_who_was_first(desk: Desk) -> None:
    value = f"{desk.waiting.id}|{desk.waiting.fingerprint}"
    await desk.press("U000ANA", "approve", value)
    await desk.press("U0OTTO", "approve", value)
    assert len(desk.admin.decisions.made) == 1
    assert "U000ANA" in desk.app.said[0][1]


async def test_the_same_request_counts_once(desk: Desk) -> None:
    request = desk.signed(pressing("U000ANA", "approve", "a|b"))
    desk.desk.receive(*request)
    with pytest.raises(UnauthenticatedError, match="before"):
        desk.desk.receive(*request)


@pytest.mark.parametrize("age_s", [301.0, -301.0])
async def test_a_request_outside_of_five_minutes_is_refused(desk: Desk, age_s: float) -> None:
    with pytest.raises(UnauthenticatedError, match="five minutes"):
        desk.desk.receive(*desk.signed(pressing("U000ANA", "approve", "a|b"), age_s=age_s))


async def test_only_the_app_may_speak(desk: Desk) -> None:
    body = pressing("U000ANA", "approve", "a|b")
    at, signature, _ = desk.signed(body)
    for forged in (
        (at, signature, body + b"&x=1"),
        (at, "v0=", body),
        (at, "v0=\xff", body),
        ("", signature, body),
        desk.signed(body, secret="another"),
    ):
        with pytest.raises(UnauthenticatedError):
            desk.desk.receive(*forged)


@pytest.mark.parametrize("body", [b"", b"payload=x", b"payload=%7B%22type%22%3A1%7D", b"\xff", b"a=" + b"[" * 5000])
async def test_what_is_no_interaction_is_said_to_be_none(desk: Desk, body: bytes) -> None:
    with pytest.raises(InvalidInputError):
        desk.desk.receive(*desk.signed(body))


async def test_another_channel_of_the_workspace_decides_nothing(desk: Desk) -> None:
    with pytest.raises(UnauthenticatedError, match="channel"):
        desk.desk.receive(*desk.signed(pressing("U000ANA", "approve", "a|b", "C0OTHER")))


async def test_a_channel_of_one_tenant_decides_nothing_of_others() -> None:
    import msgspec

    desk = Desk(msgspec.structs.replace(ENTRY, tenants=("globex",)))
    await desk.press("U000ANA", "approve", f"{desk.waiting.id}|{desk.waiting.fingerprint}")
    assert desk.admin.decisions.made == []


async def test_acknowledging_names_who_does(desk: Desk) -> None:
    incident = desk.admin.incidents.rows[0]
    await desk.press("U000ANA", "acknowledge", incident.id)
    assert desk.admin.decisions.made[0][:2] == ("acknowledge", incident.id)


async def test_without_approvers_there_is_no_desk() -> None:
    admin = FakeAdmin()
    desk = SlackDesk((), {}, {}.get, admin.incidents, admin.users, admin.clock)
    with pytest.raises(NotFoundError):
        desk.receive("1", "v0=", b"")
