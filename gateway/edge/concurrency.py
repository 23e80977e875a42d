"""Counts what is under way at once, per caller and limit, in this process; who has nothing under way is not kept.

A limit holds for a node; of n live workers each takes its n-th part, what is left over going to the first ones, and
never less than 1: together they admit no more than the larger of ``at_once`` and n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.limits import ConcurrencyLimit, LimitMode
from gateway.edge.limits import counted

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange
    from gateway.edge.limits import LimitKey


class UnderWay:
    """How many requests each caller has under way."""

    def __init__(self) -> None:
        self._counts: dict[LimitKey, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def enter(
        self, limits: tuple[ConcurrencyLimit, ...], exchange: Exchange, *, share: int, number: int
    ) -> tuple[ConcurrencyLimit | None, list[ConcurrencyLimit]]:
        """Take a slot of every limit, or of none.

        Args:
            limits: those of the exchange's route and plan.
            exchange: remembers the slots it took; :meth:`leave` gives them back.
            share: how many workers divide the limits.
            number: which of them this is, from 1.

        Returns:
            The limit that has no slot left, if any, and those in shadow mode that had none.
        """
        counts = self._counts
        slots: list[LimitKey] = []
        watched: list[ConcurrencyLimit] = []
        for limit in limits:
            key = (limit.name, counted(limit.scope, exchange))
            if counts.get(key, 0) < part(limit.at_once, share, number):
                slots.append(key)
            elif limit.mode is LimitMode.ENFORCE:
                return limit, []
            else:
                watched.append(limit)
        for key in slots:
            counts[key] = counts.get(key, 0) + 1
        exchange.slots = slots
        return None, watched

    def leave(self, exchange: Exchange) -> None:
        """Give back what the exchange holds, once."""
        slots, exchange.slots = exchange.slots, None
        for key in slots or ():
            left = self._counts[key] - 1
            if left:
                self._counts[key] = left
            else:
                del self._counts[key]


def part(at_once: int, share: int, number: int) -> int:
    """What worker ``number`` of ``share`` may have under way."""
    return max(1, at_once // share + (1 if number <= at_once % share else 0))
