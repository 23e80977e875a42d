"""Of two targets drawn at random, the one whose recent latency times the requests under way is lower.

The latency is Finagle's peak EWMA: a slower answer counts in full at once, faster ones win it back over ten seconds,
and the memory of a target that gets no requests fades, so that it is tried again. A target that has not answered
anything yet, but is busy, is taken for slow until it does.

A failure counts as its time and a second more. Without that, a target that refuses everything within a millisecond
would look like the best of all and get the most requests.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from gateway.proxy.least_requests import TwoChoices

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.upstreams import Target
    from gateway.proxy.outlier import Outliers
    from gateway.proxy.standing import Standing, Turn

DECAY_S = 10.0  # Finagle's default
FAILURE_S = 1.0  # what a failure costs on top of its time: far more than answers usually take
UNKNOWN_S = 1000.0  # of a target with requests under way that has never answered one


class Ewma(TwoChoices):
    """Balance.EWMA.

    Attributes:
        costs: target → what an answer of it takes in seconds, and when that was reckoned.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        chance: Callable[[], float],
        *,
        panic: float = 0.0,
        slow_start_s: float = 0.0,
        outliers: Outliers | None = None,
    ) -> None:
        super().__init__(targets, chance, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
        self.costs: dict[str, tuple[float, float]] = {}

    def follow(self, before: Standing, now: float) -> None:
        """What was learnt of targets that stay is kept."""
        super().follow(before, now)
        if isinstance(before, Ewma):
            self.costs = {name: cost for name, cost in before.costs.items() if name in self.active}

    def finished(self, name: str, now: float, *, seconds: float, failed: bool) -> None:
        """One fewer under way, and one time more to go by."""
        super().finished(name, now, seconds=seconds, failed=failed)
        if name not in self.active:
            return
        cost, at = self.costs.get(name, (0.0, now))
        cost = max(cost, seconds)
        kept = exp((at - now) / DECAY_S)
        sample = seconds + FAILURE_S if failed else seconds
        self.costs[name] = cost * kept + sample * (1 - kept), now

    def _load(self, turn: Turn, now: float) -> float:
        known = self.costs.get(turn.name)
        active = self.active[turn.name]
        if known is None:
            return UNKNOWN_S * (1 + active / turn.weight) if active else 0.0
        cost, at = known
        # With nothing under way weights speak in the draw alone, as for equal targets they should.
        return cost * exp((at - now) / DECAY_S) * (1 + active / turn.weight)
