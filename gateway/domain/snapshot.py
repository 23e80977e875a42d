"""What workers run on: routes, upstreams, policies and directives, frozen into one Snapshot.

A Snapshot holds no secret: digests of API keys and the *names* of environment variables.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.domain.access import ApiKey, JwtPolicy, ServerTls
from gateway.domain.limits import TenantPlan
from gateway.domain.routing import Route
from gateway.domain.upstreams import Upstream


class EdgePolicy(msgspec.Struct, frozen=True):
    """Limits of size and trust that hold before any route is known."""

    max_header_bytes: int = 16384
    max_body_bytes: int = 100 * 1024 * 1024
    trusted_proxies: tuple[str, ...] = ()  # CIDR
    admin_prefixes: tuple[str, ...] = ()  # shared mode only: paths that belong to control
    redis: bool = False  # whether buckets live in Redis; the URL itself comes from settings
    limiter_budget_s: float = 0.025
    spool_max_bytes: int = 1 << 30
    server_timing: bool = False
    driver: str = "lane"  # who drives the steps of a request: "lane" or "asgi"
    drain_s: float = 10.0  # what is under way when a worker is told to stop may take this long
    tls: ServerTls | None = None
    allow: tuple[str, ...] = ()  # CIDR of clients, before any route; empty: everyone not denied
    deny: tuple[str, ...] = ()
    security_headers: tuple[tuple[str, str], ...] = ()  # put on every answer that does not have them itself
    compress_min_bytes: int = 1024  # of routes that compress


class DirectiveKind(StrEnum):
    """What control can tell the edge to do."""

    EJECT_TARGET = "eject_target"
    SHIFT_WEIGHT = "shift_weight"
    LIMIT_CALLER = "limit_caller"
    BLOCK_CALLER = "block_caller"
    TIGHTEN_LIMIT = "tighten_limit"
    SHED_LOAD = "shed_load"
    OPEN_CIRCUIT = "open_circuit"


class Directive(msgspec.Struct, frozen=True):
    """One order from control to the edge. It dies by itself at ``expires_at``.

    ``share`` is how much of what it holds back is let through: for ``eject_target`` of the target's usual traffic, for
    the others of the requests that would be refused or sent elsewhere. It is 0 in full effect, and a small share while
    a half-open trial runs.
    """

    id: str
    kind: DirectiveKind
    upstream: str
    target: str
    share: float
    issued_at: float
    expires_at: float
    fence: int  # the leader's fencing token; a lower one than already seen is refused
    source: str  # "incident" or "health"
    reason: str
    action_id: str = ""
    route: str = ""  # where it holds; empty: on every route of the upstream
    caller: str = ""  # whom it is about: "client …", "subject tenant/name", "tenant …"
    amount: float = 0.0  # share shed (0..1), factor of the limits (0..1), requests per second of one caller
    by_plan: tuple[tuple[str, float], ...] = ()  # share shed of the callers on each plan of limits; "" for none


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a worker needs to judge and forward a request, as one immutable value."""

    revision: int
    created_at: float
    routes: tuple[Route, ...]
    upstreams: tuple[Upstream, ...]
    policy: EdgePolicy = EdgePolicy()
    jwt: tuple[JwtPolicy, ...] = ()  # one per issuer; empty: no bearer tokens
    key_sets: dict[str, str] = {}  # JSON Web Key Sets (public keys only) by the URL control fetched them from
    plans: tuple[TenantPlan, ...] = ()
    tenant_plans: dict[str, str] = {}
    keys: tuple[ApiKey, ...] = ()
    revoked: frozenset[str] = frozenset()  # key ids and token ids (jti)
    directives: tuple[Directive, ...] = ()
    fence: int = 0
    open_incidents: dict[str, str] = {}  # route name → incident id, for problem documents

    def upstream(self, name: str) -> Upstream | None:
        """The upstream of that name, or None."""
        return next((upstream for upstream in self.upstreams if upstream.name == name), None)
