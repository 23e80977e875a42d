"""PagerDuty by Events API v2: one alert per incident, triggered, acknowledged and resolved under one dedup key.

The limits are PagerDuty's (developer.pagerduty.com, events-api-v2): a summary of 1,024 characters, a key of 255, an
event of 512 KB. Only what should reach a pager goes there: that it began, got worse, needs a person, is taken care of,
is over. The rest of the story stands on the incident's page, whose link is in every event.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import Severity
from gateway.notify.message import What

if TYPE_CHECKING:
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Message

SERVICE = "https://events.pagerduty.com"
MOST_SUMMARY = 1024
MOST_KEY = 255
_SEVERITIES = {
    Severity.P1: "critical",
    Severity.P2: "error",
    Severity.P3: "warning",
    Severity.P4: "info",
}
_EVENTS = {
    What.OPENED: "trigger",
    What.RAISED: "trigger",
    What.ESCALATED: "trigger",
    What.UNACKNOWLEDGED: "trigger",
    What.PROPOSED: "trigger",
    What.ACKNOWLEDGED: "acknowledge",
    What.CLOSED: "resolve",
}


class PagerDuty:
    """One service of PagerDuty, by its routing key."""

    kind = "pagerduty"
    draws_together = False  # an event belongs to one incident's alert

    def __init__(self, name: str, routing_key: str, poster: Poster, *, service: str = SERVICE) -> None:
        self.name = name
        self._routing_key = routing_key
        self._url = f"{service.rstrip('/')}/v2/enqueue"
        self._poster = poster

    async def deliver(self, message: Message, now: float) -> None:
        """Send the event, if the news is for a pager. Raises DeliveryError."""
        if message.what is What.TEST:  # an alert that is resolved at once: it arrives, and nothing stays open
            await self._send(event(message, "trigger", self._routing_key), now)
            await self._send(event(message, "resolve", self._routing_key), now)
        elif message.what in _EVENTS:
            await self._send(event(message, _EVENTS[message.what], self._routing_key), now)

    async def _send(self, body: dict[str, object], now: float) -> None:
        await self._poster.post(self._url, msgspec.json.encode(body), {"Content-Type": "application/json"}, now)


def event(message: Message, action: str, routing_key: str) -> dict[str, object]:
    """The body of one event; what only a trigger carries is left out of the others."""
    body: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": dedup_key(message),
    }
    if action != "trigger":
        return body
    page = next((link.url for link in message.links if not link.wants_decision), "")
    body |= {
        "client": "SentinelStack",
        "payload": {
            "summary": _cut(message.title, MOST_SUMMARY),
            "source": "SentinelStack",
            "severity": _SEVERITIES[message.severity],
            "timestamp": datetime.fromtimestamp(message.at, UTC).isoformat(timespec="milliseconds"),
            "component": _cut(dict(message.fields).get("Where", "all traffic"), MOST_KEY),
            "class": str(message.what),
            "custom_details": {"lines": list(message.lines), **dict(message.fields)},
        },
        "links": [{"href": link.url, "text": link.text} for link in message.links],
    }
    return body | ({"client_url": page} if page else {})


def dedup_key(message: Message) -> str:
    """The same for all news of one incident, so that a page is one page however often it is sent."""
    return _cut(f"sentinelstack/{message.incident_id}" if message.incident_id else "sentinelstack/test", MOST_KEY)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
