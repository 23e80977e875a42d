"""The same caller meets the same target, as far as that is up: weighted rendezvous hashing over a table of slots.

A caller's key falls into one of 4,096 slots, and every slot has its own order of the targets (Thaler and Ravishankar,
1998; weights as by Schindelhauer and Schomaker, 2005: each target's place is decided by -weight ÷ ln(hash)). So when a
target leaves, only its own callers move, and they spread over all others; when it is back, so are they. While the first
of the order is held back, the next one in full service stands in. All workers and nodes agree without talking.

Orders are made when a slot is first asked for, and kept: at most 4,096 short tuples.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING

from gateway.proxy.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.forwarding import Outbound
    from gateway.domain.upstreams import Target
    from gateway.proxy.outlier import Outliers
    from gateway.proxy.standing import Turn

SLOTS = 4096  # a target's part is exact to about 1/√(4,096 ÷ targets): 2 % with two, 5 % with ten
KEPT_PLACES = 8  # of a slot's order; who needs the ninth has it worked out anew
_MANTISSA = 1 << 53


class ConsistentHash(Standing):
    """Balance.HASH."""

    def __init__(
        self,
        targets: tuple[Target, ...],
        *,
        panic: float = 0.0,
        slow_start_s: float = 0.0,
        outliers: Outliers | None = None,
    ) -> None:
        super().__init__(targets, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
        self._orders: dict[int, tuple[Turn, ...]] = {}

    def _best(self, turns: Sequence[Turn], now: float, key: bytes) -> Turn:  # noqa: ARG002 - the Protocol
        slot = int.from_bytes(blake2b(key, digest_size=8).digest()) % SLOTS
        order = self._orders.get(slot)
        if order is None:
            order = self._orders[slot] = self._order(slot, self._all)[:KEPT_PLACES]
        if turns is self._all:
            return order[0]
        may = {turn.name for turn in turns}
        return next((turn for turn in order if turn.name in may), None) or self._order(slot, turns)[0]

    def _pick_held(self, now: float, key: bytes) -> Target:
        first = self._best(self._all, now, key)
        if self._ignored:
            return self._counted(first).target
        if first.name not in self._shares or self._takes(first.name, now):
            return first.target
        if self._full:
            return self._best(self._full, now, key).target
        fit = [turn for turn in self._all if self._fit(turn.name, now)]
        return (self._best(fit, now, key) if fit else self._counted(first)).target

    def _order(self, slot: int, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        return tuple(sorted(turns, key=lambda turn: _place(slot, turn.name, turn.weight)))


def _place(slot: int, name: str, weight: int) -> float:
    """Smaller comes first; the smallest of several is theirs with a chance in proportion to their weights."""
    digest = blake2b(b"%d|%b" % (slot, name.encode()), digest_size=8).digest()
    uniform = ((int.from_bytes(digest) % _MANTISSA) + 0.5) / _MANTISSA
    return -log(uniform) / weight


def key_reader(hash_by: str) -> Callable[[Outbound], bytes]:
    """How to tell whose request it is, by an upstream's ``hash_by``; where that is missing it is the client's address.

    Names and values are kept apart ("s" and "c" before them), so that nobody can take a client's place by a header.
    """
    kind, _, name = hash_by.partition(":")
    wanted = name.lower().encode()

    def by_header(outbound: Outbound) -> bytes:
        value = next((value for field, value in outbound.headers if field == wanted), b"")
        return b"h" + value if value else _client(outbound)

    def by_cookie(outbound: Outbound) -> bytes:
        value = _cookie(outbound, name.encode())
        return b"k" + value if value else _client(outbound)

    def by_subject(outbound: Outbound) -> bytes:
        principal = outbound.principal
        return f"s{principal.tenant}\0{principal.subject}".encode() if principal.subject else _client(outbound)

    return {"header": by_header, "cookie": by_cookie, "subject": by_subject}.get(kind, _client)


def _client(outbound: Outbound) -> bytes:
    return b"c" + outbound.client


def _cookie(outbound: Outbound, name: bytes) -> bytes:
    """The value of the first cookie of that name (RFC 6265 section 5.4: pairs are parted by semicolons)."""
    for field, value in outbound.headers:
        if field == b"cookie":
            for pair in value.split(b";"):
                key, equals, content = pair.strip().partition(b"=")
                if equals and key == name:
                    return content
    return b""
