"""What Slack sends when somebody presses a button: whether it is Slack's, and what was pressed. Pure.

Verified as docs.slack.dev, authentication/verifying-requests-from-slack says: HMAC-SHA256 of ``v0:TIME:BODY`` under the
app's signing secret, over the exact bytes, compared in constant time, no older than five minutes.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

import msgspec

from gateway.errors import InvalidInputError, UnauthenticatedError

WINDOW_S = 300.0
MOST_BYTES = 256 * 1024  # the message with its blocks comes back
_MOST_TEXT = 300


class Pressed(msgspec.Struct, frozen=True):
    """One press of one button."""

    user: str  # Slack's id of the member
    channel: str  # Slack's id of the channel
    button: str  # approve, reject, acknowledge, open
    value: str


class _Named(msgspec.Struct, frozen=True):
    id: str = ""


class _Action(msgspec.Struct, frozen=True):
    action_id: str = ""
    value: str = ""


class _Payload(msgspec.Struct, frozen=True):
    type: str = ""
    user: _Named = _Named()
    channel: _Named = _Named()
    actions: tuple[_Action, ...] = ()


def verify(secrets: tuple[bytes, ...], timestamp: str, signature: str, body: bytes, now: float) -> int:
    """Which of the secrets signed it, by its place.

    Raises:
        UnauthenticatedError: none did, or too long ago, or the time is missing.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):  # noqa: PLR2004 - digits of a time
        raise UnauthenticatedError("this did not come from Slack: X-Slack-Request-Timestamp is missing")
    if abs(now - int(timestamp)) > WINDOW_S:
        raise UnauthenticatedError(
            "this was signed more than five minutes ago",
            remedy="Look at the clock of this machine, if Slack sent it now.",
        )
    text = b"v0:" + timestamp.encode() + b":" + body
    found = -1
    for place, secret in enumerate(secrets):
        expected = "v0=" + hmac.new(secret, text, "sha256").hexdigest()
        if hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            found = place
    if found < 0:
        raise UnauthenticatedError(
            "the signature is not that of the Slack app", remedy="Look at the variable with the signing secret."
        )
    return found


def read(body: bytes) -> Pressed | None:
    """What was pressed, or None for an interaction of another kind. Raises InvalidInputError."""
    try:
        fields = parse_qs(body.decode("utf-8"), strict_parsing=True, max_num_fields=10)
        payload = msgspec.json.decode(fields["payload"][0], type=_Payload)
    except (ValueError, KeyError, msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError("this is no interaction of Slack", field="payload") from error
    if payload.type != "block_actions" or not payload.actions:
        return None
    first = payload.actions[0]
    texts = (payload.user.id, payload.channel.id, first.action_id, first.value)
    if any(len(text) > _MOST_TEXT or not text.isprintable() for text in texts):
        raise InvalidInputError("this is no press of a button of ours", field="payload")
    return Pressed(*texts)
