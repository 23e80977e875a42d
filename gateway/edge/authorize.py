"""Whether the principal may use the route: all of the route's scopes are needed, and one of its roles. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.traffic import ErrorKind
from gateway.edge.exchange import Refusal

if TYPE_CHECKING:
    from gateway.domain.identity import Principal
    from gateway.domain.routing import Route


def authorize(route: Route, principal: Principal) -> Refusal | None:
    """A 403 that names the scopes (RFC 6750 section 3.1) or roles needed, or None."""
    if route.scopes <= principal.scopes:
        return _judge_roles(route, principal) if route.roles else None
    needed = " ".join(sorted(route.scopes))
    quoted = needed.replace("\\", "\\\\").replace('"', '\\"')
    challenge = f'Bearer realm="sentinel", error="insufficient_scope", scope="{quoted}"'
    return Refusal(
        403,
        ErrorKind.FORBIDDEN,
        f"This route needs the scopes: {needed}.",
        headers=((b"www-authenticate", challenge.encode("utf-8")),),
    )


def _judge_roles(route: Route, principal: Principal) -> Refusal | None:
    if not route.roles.isdisjoint(principal.roles):
        return None
    return Refusal(403, ErrorKind.FORBIDDEN, f"This route needs one of the roles: {', '.join(sorted(route.roles))}.")
