"""A webhook that does something: one signed POST, never sent twice.

The body: ``{"schema": "sentinelstack.action/1", "id": "a-…", "action": "NAME", "incident_id": "in-…", "upstream": "…",
"at": "2026-01-01T03:00:00Z"}``. ``Idempotency-Key`` is the action's id. With a secret, ``X-Sentinel-Signature`` is
``t=<seconds>,v1=<hex>``: HMAC-SHA256(secret, "<seconds>." + body), as on notifications. Nothing of the traffic is in.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import OutwardError, RemedyError, UnknownOutcomeError
from gateway.outward import Outward

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.plan import Action
    from gateway.domain.policy import OutsideCommand

_ANSWER_BYTES = 4096


class CallWebhook:
    """Doer of ``kind = "webhook"``.

    Args:
        secret: looks up the value of an environment variable by name.
        refusal: given scheme and address, why that address may not be asked; empty when it may.
    """

    def __init__(self, secret: Callable[[str], str | None], refusal: Callable[[str, str], str]) -> None:
        self._secret = secret
        self._refusal = refusal

    async def run(self, command: OutsideCommand, action: Action, now: float) -> str:
        """POST; any 2xx is done, any other answer is not."""
        url = command.get("url") or self._secret(command.get("url_env")) or ""
        if not url:
            raise RemedyError(f"the environment variable {command.get('url_env')} is not set")
        body = document(command, action, now)
        headers = {"Content-Type": "application/json", "User-Agent": "SentinelStack", "Idempotency-Key": action.id}
        if command.get("secret_env"):
            key = self._secret(command.get("secret_env"))
            if not key:
                raise RemedyError(f"the environment variable {command.get('secret_env')} is not set")
            digest = hmac.new(key.encode(), f"{round(now)}.".encode() + body, "sha256").hexdigest()
            headers["X-Sentinel-Signature"] = f"t={round(now)},v1={digest}"
        async with Outward(self._refusal, timeout_s=command.timeout_s, step_s=command.timeout_s) as outward:
            try:
                answer = await outward.exchange("POST", url, headers=headers, most_bytes=_ANSWER_BYTES, body=body)
            except OutwardError as error:
                raise (UnknownOutcomeError if error.reached else RemedyError)(str(error)) from error
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise RemedyError(f"the webhook of {command.name} answered {answer.status}")
        return f"The webhook answered {answer.status}."


def document(command: OutsideCommand, action: Action, now: float) -> bytes:
    """The body."""
    return msgspec.json.encode(
        {
            "schema": "sentinelstack.action/1",
            "id": action.id,
            "action": command.name,
            "incident_id": action.incident_id,
            "upstream": action.upstream,
            "at": datetime.fromtimestamp(round(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
