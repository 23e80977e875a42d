"""What a fault does to requests: to which, how strongly at which time, and how they end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.gameday.services import Caller, Step

HANGS_S = 3600.0  # longer than anybody waits


class Effect(msgspec.Struct, frozen=True):
    """Trouble at one place; empty fields take any. Times are seconds since the epoch.

    ``share`` of the requests there are hurt: they end with ``status`` (and ``error``, where the gateway answers for a
    target that does not), or take ``factor`` times as long and ``add_s`` more. ``ramp_s`` after ``began`` it has its
    full strength; with ``period_s`` it is there for ``duty`` of every period only.
    """

    service: str
    began: float
    ended: float
    targets: frozenset[str] = frozenset()
    route: str = ""
    tenant: str = ""
    share: float = 1.0
    status: int = 0
    error: str = ""
    factor: float = 1.0
    add_s: float = 0.0
    ramp_s: float = 0.0
    period_s: float = 0.0
    duty: float = 1.0
    seen_by_health: bool = False  # the health check meets it as well

    def strength(self, at: float) -> float:
        """How much of it there is at that time, 0 to 1."""
        if not self.began <= at < self.ended:
            return 0.0
        if self.period_s and (at - self.began) % self.period_s >= self.duty * self.period_s:
            return 0.0
        return min(1.0, (at - self.began) / self.ramp_s) if self.ramp_s else 1.0

    def meets(self, step: Step, target: str, caller: Caller) -> bool:
        """Whether a request is one of those."""
        return (
            step.service == self.service
            and (not self.targets or target in self.targets)
            and self.route in {"", step.route}
            and self.tenant in {"", caller.tenant}
        )


class Flow(msgspec.Struct, frozen=True):
    """A change of how much is asked: ``times`` as many requests of a tenant (empty: of all) on a route (empty: on all).

    With ``extra_per_s`` one caller asks so much more, whatever others do. With ``retries``, callers whose request
    failed ask again, up to so many times.
    """

    began: float
    ended: float
    times: float = 1.0
    tenant: str = ""
    route: str = ""
    extra_per_s: float = 0.0
    caller: tuple[str, str, str] = ("", "", "")
    retries: int = 0
    without_redis: bool = False  # the limiter's Redis does not answer

    def on(self, at: float) -> bool:
        """Whether it is so at that time."""
        return self.began <= at < self.ended
