"""One coarse sweep over the deadlines of all client connections of a worker, instead of a timer for each.

Whatever is watched carries ``deadline`` in monotonic microseconds and moves it by plain assignment, which is all that a
request pays. The sweep runs ten times a second while anything is watched, and not at all otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway import logs
from gateway.edge.exchange import now_us

# A deadline is met up to this much late. Timeouts are configured in seconds, so a tenth is fine enough.
SWEEP_S = 0.1
NEVER = 1 << 62  # a deadline that does not come

_log = logs.get("edge")


class Watched(Protocol):
    """Something with a deadline."""

    deadline: int

    def expired(self, now: int) -> None:
        """The deadline has passed. Called on every sweep until the deadline moves or the watch ends."""


class Sweep:
    """The watch over all deadlines of one event loop."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, thing: Watched) -> None:
        """Begin to watch; the sweep is armed by the first one."""
        self._watched.add(thing)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._run)

    def forget(self, thing: Watched) -> None:
        """End the watch; harmless when there is none."""
        self._watched.discard(thing)
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        now = now_us()
        for thing in [thing for thing in self._watched if thing.deadline <= now]:
            # What one expiry does may have moved the deadline of the next in the list, or ended its watch.
            if thing not in self._watched or thing.deadline > now:
                continue
            try:
                thing.expired(now)
            except Exception:  # noqa: BLE001 - a task border: one bad connection must not end the watch over all others
                _log.exception("edge.sweep_failed")
        if self._watched and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._run)
