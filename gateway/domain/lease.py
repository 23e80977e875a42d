"""The right to lead, for a while."""

from __future__ import annotations

import msgspec


class Lease(msgspec.Struct, frozen=True):
    """What the holder got. ``fence`` goes on every directive: the edge refuses a lower one than it has seen."""

    name: str
    holder: str
    fence: int
    expires_at: float  # by the database's clock, seconds since the epoch
