"""A notification on its way out, as it is kept between tries."""

from __future__ import annotations

import msgspec


class OutboxEntry(msgspec.Struct, frozen=True):
    """One message for one channel. ``payload`` is JSON text that only the notify stage reads."""

    id: str
    dedup_key: str  # unique in the outbox: the same news for the same channel is kept once
    channel: str  # name of a NotifyChannel
    payload: str
    created_at: float  # seconds since the epoch
    attempts: int  # tries begun, this claim included: 1 on the first
    due_at: float = 0.0  # before that it was not to go out


class Undelivered(msgspec.Struct, frozen=True):
    """A message that did not arrive: given up, or tried and waiting."""

    key: str
    channel: str
    created_at: float
    attempts: int
    given_up: bool
    error: str
