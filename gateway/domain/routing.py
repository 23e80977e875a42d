"""What workers run on: routes, upstreams, policies and directives, frozen into one Snapshot.

A Snapshot holds no secret: digests of API keys and the *names* of environment variables.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """Whom a limit counts."""

    SUBJECT = "subject"
    KEY = "key"
    TENANT = "tenant"
    CLIENT = "client"
    ROUTE = "route"


class WhenUnavailable(StrEnum):
    """What a route's limits do while Redis is away."""

    LOCAL = "local"  # a bucket in the worker at limit ÷ live workers
    OPEN = "open"
    CLOSED = "closed"


class AuthMode(StrEnum):
    """Which proof of identity a route asks for."""

    NONE = "none"
    JWT = "jwt"
    KEY = "key"
    ANY = "any"


class Limit(msgspec.Struct, frozen=True):
    """A token bucket: ``rate`` tokens per second, at most ``burst`` saved up.

    ``name`` identifies the bucket family in Redis keys and in RateLimit fields; ``window_s`` is the period the operator
    wrote (1, 60, 3600, 86400), which RateLimit-Policy reports.
    """

    name: str
    rate: float
    burst: int
    scope: Scope
    window_s: int = 1


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds: to connect, to the first byte of the answer's head, and between any two reads."""

    connect_s: float = 1.0
    header_s: float = 10.0
    idle_s: float = 30.0


class HealthCheck(msgspec.Struct, frozen=True):
    """Active probing by control: GET ``path`` every ``interval_s``; so many in a row flip the state."""

    path: str
    interval_s: float = 5.0
    healthy: int = 2
    unhealthy: int = 3


class Target(msgspec.Struct, frozen=True):
    """One address of an upstream. ``name`` is ``host:port``, the label everywhere."""

    name: str
    host: str
    port: int
    weight: int = 1


class Upstream(msgspec.Struct, frozen=True):
    """A named service and its targets. ``depends_on`` names the upstreams it calls itself."""

    name: str
    targets: tuple[Target, ...]
    timeout: Timeouts = Timeouts()
    health: HealthCheck | None = None
    depends_on: tuple[str, ...] = ()
    max_connections: int = 256  # per target and worker; further requests wait in a bounded queue


class Route(msgspec.Struct, frozen=True):
    """What a request is matched to.

    ``path`` is exact (``/orders``) or a prefix that ends in ``/*`` (``/orders/*`` matches ``/orders`` and everything
    below it). An empty ``methods`` or ``host`` matches any.
    """

    name: str
    path: str
    upstream: str
    methods: frozenset[str] = frozenset()
    host: str = ""
    strip_prefix: str = ""
    auth: AuthMode = AuthMode.NONE
    scopes: frozenset[str] = frozenset()
    limits: tuple[Limit, ...] = ()
    limit_unavailable: WhenUnavailable = WhenUnavailable.LOCAL


class RequiredClaim(msgspec.Struct, frozen=True):
    """A claim that must hold one of these texts, itself or in its list."""

    name: str
    one_of: tuple[str, ...]


class JwtPolicy(msgspec.Struct, frozen=True):
    """How one issuer's bearer tokens are verified.

    ``secret_env`` names a variable; ``public_key`` is PEM or key set text (not secret); the key set of ``jwks_url``
    stands in ``Snapshot.key_sets``. Names of claims may lead into nested objects: ``realm_access.roles``.
    """

    algorithms: tuple[str, ...] = ("HS256",)
    secret_env: str = ""
    public_key: str = ""
    jwks_url: str = ""
    issuer: str = ""
    audience: tuple[str, ...] = ()  # any of them; empty: not asked for
    token_type: str = ""  # the header's typ
    claims: tuple[RequiredClaim, ...] = ()
    leeway_s: float = 30.0
    tenant: str = ""  # of every token of this issuer, whatever its claims say
    tenant_claim: str = "tenant"
    subject_prefix: str = ""  # keeps the subjects of two issuers apart
    scopes_claims: tuple[str, ...] = ("scope", "scp")


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as workers see it: SHA-256 digest of the whole key, never the key."""

    digest: bytes
    id: str  # public prefix, shown in lists and records
    tenant: str
    subject: str
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None  # seconds since the epoch


class TenantPlan(msgspec.Struct, frozen=True):
    """Limits a tenant bought; they apply on every authenticated route beside the route's own."""

    name: str
    limits: tuple[Limit, ...]


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


class DirectiveKind(StrEnum):
    """What control can tell the edge to do."""

    EJECT_TARGET = "eject_target"


class Directive(msgspec.Struct, frozen=True):
    """One order from control to the edge. It dies by itself at ``expires_at``.

    For ``eject_target``, ``share`` is how much of the target's usual traffic still reaches it: 0 while it is out, a
    small share while a half-open trial runs.
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
