"""Everything a request is judged by, compiled from one Snapshot off the request path and swapped as one reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.edge.authenticate import Authenticator
from gateway.edge.client_address import ClientAddresses
from gateway.edge.limits import LimitSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.identity import Principal
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot


class Router(Protocol):
    """Finds the route of a request; see domain.routing.Route for what a path means."""

    def match(self, method: str, host: str, path: bytes) -> Route | None:
        """The most specific route, or None."""

    def allowed_methods(self, host: str, path: bytes) -> frozenset[str]:
        """Methods some route would take for this host and path; empty when no route has the path at all."""


class Runtime:
    """One snapshot, ready to use. A request keeps the one it started with until it is over.

    Args:
        snapshot: what is in force.
        router: built from the snapshot's routes.
        secret: looks up the value of an environment variable by name; empty when it is not set.
        previous: the runtime before this one, whose verified tokens stay good if the policy is the same.

    Raises:
        ConfigError: the token policy's key is missing or unfit.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        router: Router,
        secret: Callable[[str], str],
        previous: Runtime | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.policy = snapshot.policy
        self.router = router
        # What the longest body of any route may have, until the request's own is known.
        self.max_body_bytes = max([self.policy.max_body_bytes, *(route.max_body_bytes for route in snapshot.routes)])
        self.authenticator: Authenticator = Authenticator(
            snapshot, secret, previous.authenticator if previous else None
        )
        self.addresses: ClientAddresses
        if previous is not None and previous.policy.trusted_proxies == self.policy.trusted_proxies:
            self.addresses = previous.addresses
        else:
            self.addresses = ClientAddresses(self.policy.trusted_proxies)
        self.upstreams = {upstream.name: upstream for upstream in snapshot.upstreams}
        self.admin_prefixes = tuple(prefix.rstrip("/").encode() or b"/" for prefix in self.policy.admin_prefixes)
        self._plans = {plan.name: plan for plan in snapshot.plans}
        self._limit_sets: dict[tuple[str, str], LimitSet | None] = {}  # at most routes × plans

    def limits(self, route: Route, principal: Principal) -> LimitSet | None:
        """The limits of the route, and on top of them those of the tenant's plan; None when there are none."""
        plan_name = self.snapshot.tenant_plans.get(principal.tenant, "") if principal.kind else ""
        key = (route.name, plan_name)
        if key in self._limit_sets:
            return self._limit_sets[key]
        plan = self._plans.get(plan_name)
        limits = route.limits + (plan.limits if plan is not None else ())
        found = self._limit_sets[key] = LimitSet(limits) if limits else None
        return found

    def is_admin(self, path: bytes) -> bool:
        """Whether the path belongs to control (shared mode only)."""
        if not self.admin_prefixes:  # the usual case, so no generator for every request
            return False
        return any(path == prefix or path.startswith(prefix + b"/") for prefix in self.admin_prefixes)
