"""How many WebSockets are open, by route: what a worker still carries that no record tells of yet."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.edge.exchange import Exchange
    from gateway.metrics import WorkerCounters

_NAME = "sentinel_websockets_open"


class OpenWebSockets:
    """Keeps the gauge. One per worker; routes are names of the configuration, so there are not many."""

    def __init__(self, counters: WorkerCounters) -> None:
        self._counters = counters
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, exchange: Exchange) -> Iterator[None]:
        """One more is open inside this, however it ends."""
        route = exchange.route.name if exchange.route is not None else ""
        self._count(route, 1)
        try:
            yield
        finally:
            self._count(route, -1)

    def _count(self, route: str, change: int) -> None:
        self._open[route] += change
        if not self._open[route]:
            del self._open[route]  # a route may leave the configuration
        self._counters.hold(_NAME, {(name,): float(number) for name, number in self._open.items()})
