"""Microsoft Teams, and what takes the same: an Adaptive Card to the webhook of a workflow.

The card is version 1.4 (adaptivecards.io); Teams takes messages of 28 KB. All text stands in text runs, which no client
reads as Markdown, so a link, a mention or a style cannot come out of a name in the traffic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import Severity

if TYPE_CHECKING:
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Message

MOST_BYTES = 28 * 1024
_MOST_ACTIONS = 6  # Teams shows no more
_LOUD = frozenset({Severity.P1, Severity.P2})

Json = dict[str, object]


class Teams:
    """One channel or chat, behind one workflow."""

    kind = "teams"
    draws_together = True

    def __init__(self, name: str, url: str, poster: Poster) -> None:
        self.name = name
        self._url = url
        self._poster = poster

    async def deliver(self, message: Message, now: float) -> None:
        """Post the card. Raises DeliveryError."""
        await self._poster.post(self._url, body(message), {"Content-Type": "application/json"}, now)


def body(message: Message) -> bytes:
    """The message for Teams; lines are left off at the end until it fits."""
    lines = message.lines
    while True:
        encoded = msgspec.json.encode(payload(msgspec.structs.replace(message, lines=lines)))
        if len(encoded) <= MOST_BYTES or not lines:
            return encoded
        lines = lines[:-1]


def payload(message: Message) -> Json:
    """One message with one card."""
    head = f"{message.severity} · {message.title}"
    parts: list[Json] = [
        _text(head, size="large", weight="bolder", color="attention" if message.severity in _LOUD else "default")
    ]
    parts += [_text(line) for line in message.lines]
    parts += [_text(f"{name}: {value}", size="small", isSubtle=True) for name, value in message.fields]
    card: Json = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": head,
        "body": parts,
        "msteams": {"width": "Full"},
    }
    actions = [
        {"type": "Action.OpenUrl", "title": link.text, "url": link.url}
        for link in message.links
        if link.url.startswith(("https://", "http://"))
    ]
    if actions:
        card["actions"] = actions[:_MOST_ACTIONS]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _text(text: str, **style: object) -> Json:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}
