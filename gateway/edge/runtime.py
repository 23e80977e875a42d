"""Everything a request is judged by, compiled from one Snapshot off the request path and swapped as one reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.edge.access_list import AccessList, access_list
from gateway.edge.authenticate import Authenticator
from gateway.edge.client_address import ClientAddresses
from gateway.edge.limits import LimitSet
from gateway.edge.redirect import redirections
from gateway.edge.response_rules import Answers, answers
from gateway.edge.split import Splitter, splitters

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.forwarding import Headers
    from gateway.domain.identity import Principal
    from gateway.domain.limits import Limit
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot
    from gateway.edge.directed import Directed


class Router(Protocol):
    """Finds the route of a request; see domain.routing.Route for what a path means."""

    def match(self, method: str, host: str, path: bytes, headers: Headers, query: bytes) -> Route | None:
        """The most specific route, or None."""

    def allowed_methods(self, host: str, path: bytes, headers: Headers, query: bytes) -> frozenset[str]:
        """Methods some route would take for a request like this; empty when none has the path at all."""


class Runtime:
    """One snapshot, ready to use. A request keeps the one it started with until it is over.

    Args:
        snapshot: what is in force.
        router: built from the snapshot's routes.
        secret: looks up the value of an environment variable by name; empty when it is not set.
        previous: the runtime before this one, whose verified tokens stay good if the policy is the same.

    Raises:
        ConfigError: the token policy's key is missing or unfit, or a redirect leads nowhere fixed.
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
        self.access = access_list(self.policy.allow, self.policy.deny)
        self.answers: Answers | None  # None where answers pass as they are
        self.route_access: dict[str, AccessList]
        if previous is not None and previous.router is router and previous.policy == self.policy:
            self.answers, self.route_access = previous.answers, previous.route_access
        else:
            self.answers = answers(snapshot)
            listed = [(route.name, access_list(route.allow, route.deny)) for route in snapshot.routes]
            self.route_access = {name: access for name, access in listed if access is not None}
        # Whether an upstream's fields go to the client as they came, with ours behind them.
        self.answers_plainly = self.answers is None and not self.policy.server_timing
        self.has_cors = any(route.cors is not None for route in snapshot.routes)
        self.splits: dict[str, Splitter] = splitters(snapshot.routes, previous.splits if previous else {})
        self.redirects = redirections(snapshot.routes)
        self.upstreams = {upstream.name: upstream for upstream in snapshot.upstreams}
        self.admin_prefixes = tuple(prefix.rstrip("/").encode() or b"/" for prefix in self.policy.admin_prefixes)
        self._plans = {plan.name: plan for plan in snapshot.plans}
        self._limit_sets: dict[tuple[str, str, float], LimitSet | None] = {}  # at most routes × plans (× 2)
        self.directed: Directed | None = None  # None while no action in force concerns requests

    def limits(self, route: Route, principal: Principal, factor: float = 1.0) -> LimitSet | None:
        """The limits of the route, and on top of them those of the tenant's plan; None when there are none.

        An action may tighten the rates: they are multiplied by ``factor``. Quotas stay what was agreed.
        """
        plan_name = self.snapshot.tenant_plans.get(principal.tenant, "") if principal.kind else ""
        key = (route.name, plan_name, factor)
        if key in self._limit_sets:
            return self._limit_sets[key]
        plan = self._plans.get(plan_name)
        limits, quotas, concurrency = route.limits, route.quotas, route.concurrency
        if plan is not None:
            limits, quotas = limits + plan.limits, quotas + plan.quotas
            concurrency += plan.concurrency
        if factor < 1:
            limits = tuple(_tightened(limit, factor) for limit in limits)
        limited = limits or quotas or concurrency
        found = self._limit_sets[key] = LimitSet(limits, quotas, concurrency) if limited else None
        return found

    def is_admin(self, path: bytes) -> bool:
        """Whether the path belongs to control (shared mode only)."""
        if not self.admin_prefixes:  # the usual case, so no generator for every request
            return False
        return any(path == prefix or path.startswith(prefix + b"/") for prefix in self.admin_prefixes)


def _tightened(limit: Limit, factor: float) -> Limit:
    return msgspec.structs.replace(limit, rate=limit.rate * factor, burst=max(1, int(limit.burst * factor)))
