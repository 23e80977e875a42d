"""Whether the principal may use the route: all of the route's scopes are needed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.traffic import ErrorKind
from gateway.edge.exchange import Refusal

if TYPE_CHECKING:
    from gateway.domain.identity import Principal
    from gateway.domain.routing import Route


def authorize(route: Route, principal: Principal) -> Refusal | None:
    """A 403 that names the scopes needed (RFC 6750 section 3.1), or None."""
    if route.scopes <= principal.scopes:
        return None
    needed = " ".join(sorted(route.scopes))
    quoted = needed.replace("\\", "\\\\").replace('"', '\\"')
    challenge = f'Bearer realm="sentinel", error="insufficient_scope", scope="{quoted}"'
    return Refusal(
        403,
        ErrorKind.FORBIDDEN,
        f"This route needs the scopes: {needed}.",
        headers=((b"www-authenticate", challenge.encode("utf-8")),),
    )
