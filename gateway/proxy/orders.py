"""Which of control's directives concern the targets of an upstream. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.snapshot import DirectiveKind

if TYPE_CHECKING:
    from gateway.domain.snapshot import Directive


def ejections_of(upstream: str, orders: dict[Directive, float]) -> list[tuple[str, float, float]]:
    """What :meth:`gateway.proxy.standing.Standing.eject` takes, for one upstream."""
    return [
        (directive.target, directive.share, deadline)
        for directive, deadline in orders.items()
        if directive.upstream == upstream and directive.kind is DirectiveKind.EJECT_TARGET
    ]
