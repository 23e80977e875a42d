"""Which target the next request goes to: by turns, or by one of the other ways an upstream may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.upstreams import Balance
from gateway.proxy.consistent_hash import ConsistentHash
from gateway.proxy.ewma import Ewma
from gateway.proxy.least_requests import LeastRequests
from gateway.proxy.standing import NONE_TRIED, Standing, next_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.domain.upstreams import Target, Upstream
    from gateway.proxy.outlier import Outliers
    from gateway.proxy.standing import Turn


class Rotation(Standing):
    """Smooth weighted round robin."""

    def pick(self, now: float, *, tried: Collection[str] = NONE_TRIED, key: bytes = b"") -> Target | None:
        """As for every way to balance; written out, because it is what most requests meet."""
        if now >= self._next_change:
            self._settle(now)
        if tried:
            return self._another(tried, now, key)
        if not self._all:
            return None
        if self._held:
            return self._pick_held(now, key)
        return self._all[0].target if len(self._all) == 1 else next_turn(self._all).target

    def _best(self, turns: Sequence[Turn], now: float, key: bytes) -> Turn:  # noqa: ARG002 - the same for all ways
        # A second choice pays for its turn like a first one; else all retries of a bad target would fall on one other.
        return next_turn(turns)

    def _pick_held(self, now: float, key: bytes) -> Target:
        turn = next_turn(self._all)
        if self._ignored:
            return self._counted(turn).target
        if turn.name not in self._shares or self._takes(turn.name, now):
            return turn.target
        return (next_turn(self._full) if self._full else self._instead(turn, now, key)).target


def balanced(upstream: Upstream, chance: Callable[[], float], outliers: Outliers | None) -> Standing:
    """The targets of ``upstream``, balanced as it asks for; ``chance`` gives numbers in [0, 1)."""
    targets, panic, slow_start_s = upstream.targets, upstream.panic, upstream.slow_start_s
    if upstream.balance is Balance.LEAST_REQUESTS:
        return LeastRequests(targets, chance, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
    if upstream.balance is Balance.EWMA:
        return Ewma(targets, chance, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
    if upstream.balance is Balance.HASH:
        return ConsistentHash(targets, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
    return Rotation(targets, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
