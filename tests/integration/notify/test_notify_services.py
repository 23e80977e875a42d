"""The Slack app, PagerDuty, Teams and mail against local servers that refuse what the real ones would."""

from __future__ import annotations

import email
import email.policy
import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.domain.incident import IncidentState
from gateway.domain.plan import ActionState
from gateway.errors import DeliveryError
from gateway.notify.http_post import Poster
from gateway.notify.mail import Account, Mail
from gateway.notify.message import What, of_action, of_incident, trial_message
from gateway.notify.pagerduty import PagerDuty
from gateway.notify.slack_app import SlackApp
from gateway.notify.teams import Teams
from gateway.store.notification_threads import NotificationThreads
from tests.integration.notify import services
from tests.unit.notify.incidents import NOW, action, diagnosis, incident

if TYPE_CHECKING:
    from gateway.notify.message import Message
    from gateway.store.engine import Store

pytestmark = pytest.mark.anyio

HOSTILE = "<!channel> <https://evil.example|click> *_~` \r\nBcc: x@evil.example <script>alert(1)</script> @here"
BASE = "https://g.example"


def news(what: What, **fields: object) -> Message:
    return of_incident(incident(**fields), what, NOW, base_url=BASE)


def proposed() -> Message:
    return of_action(incident(actions=(action(),)), action(), What.PROPOSED, NOW, base_url=BASE)


def extreme() -> Message:
    """As long and as hostile as an incident can be."""
    long = HOSTILE * 400
    place = msgspec.structs.replace(incident().place, route=long, upstream=long, target=long, tenant=long)
    waiting = action(effect=long)
    report = diagnosis(summary=long, root_cause=long, affected=(long,) * 50, steps=(long,) * 50)
    whole = incident(title=long, place=place, actions=(waiting,), diagnosis=report, id="i-" + "x" * 300)
    return of_incident(whole, What.DIAGNOSED, NOW, base_url=BASE)


async def test_an_incident_is_one_thread_whose_first_message_is_kept_up_to_date(store: Store) -> None:
    async with services.running(services.SlackService()) as slack, Poster() as poster:
        app = SlackApp(
            "team",
            services.TOKEN,
            services.CHANNEL,
            poster,
            NotificationThreads(store),
            buttons=True,
            service=slack.url,
        )
        await app.deliver(news(What.OPENED), NOW)
        await app.deliver(proposed(), NOW)
        await app.deliver(news(What.CLOSED, state=IncidentState.CLOSED, closed_at=NOW, close_reason="calm"), NOW)
        root, *replies = slack.messages.values()
        assert [reply["thread_ts"] for reply in replies] == [next(iter(slack.messages))] * 2
        assert "Closed: calm." in json.dumps(root)
        assert [path for path, _ in slack.calls] == [
            "/chat.postMessage",
            "/chat.update",
            "/chat.postMessage",
            "/chat.update",
            "/chat.postMessage",
        ]


async def test_buttons_carry_the_fingerprint_and_go_when_it_is_decided(store: Store) -> None:
    async with services.running(services.SlackService()) as slack, Poster() as poster:
        app = SlackApp(
            "team",
            services.TOKEN,
            services.CHANNEL,
            poster,
            NotificationThreads(store),
            buttons=True,
            service=slack.url,
        )
        await app.deliver(proposed(), NOW)
        (root, _) = slack.messages.values()
        buttons = {element["action_id"]: element for element in root["blocks"][-1]["elements"]}
        assert buttons["approve"]["value"] == f"a-1|{action().fingerprint}"
        assert buttons["approve"]["confirm"]["text"]["text"] == action().effect
        assert set(buttons) == {"approve", "reject", "acknowledge", "open"}
        declined = action(state=ActionState.REJECTED, decided_by="ana")
        told = of_action(incident(actions=(declined,)), declined, What.REJECTED, NOW, base_url=BASE)
        await app.deliver(told, NOW)
        ids = {element["action_id"] for element in next(iter(slack.messages.values()))["blocks"][-1]["elements"]}
        assert ids == {"acknowledge", "open"}


async def test_another_node_writes_into_the_same_thread(store: Store) -> None:
    async with services.running(services.SlackService()) as slack, Poster() as poster:
        for what in (What.OPENED, What.RAISED):
            threads = NotificationThreads(store)
            app = SlackApp("team", services.TOKEN, services.CHANNEL, poster, threads, service=slack.url)
            await app.deliver(news(what), NOW)
        assert [("thread_ts" in message) for message in slack.messages.values()] == [False, True]


async def test_a_thread_somebody_deleted_begins_again(store: Store) -> None:
    async with services.running(services.SlackService()) as slack, Poster() as poster:
        threads = NotificationThreads(store)
        app = SlackApp("team", services.TOKEN, services.CHANNEL, poster, threads, service=slack.url)
        await app.deliver(news(What.OPENED), NOW)
        slack.messages = {"1.0": {}}
        await app.deliver(news(What.RAISED), NOW)
        assert len(slack.messages) == 3


@pytest.mark.parametrize(
    ("token", "channel", "says", "retryable"),
    [
        ("xoxb-old", services.CHANNEL, "invalid_auth", False),
        (services.TOKEN, "C000000000", "channel_not_found", False),
    ],
)
async def test_what_slack_refuses_is_said_with_a_remedy_and_without_the_token(
    token: str, channel: str, says: str, *, retryable: bool
) -> None:
    async with services.running(services.SlackService()) as slack, Poster() as poster:
        app = SlackApp("team", token, channel, poster, None, service=slack.url)
        with pytest.raises(DeliveryError, match=says) as caught:
            await app.deliver(trial_message(NOW), NOW)
    assert caught.value.retryable is retryable
    assert caught.value.remedy
    assert token not in str(caught.value) + caught.value.remedy


async def test_slack_is_not_knocked_at_before_it_says() -> None:
    async with services.running(services.SlackService()) as slack, Poster() as poster:
        slack.failures.append((429, {"Retry-After": "31"}, '{"ok":false,"error":"ratelimited"}'))
        app = SlackApp("team", services.TOKEN, services.CHANNEL, poster, None, service=slack.url)
        with pytest.raises(DeliveryError) as caught:
            await app.deliver(trial_message(NOW), NOW)
    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 31.0)


async def test_the_most_extreme_incident_fits_everywhere_and_nothing_in_it_fires(store: Store) -> None:
    message = extreme()
    async with (
        services.running(services.SlackService()) as slack,
        services.running(services.PagerDutyService()) as pager,
        services.running(services.TeamsService()) as teams,
        Poster() as poster,
    ):
        app = SlackApp(
            "team",
            services.TOKEN,
            services.CHANNEL,
            poster,
            NotificationThreads(store),
            buttons=True,
            service=slack.url,
        )
        await app.deliver(message, NOW)
        await PagerDuty("pager", services.KEY, poster, service=pager.url).deliver(
            msgspec.structs.replace(message, what=What.OPENED), NOW
        )
        await Teams("teams", teams.url, poster).deliver(message, NOW)
        marked = [text for body in slack.messages.values() for text in services.marked_up(body["blocks"])]
        said = json.dumps(marked)
        assert len(marked) > 5
        assert "<!channel" not in said
        assert "<https://evil" not in said
        card = teams.calls[0][1]["attachments"][0]["content"]
        assert {part["type"] for part in card["body"]} == {"RichTextBlock"}  # text runs know no Markdown
        assert {link["url"].split("/")[2] for link in card["actions"]} == {"g.example"}


async def test_a_page_rings_once_is_acknowledged_and_resolved_under_one_key() -> None:
    async with services.running(services.PagerDutyService()) as pager, Poster() as poster:
        channel = PagerDuty("pager", services.KEY, poster, service=pager.url)
        for what in (What.OPENED, What.OPENED, What.DIAGNOSED, What.RAISED, What.ACKNOWLEDGED):
            await channel.deliver(news(what, acknowledged_by="ana"), NOW)
        assert pager.alerts == {"sentinelstack/i-1": "acknowledged"}
        await channel.deliver(news(What.CLOSED, state=IncidentState.CLOSED), NOW)
    assert pager.pages == ["sentinelstack/i-1"]
    assert pager.alerts == {"sentinelstack/i-1": "resolved"}
    assert pager.calls[0][1]["payload"]["severity"] == "critical"


async def test_a_test_of_the_pager_leaves_nothing_open() -> None:
    async with services.running(services.PagerDutyService()) as pager, Poster() as poster:
        await PagerDuty("pager", services.KEY, poster, service=pager.url).deliver(trial_message(NOW), NOW)
    assert pager.alerts == {"sentinelstack/test": "resolved"}


async def test_a_wrong_routing_key_is_final_and_a_limit_is_not() -> None:
    async with services.running(services.PagerDutyService()) as pager, Poster() as poster:
        with pytest.raises(DeliveryError, match="Event object is invalid") as caught:
            await PagerDuty("pager", "wrong", poster, service=pager.url).deliver(news(What.OPENED), NOW)
        assert not caught.value.retryable
        pager.failures.append((429, {}, "slow down"))
        with pytest.raises(DeliveryError) as caught:
            await PagerDuty("pager", services.KEY, poster, service=pager.url).deliver(news(What.OPENED), NOW)
        assert caught.value.retryable


async def test_mails_of_one_incident_are_one_thread_and_carry_no_header_of_the_traffic() -> None:
    async with services.running(services.MailService()) as server:
        account = Account("127.0.0.1", server.port, "none")
        channel = Mail("team", account, "sentinel@example.org", ("a@example.org", "b@example.org"))
        await channel.deliver(news(What.OPENED, title=HOSTILE), NOW)
        await channel.deliver(news(What.CLOSED, title=HOSTILE, state=IncidentState.CLOSED), NOW)
        first, second = (email.message_from_bytes(raw, policy=email.policy.default) for raw in server.mails)
    assert first["Message-ID"] == second["In-Reply-To"] == second["References"]
    assert first["Bcc"] is None
    assert "\n" not in first["Subject"]
    assert [part.get_content_type() for part in first.iter_parts()] == ["text/plain", "text/html"]
    html = first.get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert len(server.recipients) == 4


async def test_a_server_without_starttls_gets_no_mail() -> None:
    async with services.running(services.MailService()) as server:
        channel = Mail("team", Account("127.0.0.1", server.port, "starttls"), "s@example.org", ("a@example.org",))
        with pytest.raises(DeliveryError, match="STARTTLS") as caught:
            await channel.deliver(news(What.OPENED), NOW)
    assert not caught.value.retryable
    assert server.mails == []


@pytest.mark.parametrize(
    ("verb", "answer", "retryable"),
    [("RCPT", "550 no such user", False), ("RCPT", "450 try later", True), ("MAIL", "552 too much", False)],
)
async def test_a_mail_server_says_whether_to_try_again(verb: str, answer: str, *, retryable: bool) -> None:
    async with services.running(services.MailService()) as server:
        server.refuse[verb] = answer
        channel = Mail("team", Account("127.0.0.1", server.port, "none"), "s@example.org", ("a@example.org",))
        with pytest.raises(DeliveryError) as caught:
            await channel.deliver(news(What.OPENED), NOW)
    assert caught.value.retryable is retryable


async def test_a_mail_server_that_is_away_is_tried_again() -> None:
    channel = Mail("team", Account("127.0.0.1", 1, "none"), "s@example.org", ("a@example.org",))
    with pytest.raises(DeliveryError, match="cannot be reached") as caught:
        await channel.deliver(news(What.OPENED), NOW)
    assert caught.value.retryable
