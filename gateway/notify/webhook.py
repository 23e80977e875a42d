"""A webhook of the operator's own: one JSON document per message, versioned, signed, safe to receive twice.

The body, version 1 (fields may be added; a change of meaning raises the number)::

    {"schema": "sentinelstack.notification/1", "key": "incident:i-1:opened:1", "what": "opened",
     "at": "2026-01-01T03:00:00Z", "severity": "P1", "title": "…", "lines": ["…"], "fields": {"Where": "…"},
     "links": [{"text": "…", "url": "…", "wants_decision": false}], "incident_id": "i-1", "tenant": ""}

Headers: ``Idempotency-Key`` is the key, the same at every try. With a secret, ``X-Sentinel-Signature`` is
``t=<seconds>,v1=<hex>``, where hex is HMAC-SHA256(secret, "<seconds>." + body): a receiver recomputes it, compares in
constant time, and refuses a ``t`` older than five minutes.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Message


class Webhook:
    """One receiver."""

    kind = "webhook"
    draws_together = False  # every message is one event for a program

    def __init__(self, name: str, url: str, poster: Poster, secret: bytes = b"") -> None:
        self.name = name
        self._url = url
        self._poster = poster
        self._secret = secret

    async def deliver(self, message: Message, now: float) -> None:
        """Post the message. Raises DeliveryError."""
        body = document(message)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "SentinelStack",
            "Idempotency-Key": message.key,
        }
        if self._secret:
            headers["X-Sentinel-Signature"] = signature(self._secret, body, round(now))
        await self._poster.post(self._url, body, headers, now)


def document(message: Message) -> bytes:
    """The body for this message."""
    return msgspec.json.encode(
        {
            "schema": f"sentinelstack.notification/{message.version}",
            "key": message.key,
            "what": message.what,
            "at": datetime.fromtimestamp(round(message.at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "severity": message.severity,
            "title": message.title,
            "lines": message.lines,
            "fields": dict(message.fields),
            "links": message.links,
            "incident_id": message.incident_id,
            "tenant": message.tenant,
        }
    )


def signature(secret: bytes, body: bytes, at: int) -> str:
    """``t=<at>,v1=<hex>`` over the time and the exact bytes of the body."""
    digest = hmac.new(secret, f"{at}.".encode() + body, "sha256").hexdigest()
    return f"t={at},v1={digest}"
