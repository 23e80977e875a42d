"""Keeps requests away from a Redis that fails or is slow, and finds out by itself when it is well again.

The trial is a PING of our own, never somebody's request: while the breaker is open no request waits for Redis at all.
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import TYPE_CHECKING

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.redis_link import RedisLink

PING = b"*1\r\n$4\r\nPING\r\n"
TRIAL_PAUSE_S = 0.25  # between two trials, ± half, so that workers do not try in step
GIVE_UP_S = 1.0  # a connection silent for this long while asked is dropped and made anew

# What limits come to while each node counts for itself; docs/explanation/limits.md derives it.
LOCAL_BOUND = (
    "every node admits at most max(burst, live workers) + rate x time by itself, where the route counts locally"
)

log = logs.get("edge")


class RedisBreaker:
    """Open after any failed or slow call; closed by a PING answered within the budget, or by a fresh connection.

    Args:
        link: the connection it guards.
        budget_s: a trial answered within this closes it.
        live_workers: how many workers divide the limits of this node meanwhile, for the event that says so.
    """

    def __init__(self, link: RedisLink, budget_s: float, live_workers: Callable[[], int] = lambda: 1) -> None:
        self.open = False
        self._live_workers = live_workers
        self.budget_s = budget_s
        self._link = link
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at: float | None = None
        self._stopped = False
        link.on_up = self._close

    def trip(self, reason: str, detail: str = "") -> None:
        """Open, and begin to try; ``detail`` is what Redis said."""
        if self.open or self._stopped:
            return
        self.open = True
        log.warning(
            "limiter.breaker_opened",
            reason=reason,
            detail=detail[:200],
            server=self._link.name,
            live_workers=self._live_workers(),
            bound=LOCAL_BOUND,
        )
        self._later()

    def stop(self) -> None:
        """End the trials for good."""
        self._stopped = True
        self._disarm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        self._disarm()
        if self._stopped:
            return
        pause = TRIAL_PAUSE_S * random.uniform(0.5, 1.5)  # noqa: S311 - spreads a herd, guards nothing
        self._timer = asyncio.get_running_loop().call_later(pause, self._try)

    def _try(self) -> None:
        now = monotonic()
        if self._asked_at is not None:
            if now - self._asked_at > GIVE_UP_S:
                self._link.abort()  # the answer to our PING is LinkLostError now
        elif self._link.ready:
            self._asked_at = now
            self._link.send(PING, self._answered)
        if self.open:
            self._later()

    def _answered(self, reply: object) -> None:
        asked_at, self._asked_at = self._asked_at, None
        took = monotonic() - (asked_at or 0.0)
        if not isinstance(reply, Exception) and took <= self.budget_s:
            self._close()

    def _close(self) -> None:
        self._disarm()
        self._asked_at = None
        if self.open:
            self.open = False
            log.info("limiter.breaker_closed", server=self._link.name)
