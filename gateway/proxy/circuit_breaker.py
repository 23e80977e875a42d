"""Stops asking an upstream that fails too often, and asks again carefully.

| state | what a request meets | what ends the state |
|---|---|---|
| closed | goes on | the failing share of the window reaches the limit → open |
| open | 503 at once | ``open_s`` have passed → half open |
| half open | one at a time goes on, the others meet 503 | its success → closed; its failure → open |

Judged is what became of whole requests, not of single attempts: a failure that another target healed is none of the
upstream's. Requests let through before the circuit opened say nothing about it afterwards, so their ends are left out.
Times are monotonic seconds.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING

from gateway.proxy.probe import ProbeSlot

if TYPE_CHECKING:
    from gateway.domain.upstreams import Breaker

SLICES = 10  # of the window; the oldest is dropped whole, so the window is exact to a tenth of its length
ORDINARY = 0  # the ticket of a request that is no probe


class State(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """The circuit of one upstream, as one worker sees it.

    Attributes:
        state: as of the last call.
        opened: how often it has opened, for the caller to count and set back.
    """

    def __init__(self, settings: Breaker) -> None:
        self.settings = settings
        self.state = State.CLOSED
        self.opened = 0
        self._open_until = 0.0
        self._probe = ProbeSlot()
        self._era = 0  # which stretch of being closed a request belongs to
        self._slice_s = settings.window_s / SLICES
        self._newest = 0
        self._requests = [0] * SLICES
        self._failures = [0] * SLICES

    def admit(self, now: float) -> tuple[int, int] | None:
        """A ticket for :meth:`finished`, or None when the request must not go on."""
        if self.state is State.CLOSED:
            return ORDINARY, self._era
        if self.state is State.OPEN:
            if now < self._open_until:
                return None
            self.state = State.HALF_OPEN
        if self._probe.proven(now):
            self._close()
            return ORDINARY, self._era
        return (self._probe.begin(now), self._era) if self._probe.free(now) else None

    def answered(self, ticket: tuple[int, int], now: float) -> None:
        """The head of a good answer arrived; the rest may take its time."""
        if ticket[0] != ORDINARY:
            self._probe.answered(ticket[0], now)

    def finished(self, ticket: tuple[int, int], now: float, *, well: bool | None) -> None:
        """How a request that was let through ended; ``well`` is None when that is not the upstream's doing."""
        number, era = ticket
        if number != ORDINARY:
            self._probe.end(number)
        if well is None or era != self._era:
            return
        if number != ORDINARY:
            if self.state is State.HALF_OPEN:
                self._close() if well else self._open(now)
        elif self.state is State.CLOSED:
            self._count(now, failed=not well)

    def retry_after_s(self, now: float) -> int:
        """When it makes sense to come back, in whole seconds, at least 1."""
        return max(1, ceil(self._open_until - now))

    def _count(self, now: float, *, failed: bool) -> None:
        self._advance(now)
        place = self._newest % SLICES
        self._requests[place] += 1
        if not failed:
            return
        self._failures[place] += 1
        requests, failures = sum(self._requests), sum(self._failures)
        if requests >= self.settings.requests and failures >= self.settings.errors * requests - 1e-9:
            self._open(now)

    def _advance(self, now: float) -> None:
        """Empty the slices that lie between the newest one and now."""
        current = int(now / self._slice_s)
        for number in range(max(self._newest + 1, current - SLICES + 1), current + 1):
            self._requests[number % SLICES] = self._failures[number % SLICES] = 0
        self._newest = max(self._newest, current)

    def _open(self, now: float) -> None:
        self.state = State.OPEN
        self.opened += 1
        self._era += 1
        self._open_until = now + self.settings.open_s

    def _close(self) -> None:
        self.state = State.CLOSED
        self._era += 1
        self._probe = ProbeSlot()
        self._requests = [0] * SLICES
        self._failures = [0] * SLICES
