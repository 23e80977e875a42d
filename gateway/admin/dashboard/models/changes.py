"""What was changed on purpose: configuration revisions, deploys and directives, on one line of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.snapshot import DirectiveKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.audit import ConfigRevision
    from gateway.domain.deploy import Deploy
    from gateway.domain.snapshot import Directive


class ChangeLine(msgspec.Struct, frozen=True):
    """One change. ``until`` is set on a directive that ends by itself."""

    at: float
    kind: str  # "configuration", "deploy", "directive"
    text: str
    by: str
    link: str = ""
    until: float = 0.0


def changes(
    revisions: Iterable[ConfigRevision],
    directives: Iterable[Directive],
    now: float,
    top: int = 8,
    *,
    deploys: Iterable[Deploy] = (),
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
        # The door lets only such addresses in; a row of an older program or another hand gets no link.
        ChangeLine(
            at=one.at,
            kind="deploy",
            text=deploy_in_words(one),
            by=one.actor,
            link=one.url if one.url.startswith(("https://", "http://")) else "",
        )
        for one in deploys
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


def deploy_in_words(deploy: Deploy) -> str:
    """Such as ``v2.3 of payments deployed``."""
    return f"{deploy.version} of {deploy.service} deployed"


def directive_in_words(order: Directive) -> str:
    """Such as ``Keeps payments 10.0.0.7:9000 out``, or the share it still gets."""
    if order.kind is not DirectiveKind.EJECT_TARGET:
        where = " ".join(part for part in (order.upstream, order.route) if part)
        words = {
            DirectiveKind.SHED_LOAD: f"Sheds {order.amount:.0%} of {where}",
            DirectiveKind.OPEN_CIRCUIT: f"Answers for {where} itself",
            DirectiveKind.TIGHTEN_LIMIT: f"Tightens the limits of {where} to {order.amount:.0%}",
            DirectiveKind.LIMIT_CALLER: f"Limits {order.caller} to {order.amount:g}/s",
            DirectiveKind.BLOCK_CALLER: f"Blocks {order.caller}",
            DirectiveKind.SHIFT_WEIGHT: f"Sends the requests of route {order.route} past {order.upstream}",
        }[order.kind]
        return f"{words}; {order.share:.0%} let through on trial" if order.share else words
    if order.share > 0:
        return f"Gives {order.upstream} {order.target} {order.share:.0%} of its usual traffic"
    return f"Keeps {order.upstream} {order.target} out"
