"""The buckets one caller is charged together, remembered: their keys as Redis takes them, and what is known of them."""

from __future__ import annotations

from binascii import crc_hqx
from typing import TYPE_CHECKING, Protocol

from gateway.edge.limits import bulk, counted, digest

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.edge.exchange import Exchange
    from gateway.edge.leases import Lease
    from gateway.edge.limits import LimitKey, LimitSet, Verdict

MEMO_ENTRIES = 10_000  # groups kept, as many as verified tokens, about a kilobyte each; emptied when full
SLOTS = 16_384  # of a Redis Cluster


class Known(Protocol):
    """What Redis said before that answers for it now: tokens on lease, or that there is nothing for a while."""

    def verdict(self, now: float) -> Verdict | None:
        """The verdict on one request at ``now`` (monotonic seconds); None when Redis has to be asked again."""


class Group:
    """One caller's buckets under one set of limits."""

    __slots__ = (
        "encoded",
        "heat",
        "heated_at",
        "keys",
        "known",
        "leasing",
        "seen",
        "settle",
        "slots",
    )

    def __init__(self, keys: list[LimitKey]) -> None:
        self.keys = keys
        tags = [digest(whom) for _, whom in keys]
        self.encoded = [encoded(name, tag) for (name, _), tag in zip(keys, tags, strict=True)]
        self.slots = [crc_hqx(tag.encode("ascii"), 0) % SLOTS for tag in tags]  # of each key in a cluster
        self.known: Known | None = None
        self.settle: Lease | None = None  # a lease that is over, to be settled with the next check
        self.leasing = False  # a lease has been asked for
        self.heat = 0  # checks since heated_at
        self.heated_at = 0.0
        self.seen: tuple[int, list[int]] | None = None  # where there are quotas: the tick and Redis's last answers

    def only(self, indexes: list[int]) -> Group:
        """Some of its keys as a group."""
        return Group([self.keys[index] for index in indexes])


class Groups:
    """Groups by caller and limits. Sets of the same content share them: a new snapshot forgets nothing."""

    def __init__(self) -> None:
        self._memo: dict[tuple[str, Hashable], Group] = {}

    def of(self, limits: LimitSet, exchange: Exchange) -> Group:
        """The group this exchange is charged to."""
        whom = limits.whom(exchange) if limits.only is None else counted(limits.only, exchange)
        identity = (limits.identity, whom)
        found = self._memo.get(identity)
        if found is None:
            if len(self._memo) >= MEMO_ENTRIES:
                self._memo.clear()
            found = self._memo[identity] = Group(limits.keys(exchange))
        return found


def encoded(name: str, tag: str) -> bytes:
    """``sentinel:{digest of whom}:name`` as a RESP bulk string; braces: one slot of a cluster per caller.

    What the caller says of itself goes in as a digest, so it can forge no other key.
    """
    return bulk(f"sentinel:{{{tag}}}:{name}".encode())
