"""From [[slos]] and [[maintenance]] to the values that control works with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.objectives import Objective
from gateway.domain.silence import Maintenance, Matcher

if TYPE_CHECKING:
    from gateway.config.document import Document


def objectives(document: Document) -> tuple[Objective, ...]:
    """Every objective, in the order of the file."""
    return tuple(
        Objective(
            name=entry.name,
            route=entry.route,
            upstream=entry.upstream,
            objective=entry.objective,
            window_s=entry.window_s,
            latency_s=entry.latency_s,
        )
        for entry in document.slos
    )


def maintenance(document: Document) -> tuple[Maintenance, ...]:
    """Every maintenance, in the order of the file."""
    return tuple(
        Maintenance(
            name=entry.name,
            hours=entry.hours,
            matcher=Matcher(
                route=entry.route, upstream=entry.upstream, severities=entry.severities, signals=entry.signals
            ),
            why=entry.why,
        )
        for entry in document.maintenance
    )
