"""How grave: by how many of the callers are hurt, and for z-scores by how far from usual as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.incident import Severity

if TYPE_CHECKING:
    from gateway.domain.policy import DetectSettings

# Share of the requests at a service that fail beyond the usual → severity. A quarter failing is an outage to those
# who call; under one percent is a ticket for the morning.
_FAILING: tuple[tuple[float, Severity], ...] = ((0.25, Severity.P1), (0.05, Severity.P2), (0.01, Severity.P3))

# The same for requests that are answered, but far too slowly: one step milder, they are answered after all.
_SLOW: tuple[tuple[float, Severity], ...] = ((0.25, Severity.P2), (0.05, Severity.P3))

_ORDER = tuple(Severity)


def by_failing(share: float) -> Severity:
    """Severity of a share of requests that fail beyond the usual."""
    return next((severity for limit, severity in _FAILING if share >= limit), Severity.P4)


def by_slowness(share: float) -> Severity:
    """Severity of a share of requests that are far slower than usual."""
    return next((severity for limit, severity in _SLOW if share >= limit), Severity.P4)


def by_z(z: float, settings: DetectSettings) -> Severity | None:
    """Severity of a z-score; None below the lowest threshold."""
    if z >= settings.z_p1:
        return Severity.P1
    if z >= settings.z_p2:
        return Severity.P2
    if z >= settings.z_p3:
        return Severity.P3
    return Severity.P4 if z >= settings.z_p4 else None


def milder(one: Severity, other: Severity) -> Severity:
    """The less grave of two."""
    return max(one, other, key=_ORDER.index)


def gravest(severities: list[Severity]) -> Severity:
    """The gravest of some; P4 for none."""
    return min(severities, key=_ORDER.index, default=Severity.P4)


def graver_than(one: Severity, other: Severity) -> bool:
    """Whether ``one`` is strictly graver."""
    return _ORDER.index(one) < _ORDER.index(other)
