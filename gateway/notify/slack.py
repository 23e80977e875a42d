"""Slack by incoming webhook: Block Kit within its limits, hostile text escaped, decisions by a link to the dashboard.

The limits are Slack's (docs.slack.dev, reference/block-kit): 50 blocks, 3,000 characters of text in a section, ten
fields of 2,000. Slack reads ``&``, ``<`` and ``>`` as markup, so a mention or a disguised link needs one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Link, Message

MOST_BLOCKS = 50
MOST_TEXT = 3000
MOST_FIELDS = 10
MOST_FIELD_TEXT = 2000
MOST_NOTICE = 1000  # what a phone shows before the message is opened
_MOST_LINK = 1400  # two fit into a section whole; a longer one is left out, since a torn one leads elsewhere
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Inside our own bold, these would end it or begin another style; the look-alikes do not.
_NO_STYLE = str.maketrans({"*": "∗", "_": "‗", "~": "∼", "`": "ˋ"})

Json = dict[str, object]


class Slack:
    """One Slack channel, behind one incoming webhook."""

    kind = "slack"
    draws_together = True

    def __init__(self, name: str, url: str, poster: Poster) -> None:
        self.name = name
        self._url = url
        self._poster = poster

    async def deliver(self, message: Message, now: float) -> None:
        """Post the message. Raises DeliveryError."""
        body = msgspec.json.encode(payload(message))
        await self._poster.post(self._url, body, {"Content-Type": "application/json"}, now)


def payload(message: Message) -> Json:
    """The body for Slack: a notice for the lock screen, and the blocks."""
    head = f"{message.severity} · {message.title}"
    blocks: list[Json] = [section(f"*{styled(head, MOST_TEXT - 2)}*")]
    blocks += [section(text) for text in paragraphs(message.lines)]
    blocks += fields(message.fields)
    if links := [made for link in message.links if 0 < len(made := _link(link)) <= _MOST_LINK]:
        blocks.append(section("  ·  ".join(links[:2])))
    notice = escaped(" ".join((head, *message.lines[:1])), MOST_NOTICE)
    return {"text": notice, "blocks": blocks[:MOST_BLOCKS], "unfurl_links": False, "unfurl_media": False}


def escaped(text: str, limit: int) -> str:
    """The text with Slack's three characters escaped, cut so that no escape is torn and ``limit`` holds."""
    out: list[str] = []
    length = 0
    for char in text:
        piece = _ESCAPES.get(char, char)
        if length + len(piece) > limit - 1:
            return "".join(out) + "…"
        out.append(piece)
        length += len(piece)
    return "".join(out)


def styled(text: str, limit: int) -> str:
    """The same for text inside our own bold, which it can neither end nor change."""
    return escaped(text.translate(_NO_STYLE), limit)


def fields(pairs: tuple[tuple[str, str], ...]) -> list[Json]:
    """Names with their values, as the one section they fit into."""
    made = [
        _text(f"*{styled(name, 100)}*\n{escaped(value, MOST_FIELD_TEXT - 110)}") for name, value in pairs[:MOST_FIELDS]
    ]
    return [{"type": "section", "fields": made}] if made else []


def paragraphs(lines: tuple[str, ...]) -> list[str]:
    """The lines, as few texts of at most MOST_TEXT characters as will hold them."""
    texts: list[str] = []
    for line in lines:
        safe = escaped(line, MOST_TEXT)
        if texts and len(texts[-1]) + 1 + len(safe) <= MOST_TEXT:
            texts[-1] += "\n" + safe
        elif safe:
            texts.append(safe)
    return texts[: MOST_BLOCKS - 3]


def _link(link: Link) -> str:
    # The characters that would end the link early; everything else in our own URLs is plain.
    if not link.url.startswith(("https://", "http://")):
        return ""
    url = link.url.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace(" ", "%20")
    text = f"<{url}|{escaped(link.text.translate(_NO_STYLE), 75)}>"
    return f"*{text}*" if link.wants_decision else text


def section(text: str) -> Json:
    """A block of text, already escaped."""
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> Json:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # verbatim: names and addresses do not become links
