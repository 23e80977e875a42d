"""Rules for whom an address lets in: ``allow`` and ``deny`` of the server and of routes."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config.document_routes import RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def of_server(context: Context) -> None:
    """Judge ``allow`` and ``deny`` of [server]."""
    server = context.document.server
    _lists(context, ("server",), server.allow, server.deny)


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge ``allow`` and ``deny`` of one route, also against those of the server, which are asked first."""
    where, server, report = context.path(route), context.document.server, context.report
    _lists(context, where, route.allow, route.deny)
    if not report.sound(("server", "allow"), ("server", "deny"), (*where, "allow")):
        return
    admitted, refused = _networks(server.allow), _networks(server.deny)
    for index, text in enumerate(route.allow):
        network = ipaddress.ip_network(text)
        if (admitted and not _meets(network, admitted)) or _inside(network, refused):
            report.at_value(
                (*where, "allow", index),
                f"nobody from {text} comes this far: allow and deny of [server] are asked first",
                "open it there, or leave it out here",
                warning=True,
            )


def _lists(context: Context, where: Path, allow: tuple[str, ...], deny: tuple[str, ...]) -> None:
    if not context.report.sound((*where, "allow")):
        return  # what was refused is not in the list, so places would be off
    denied = _networks(deny)
    for index, text in enumerate(allow):
        if _inside(ipaddress.ip_network(text), denied):
            context.report.at_value(
                (*where, "allow", index),
                f"{text} is allowed and denied, and deny is asked first: nobody from there passes",
                "leave it out of one of them, or deny a smaller network",
            )


def _networks(texts: Iterable[str]) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def _inside(network: Network, others: Iterable[Network]) -> bool:
    return any(
        network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type] # of one version
        for other in others
    )


def _meets(network: Network, others: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.overlaps(other) for other in others)
