"""Proofs of identity an operator takes back before they expire by themselves."""

from __future__ import annotations

import msgspec

# In force at once: a snapshot holds them all. Who needs more changes the signing secret, which revokes every token.
MOST_REVOCATIONS = 100_000


class Revocation(msgspec.Struct, frozen=True):
    """One id that workers refuse: a token's ``jti``, or a client certificate's serial number in lower-case hex.

    It ends by itself at ``expires_at`` (seconds since the epoch); what it names should have expired by then.
    """

    id: str
    created_at: float
    expires_at: float
    reason: str = ""
