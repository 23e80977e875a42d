"""From [[slos]] to the values that control counts for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.objectives import Objective

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
