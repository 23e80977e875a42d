"""What a fault is, and how its place, size and time are drawn.

The right answer stands beside each fault before anything is run. Sizes are drawn down to what a person would still call
an incident: at least :data:`FLOOR_PER_MIN` requests hurt a minute, and at least :data:`FLOOR_SHARE` of those at the
place where it strikes. Pure but for the chance that is passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from gateway.domain.incident import Change, Place
from gateway.domain.plan import ActionKind
from gateway.gameday import services
from gateway.gameday.effects import Effect, Flow

FLOOR_SHARE = 0.1
FLOOR_PER_MIN = 10.0
NONE = ""  # the right action where a person has to act

UNAVAILABLE = "upstream_unavailable"
SERVICES = tuple(services.WORK)
PEAK_PER_S = {"checkout": 3.0, "orders": 9.0, "payments": 9.0, "catalog": 24.0}  # callees' included


class Right(msgspec.Struct, frozen=True):
    """An action that is right: its kind (empty: none at all), and what it must be about."""

    kind: str = NONE
    upstream: str = ""
    target: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind or "tell a person", self.upstream, self.target) if part)


class Fault(msgspec.Struct, frozen=True):
    """One fault, drawn: what it does, when, and what is right to say and do. Times are seconds since the epoch."""

    kind: str
    said: str  # for people
    began: float
    ended: float
    causes: tuple[Place, ...]  # naming any of them is right
    right: tuple[Right, ...]  # any of them is right
    effects: tuple[Effect, ...] = ()
    flows: tuple[Flow, ...] = ()
    changes: tuple[Change, ...] = ()
    revision: str = ""  # a configuration that somebody applies then


class Kind(msgspec.Struct, frozen=True):
    """One row of the catalogue."""

    name: str
    title: str
    hard: bool  # from the first second on most requests at the place fail
    right: tuple[str, ...]  # kinds of action; "tell a person" where none is
    why: str  # that is right
    draw: Callable[[random.Random, float, float], Fault]  # chance, when it begins, share of noon's traffic


def any_target(draw: random.Random) -> tuple[str, str]:
    """A service and one of its targets."""
    service = draw.choice(SERVICES)
    return service, draw.choice(services.target_names(service))


def share_of(draw: random.Random, least: float, busy: float, per_s: float) -> float:
    """A share between the least a person would mind and all, small ones as likely as large ones."""
    floor = max(least, FLOOR_SHARE, FLOOR_PER_MIN / 60 / max(1e-9, per_s * busy))
    return min(1.0, max(floor, float(floor ** draw.random())))


def per_target_s(service: str) -> float:
    """Requests per second at one target of the service, at noon."""
    return PEAK_PER_S[service] / len(services.target_names(service))


def lasts_s(draw: random.Random) -> float:
    """For how long, in seconds."""
    return draw.uniform(240, 720)


def percent(share: float) -> str:
    """A share for people."""
    return f"{share * 100:.0f} %"


def ejection_of(service: str, target: str) -> tuple[Right, ...]:
    """Taking out that one target is right."""
    return (Right(ActionKind.EJECT_TARGET, service, target),)


def deploy_of(service: str, at: float) -> Change:
    """The mark a deploy tool leaves."""
    return Change(at, "deploy", f"{service} deployed", "", "pipeline", Place(upstream=service))
