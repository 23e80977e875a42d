"""When nobody is told of an incident: silences that people make, and maintenance that comes round again."""

from __future__ import annotations

import msgspec

from gateway.domain.hours import Hours
from gateway.domain.incident import Severity, Signal

MOST_SILENCES = 1000  # in force or to come; every pass looks at all of them


class Matcher(msgspec.Struct, frozen=True):
    """Which incidents: an empty field takes any; what is set must all fit."""

    route: str = ""
    upstream: str = ""
    target: str = ""
    tenant: str = ""
    severities: tuple[Severity, ...] = ()
    signals: tuple[Signal, ...] = ()

    @property
    def takes_everything(self) -> bool:
        """Whether nothing is asked for."""
        return self == Matcher()

    def __str__(self) -> str:
        """Such as ``upstream payments, P3 P4``; ``everything`` when nothing is asked for."""
        named = [
            f"{name} {value}"
            for name, value in (
                ("route", self.route),
                ("upstream", self.upstream),
                ("target", self.target),
                ("tenant", self.tenant),
            )
            if value
        ]
        return ", ".join([*named, *(" ".join(one) for one in (self.severities, self.signals) if one)]) or "everything"


class Silence(msgspec.Struct, frozen=True):
    """Nobody is told of matching incidents from ``starts_at`` to ``ends_at`` (seconds since the epoch)."""

    id: str
    matcher: Matcher
    created_at: float
    starts_at: float
    ends_at: float
    who: str
    why: str


class Maintenance(msgspec.Struct, frozen=True):
    """The same at certain hours of the week, out of the configuration."""

    name: str
    hours: Hours
    matcher: Matcher
    why: str = ""
