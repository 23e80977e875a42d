"""What was changed on purpose: configuration revisions and directives, on one line of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.audit import ConfigRevision
    from gateway.domain.snapshot import Directive


class ChangeLine(msgspec.Struct, frozen=True):
    """One change. ``until`` is set on a directive that ends by itself."""

    at: float
    kind: str  # "configuration", "directive"
    text: str
    by: str
    link: str = ""
    until: float = 0.0


def changes(
    revisions: Iterable[ConfigRevision], directives: Iterable[Directive], now: float, top: int = 8
) -> tuple[ChangeLine, ...]:
    """Newest first; directives only while they are in force."""
    lines = [
        ChangeLine(
            at=revision.at,
            kind="configuration",
            text=f"Revision {revision.revision}" + (f": {revision.note}" if revision.note else ""),
            by=revision.actor,
            link=f"/dashboard/configuration?revision={revision.revision}",
        )
        for revision in revisions
    ]
    lines += [
        ChangeLine(
            at=order.issued_at,
            kind="directive",
            text=directive_in_words(order),
            by=f"sentinel ({order.source})",
            until=order.expires_at,
        )
        for order in directives
        if order.expires_at > now
    ]
    return tuple(sorted(lines, key=lambda line: -line.at)[:top])


def directive_in_words(order: Directive) -> str:
    """Such as ``Keeps payments 10.0.0.7:9000 out``, or the share it still gets."""
    if order.share > 0:
        return f"Gives {order.upstream} {order.target} {order.share:.0%} of its usual traffic"
    return f"Keeps {order.upstream} {order.target} out"
