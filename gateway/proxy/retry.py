"""How much may be tried again: a share of what an upstream is asked, so that retries never become the load.

Without a bound, an upstream that is slow because it has too much to do gets every request twice, then has more to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.domain.routing import Retry

WINDOW_S = 10  # what a budget is a share of: the requests of so many seconds
FLOOR_PER_S = 3  # always allowed, so that quiet routes get their retries too (Finagle has ten)
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})  # RFC 9110 section 9.2.2

_FIRST_PAUSE_S = 0.025  # before the same target is asked again; Envoy's base interval
_LONGEST_PAUSE_S = 0.25

CONNECT, RESET, TIMEOUT = "connect", "reset", "timeout"


class RetryBudget:
    """The requests and retries of one upstream's retrying routes over the last ten seconds, second by second."""

    __slots__ = ("_newest", "_requests", "_retries")

    def __init__(self) -> None:
        self._newest = 0
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S

    def request(self, now: float) -> None:
        """A request begins that may be retried."""
        self._advance(now)
        self._requests[self._newest % WINDOW_S] += 1

    def take(self, share: float, now: float) -> bool:
        """Whether one more retry is within ``share`` of the requests; if so it is counted."""
        self._advance(now)
        if sum(self._retries) + 1 > share * sum(self._requests) + FLOOR_PER_S * WINDOW_S + 1e-9:
            return False
        self._retries[self._newest % WINDOW_S] += 1
        return True

    def _advance(self, now: float) -> None:
        current = int(now)
        if current <= self._newest:
            return
        for second in range(max(self._newest + 1, current - WINDOW_S + 1), current + 1):
            self._requests[second % WINDOW_S] = self._retries[second % WINDOW_S] = 0
        self._newest = current


def repeatable(retry: Retry, reason: str, method: bytes, *, body_kept: bool) -> bool:
    """Whether another attempt can do no harm and is wanted; ``reason`` is one of the words of ``Retry.on``."""
    return reason in retry.on and (reason == CONNECT or (body_kept and method in IDEMPOTENT))


def pause_s(retries: int, chance: float) -> float:
    """How long to wait before the same target is asked for the ``retries``-th time again; ``chance`` is in [0, 1)."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(retries - 1, 10)) * (0.5 + chance / 2)
