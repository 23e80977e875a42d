"""Routes as the chain of steps a request takes, in the order it takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.admin.dashboard import wording
from gateway.config.limit_notation import written
from gateway.domain.access import AuthMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot

_PROOF = {
    AuthMode.NONE: "open to everyone",
    AuthMode.JWT: "token (JWT)",
    AuthMode.KEY: "API key",
    AuthMode.ANY: "token or API key",
}


class RouteLine(msgspec.Struct, frozen=True):
    """One route: what it matches and what then happens, step by step."""

    name: str
    match: str
    chain: tuple[str, ...]
    upstream: str
    incident: str = ""


def chain(route: Route) -> tuple[str, ...]:
    """The steps a request of this route goes through before it is forwarded."""
    steps = [_PROOF[route.auth]]
    if route.scopes:
        steps.append(f"scope {', '.join(sorted(route.scopes))}")
    steps += [written(limit) for limit in route.limits]
    if route.limits:
        steps.append(f"limits without Redis: {route.limit_unavailable}")
    if route.strip_prefix:
        steps.append(f"strip {route.strip_prefix}")
    return tuple(steps)


def routes(snapshot: Snapshot, *, with_incidents: bool = True) -> tuple[RouteLine, ...]:
    """Every route in the order of the configuration.

    Args:
        snapshot: what is in force.
        with_incidents: false for users of one tenant: an incident may be the operator's or another tenant's.
    """
    incidents = snapshot.open_incidents if with_incidents else {}
    return tuple(line(route, incidents) for route in snapshot.routes)


def line(route: Route, incidents: Mapping[str, str]) -> RouteLine:
    """One route, with the open incident on it if there is one among these (route → id)."""
    return RouteLine(
        name=route.name,
        match=" ".join(filter(None, (", ".join(sorted(route.methods)) or "any method", route.host, route.path))),
        chain=chain(route),
        upstream=route.upstream,
        incident=incidents.get(route.name, ""),
    )


def timeouts(snapshot: Snapshot, upstream: str) -> str:
    """Timeouts and probing of one upstream in one line."""
    found = snapshot.upstream(upstream)
    if found is None:
        return wording.NOTHING
    times = found.timeout
    text = f"connect {times.connect_s:g} s, answer {times.header_s:g} s, idle {times.idle_s:g} s"
    if found.health is not None:
        text += f"; probed at {found.health.path} every {found.health.interval_s:g} s"
    if found.depends_on:
        text += f"; calls {wording.joined(list(found.depends_on))}"
    return text
