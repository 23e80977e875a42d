"""Of two targets drawn at random, the one with fewer requests under way.

Two instead of all: with many workers that each know only their own requests, everybody's least loaded target would be
the same one, and they would meet there (Mitzenmacher, "The Power of Two Choices", 2001). Weights count twice, as nginx
counts them in "random two least_conn": in the draw, and in what a request weighs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.proxy.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.upstreams import Target
    from gateway.proxy.outlier import Outliers
    from gateway.proxy.standing import Turn

_PAIR = 2


class TwoChoices(Standing):
    """Draws two targets by weight and takes the one that :meth:`_load` says less of.

    Attributes:
        active: target → requests under way.
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
        super().__init__(targets, panic=panic, slow_start_s=slow_start_s, outliers=outliers)
        self._chance = chance
        self.active: dict[str, int] = {target.name: 0 for target in targets}

    def follow(self, before: Standing, now: float) -> None:
        """What is under way stays known."""
        super().follow(before, now)
        if isinstance(before, TwoChoices):
            self.active = {name: before.active.get(name, 0) for name in self.active}

    def started(self, name: str) -> None:
        """One more under way."""
        if name in self.active:
            self.active[name] += 1

    def finished(self, name: str, now: float, *, seconds: float, failed: bool) -> None:  # noqa: ARG002 - the Protocol
        """One fewer."""
        active = self.active.get(name, 0)
        if active:  # one that began before the target left and came back is not known
            self.active[name] = active - 1

    def _load(self, turn: Turn, now: float) -> float:  # noqa: ARG002 - subclasses need it
        return self.active[turn.name] / turn.weight

    def _best(self, turns: Sequence[Turn], now: float, key: bytes) -> Turn:  # noqa: ARG002 - the Protocol
        if len(turns) == 1:
            return turns[0]
        first = self._draw(turns)
        if len(turns) == _PAIR:
            second = turns[1] if first is turns[0] else turns[0]
        else:
            second = self._draw([turn for turn in turns if turn is not first])
        # Equal loads leave it to the draw, so that weights hold when nothing is under way.
        return second if self._load(second, now) < self._load(first, now) else first

    def _draw(self, turns: Sequence[Turn]) -> Turn:
        point = self._chance() * sum([turn.weight for turn in turns])
        for turn in turns:
            point -= turn.weight
            if point < 0:
                return turn
        return turns[-1]


class LeastRequests(TwoChoices):
    """Balance.LEAST_REQUESTS."""
