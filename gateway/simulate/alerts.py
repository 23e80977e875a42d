"""Single alerts as monitoring would send them, in the schema of ``POST /api/v1/alerts/generic``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from typing import Any


class Kind(NamedTuple):
    """One kind of alert: how grave it is, and how its figure is told."""

    severity: str
    title: str  # with {figure} and {service}
    text: str
    lowest: float
    highest: float


KINDS = {
    "cpu": Kind(
        "warning",
        "CPU at {figure:.0f} % on {service}",
        "All cores of {service} have been busy for five minutes; requests wait for a turn.",
        91,
        99.4,
    ),
    "memory": Kind(
        "error",
        "Memory at {figure:.0f} % on {service}",
        "The working set of {service} has grown for an hour; the kernel will end a process of it soon.",
        93,
        99,
    ),
    "disk": Kind(
        "warning",
        "Disk {figure:.0f} % full on {service}",
        "The volume /var/lib of {service} is full within the day at this rate.",
        90,
        98,
    ),
    "latency": Kind(
        "error",
        "p95 of {service} at {figure:.0f} ms",
        "Ten times as slow as usual, as seen by the synthetic check.",
        900,
        4200,
    ),
    "database": Kind(
        "critical",
        "Database of {service} refuses connections",
        "{figure:.0f} of 100 connections are in use and none is given back; new ones are refused.",
        100,
        100,
    ),
}


def alert(kind: str, service: str, draw: random.Random, *, resolved: bool) -> dict[str, Any]:
    """The body to post. The same kind and service is the same alert, so that a later one resolves it."""
    made = KINDS[kind]
    figure = draw.uniform(made.lowest, made.highest)
    where = service or "the gateway"
    return {
        "id": f"simulated-{kind}-{service}",
        "status": "resolved" if resolved else "firing",
        "service": service,
        "severity": made.severity,
        "title": made.title.format(figure=figure, service=where),
        "text": made.text.format(figure=figure, service=where),
        "labels": {"kind": kind, "simulated": "true"},
    }
