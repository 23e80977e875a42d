"""What the outbox needs kept: a table of messages with a unique key, a due time, and a lease per claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.outbox import OutboxEntry


class OutboxStore(Protocol):
    """Messages that wait, satisfied by the store.

    An entry is due at its ``next_at`` (first: when enqueued) and no more once delivered or given up. All times are
    seconds since the epoch. Every method may raise StoreUnavailableError.
    """

    async def enqueue(self, dedup_key: str, channel: str, payload: str, now: float, *, delivered: bool = False) -> bool:
        """Keep a message; False, and nothing changes, when ``dedup_key`` was ever enqueued before.

        With ``delivered`` it went out already, while the store was away, and is never due.
        """
        ...

    async def told(self, key_prefix: str) -> frozenset[str]:
        """The channels of all entries, in whatever state, whose ``dedup_key`` begins with ``key_prefix``."""
        ...

    async def due(self, now: float, limit: int, lease_s: float) -> Sequence[OutboxEntry]:
        """Claim at most ``limit`` due entries, oldest due time first.

        Claiming raises ``attempts`` and moves ``next_at`` to ``now + lease_s`` in one transaction, so nobody else is
        handed the same entry meanwhile, and one whose claimer died comes back by itself.
        """
        ...

    async def delivered(self, entry_id: str, now: float) -> None:
        """The channel took it: never due again."""
        ...

    async def failed(self, entry_id: str, error: str, next_at: float) -> None:
        """Not this time: due again at ``next_at``; ``error`` is shown to people, at most 500 characters."""
        ...

    async def given_up(self, entry_id: str, error: str, now: float) -> None:
        """Never due again, kept for people to see."""
        ...
