"""What the Slack app shows: the root message of an incident with its buttons, and news in its thread. Pure.

Limits (docs.slack.dev, reference/block-kit): 50 blocks, 3,000 characters in a section, 75 in a button, 2,000 in a
button's value, 5 elements shown of an actions block without folding; a confirmation has a title of 100, a text of 300,
answers of 30.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.notify import slack
from gateway.notify.message import What

if TYPE_CHECKING:
    from gateway.notify.message import Decision, Link, Message
    from gateway.notify.slack import Json

APPROVE = "approve"
REJECT = "reject"
ACKNOWLEDGE = "acknowledge"
OPEN = "open"  # only leads to the dashboard; Slack reports the click all the same
MOST_BUTTON_TEXT = 75
MOST_BUTTON_VALUE = 2000
MOST_CONFIRM_TEXT = 300
MOST_URL = 3000
_SEPARATOR = "|"


def root(message: Message, *, buttons: bool) -> Json:
    """The incident as it stands now: the first message of its thread, rewritten with every piece of news."""
    head = f"{message.severity} · {message.about or message.title}"
    mark = "✓ " if message.what is What.CLOSED else ""
    blocks = [slack.section(f"*{slack.styled(mark + head, slack.MOST_TEXT - 2)}*")]
    lines = message.standing or message.lines
    blocks += [slack.section(text) for text in slack.paragraphs(lines)]
    blocks += slack.fields(message.fields)
    if elements := _buttons(message, buttons=buttons):
        blocks.append({"type": "actions", "elements": elements})
    notice = slack.escaped(" ".join((head, *lines[:1])), slack.MOST_NOTICE)
    return {"text": notice, "blocks": blocks[: slack.MOST_BLOCKS]}


def news(message: Message) -> Json:
    """One piece of news, for the thread."""
    blocks = [slack.section(f"*{slack.styled(message.title, slack.MOST_TEXT - 2)}*")]
    blocks += [slack.section(text) for text in slack.paragraphs(message.lines)]
    notice = slack.escaped(" ".join((message.title, *message.lines[:1])), slack.MOST_NOTICE)
    return {"text": notice, "blocks": blocks[: slack.MOST_BLOCKS]}


def pressed(value: str) -> tuple[str, str]:
    """Action id and fingerprint out of a button's value."""
    action_id, _, fingerprint = value.rpartition(_SEPARATOR)
    return action_id, fingerprint


def _buttons(message: Message, *, buttons: bool) -> list[Json]:
    made: list[Json] = []
    if buttons and message.what is not What.CLOSED:
        if message.decision is not None:
            made += _deciding(message.decision)
        if not message.acknowledged:
            made.append(_button("I take care of it", ACKNOWLEDGE, value=message.incident_id))
    made += [link for one in message.links if (link := _leading(one, decides=buttons)) is not None]
    return made[:5]


def _deciding(decision: Decision) -> list[Json]:
    value = f"{decision.action_id}{_SEPARATOR}{decision.fingerprint}"
    if len(value) > MOST_BUTTON_VALUE:
        return []  # a torn value would decide nothing; the link to the dashboard stays
    confirm: Json = {
        "title": _plain("Do exactly this?", 100),
        "text": _plain(decision.effect, MOST_CONFIRM_TEXT),
        "confirm": _plain("Approve", 30),
        "deny": _plain("Not now", 30),
    }
    return [
        _button("Approve", APPROVE, value=value, style="primary", confirm=confirm),
        _button("Reject", REJECT, value=value, style="danger"),
    ]


def _leading(link: Link, *, decides: bool) -> Json | None:
    if (link.wants_decision and decides) or not link.url.startswith(("https://", "http://")):
        return None
    if len(link.url) > MOST_URL:
        return None
    return _button(link.text, f"{OPEN}_decision" if link.wants_decision else OPEN, url=link.url)


def _button(text: str, action_id: str, **more: object) -> Json:
    return {"type": "button", "text": _plain(text, MOST_BUTTON_TEXT), "action_id": action_id, **more}


def _plain(text: str, limit: int) -> Json:
    # plain_text reads &, < and > as what they are, so nothing is escaped; and emoji names stay names.
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return {"type": "plain_text", "text": cut, "emoji": False}
