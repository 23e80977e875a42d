"""Service level objectives: what was promised, how much of the error budget is left, and how fast it burns."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from gateway.domain.incident import Severity


class Objective(msgspec.Struct, frozen=True):
    """A share of requests that must be good, over a window that moves along.

    Good means answered without an error; with ``latency_s``, answered without an error within that time. What the
    gateway refuses (401, 403, 404, 429) is not promised anything and does not count.
    """

    name: str
    route: str = ""  # either a route or an upstream
    upstream: str = ""
    objective: float = 0.999
    window_s: float = 30 * 86400.0
    latency_s: float | None = None

    @property
    def allowed(self) -> float:
        """The share that may be bad."""
        return 1.0 - self.objective


class Count(NamedTuple):
    """So many bad of so many that count."""

    bad: int = 0
    total: int = 0

    @property
    def share(self) -> float:
        """Bad per counted, 0 when there were none."""
        return self.bad / self.total if self.total else 0.0


class BudgetLevel(StrEnum):
    """How much of the error budget is left, in steps that change what a team does."""

    NORMAL = "normal"  # more than half
    CAUTION = "caution"  # a quarter to a half
    FREEZE = "freeze"  # a tenth to a quarter
    HOTFIXES = "hotfixes"  # less than a tenth


# What to do at each level: the policy that goes with the budget.
ADVICE: dict[BudgetLevel, str] = {
    BudgetLevel.NORMAL: "Work as usual.",
    BudgetLevel.CAUTION: "Be careful: review risky changes, look at what spent the budget.",
    BudgetLevel.FREEZE: "Freeze deployments; only work that makes the service more reliable goes out.",
    BudgetLevel.HOTFIXES: "Only hotfixes go out until the budget has recovered.",
}


class Burn(msgspec.Struct, frozen=True):
    """How fast the budget burns over one pair of windows: 1 spends exactly the whole budget in the whole window."""

    long_s: float
    short_s: float
    threshold: float
    severity: Severity
    long: float
    short: float
    firing: bool


class ObjectiveState(msgspec.Struct, frozen=True):
    """An objective as it stands at a moment."""

    objective: Objective
    at: float  # seconds since the epoch
    requests: int  # that counted within the window
    bad: int
    remaining: float  # share of the budget that is left; below 0: overspent
    level: BudgetLevel
    burns: tuple[Burn, ...]
    known_since: float  # before this nothing is stored; the window may be longer
    onset: float | None = None  # since when it burns, while one of the burns fires

    @property
    def firing(self) -> tuple[Burn, ...]:
        """The burns that are too fast, gravest first."""
        return tuple(sorted((burn for burn in self.burns if burn.firing), key=lambda burn: burn.severity))

    @property
    def achieved(self) -> float:
        """The share of good requests, 1 without any."""
        return 1.0 - (self.bad / self.requests if self.requests else 0.0)
