"""One coarse sweep for every deadline of the proxy, instead of a timer per request.

Whatever is watched carries ``deadline`` in monotonic seconds and moves it by plain assignment, which costs nothing on
the request path. The sweep runs ten times a second while anything is watched and not at all otherwise.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Callable

# A deadline is met up to this much late; timeouts are configured in seconds, so a tenth is fine enough.
SWEEP_S = 0.1

_log = logs.get("proxy")


class Watched(Protocol):
    """Something with a deadline."""

    deadline: float

    def expired(self) -> None:
        """The deadline has passed. Called on every sweep until the deadline moves or the watch ends."""


class Sweep:
    """The watch over all deadlines of one event loop.

    Args:
        on_tick: called after each sweep; where counters are handed over in bulk.
    """

    def __init__(self, on_tick: Callable[[], None]) -> None:
        self._on_tick = on_tick
        self._watched: set[Watched] = set()
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, thing: Watched) -> None:
        """Begin to watch; the sweep is armed by the first one."""
        self._watched.add(thing)
        self.arm()

    def arm(self) -> None:
        """See to it that a sweep comes, even if nothing is watched: there is something to hand over."""
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._run)

    def forget(self, thing: Watched) -> None:
        """End the watch; harmless when there is none."""
        self._watched.discard(thing)

    def close(self) -> None:
        """Watch nothing any more."""
        self._closed = True
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for thing in [thing for thing in self._watched if thing.deadline <= now]:
            # What one expiry frees may have served the next in the list: it is judged again when its turn comes.
            if thing not in self._watched or thing.deadline > now:
                continue
            try:
                thing.expired()
            except Exception:  # noqa: BLE001 - a task border: one bad exchange must not end the watch over all others
                _log.exception("proxy.sweep_failed")
        self._on_tick()
        if self._watched and self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._run)
