"""The schema of sentinel.toml as frozen values: every key, its type and its default. What is not here is refused.

Field names carry units (``connect_s``); the key in the file stands in ``name=``. docs/reference/configuration.md
explains each key, and a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gateway.config import notation
from gateway.config.notation import Address, LimitRule
from gateway.config.schema import Notation, OneOrMany, Shorthand
from gateway.domain.access import AuthMode
from gateway.domain.incident import Severity
from gateway.domain.limits import WhenUnavailable
from gateway.domain.plan import Mode


class Url(str):
    """A URL whose ``repr`` hides the password, so that no log line or trace shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, separator, rest = self.partition("://")
        shown = rest.rpartition("@")[2]
        return f"'{scheme}{separator}{'[hidden]@' if '@' in rest else ''}{shown}'"


Duration = Annotated[float, Notation(notation.duration, 'a duration such as "30s"')]
Pause = Annotated[float, Notation(notation.pause, 'a duration such as "30s"')]  # zero is meant
Size = Annotated[int, Notation(notation.size, 'a size such as "100MiB"')]
Limits = Annotated[
    tuple[Annotated[LimitRule, Notation(notation.limit, 'a limit such as "100/s burst 200 per subject"')], ...],
    OneOrMany(),
]
TargetUrl = Annotated[Address, Notation(notation.target, 'an address such as "http://10.0.0.5:9000"')]
WebUrl = Annotated[str, Notation(notation.web_url, "an http or https URL")]
Network = Annotated[str, Notation(notation.network, 'a network such as "10.0.0.0/8"')]
Secretive = Annotated[Url, Notation(Url, "a URL")]
Texts = Annotated[tuple[str, ...], OneOrMany()]
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


def key(name: str, default: Any = msgspec.NODEFAULT) -> Any:
    """A field whose key in the file has another name than the attribute, which carries the unit."""
    return msgspec.field(default=default, name=name)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file."""


class Server(Section, frozen=True):
    """Where clients are answered, and within what."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    driver: Literal["asgi"] = "asgi"
    trusted_proxies: tuple[Network, ...] = ()
    max_header_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1_048_576)] = 16384
    max_body_bytes: Size = key("max_body", 100 * 1024 * 1024)
    run_dir: str = "run"


class Admin(Section, frozen=True):
    """Where operators are answered."""

    bind: str = "127.0.0.1:8001"
    url: WebUrl = ""
    metrics: Literal["open", "token"] = "open"
    metrics_token_env: str = "SENTINEL_METRICS_TOKEN"  # noqa: S105 - the name of a variable


class Retention(Section, frozen=True):
    """How long the store keeps what."""

    requests_s: Duration = key("requests", 30 * 86400.0)
    buckets_s: Duration = key("buckets", 90 * 86400.0)


class Store(Section, frozen=True):
    """The database."""

    url: Secretive = Url("sqlite:///run/sentinel.db")
    retention: Retention = Retention()


class Redis(Section, frozen=True):
    """Where the buckets of limits live; empty: in each worker."""

    url: Secretive = Url("")
    budget_s: Duration = key("budget", 0.025)


class Log(Section, frozen=True):
    """What is written down of requests."""

    spool_max_bytes: Size = key("spool_max", 1024**3)
    server_timing: bool = False


class LogOutput(Section, frozen=True):
    """What the program says about itself on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class ClaimRule(Section, frozen=True):
    """What a claim must hold."""

    one_of: Texts


class JwtIssuer(Section, frozen=True):
    """How one issuer's bearer tokens are verified."""

    algorithms: tuple[Algorithm, ...] = ("HS256",)
    secret_env: str = "SENTINEL_JWT_SECRET"  # noqa: S105 - the name of a variable
    public_key_file: str = ""
    jwks_url: WebUrl = ""
    issuer: str = ""
    audience: Texts = ()
    type: str = ""
    claims: dict[str, Annotated[ClaimRule, Shorthand("one_of")]] = {}
    leeway_s: Pause = key("leeway", 30.0)
    tenant: str = ""
    tenant_claim: str = "tenant"
    subject_prefix: str = ""
    scopes_claim: Texts = ("scope", "scp")


class Jwt(JwtIssuer, frozen=True):
    """How bearer tokens are verified: by one issuer, or by several."""

    issuers: tuple[JwtIssuer, ...] = ()


class Auth(Section, frozen=True):
    """Proofs of identity."""

    jwt: Jwt | None = None


class Plan(Section, frozen=True):
    """Limits a tenant bought."""

    limit: Limits


class Tenant(Section, frozen=True):
    """Which plan a tenant has."""

    plan: str


class TargetEntry(Section, frozen=True):
    """One address of an upstream."""

    url: TargetUrl
    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


class Health(Section, frozen=True):
    """Active probing of targets."""

    path: str
    interval_s: Duration = key("interval", 5.0)
    healthy: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    unhealthy: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3


class UpstreamTimeout(Section, frozen=True):
    """How long to wait for an upstream."""

    connect_s: Duration = key("connect", 1.0)
    header_s: Duration = key("header", 10.0)
    idle_s: Duration = key("idle", 30.0)


class UpstreamEntry(Section, frozen=True):
    """A named service."""

    name: str
    targets: tuple[Annotated[TargetEntry, Shorthand("url")], ...]
    balance: Literal["round_robin"] = "round_robin"
    health: Health | None = None
    depends_on: tuple[str, ...] = ()
    timeout: UpstreamTimeout = UpstreamTimeout()
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 256


class Match(Section, frozen=True):
    """Which requests a route takes."""

    path: str
    methods: tuple[str, ...] = ()
    host: str = ""


class RouteEntry(Section, frozen=True):
    """What a request is matched to."""

    name: str
    match: Match
    upstream: str
    strip_prefix: str = ""
    auth: AuthMode = AuthMode.NONE
    scopes: tuple[str, ...] = ()
    limit: Limits = ()
    limit_unavailable: WhenUnavailable = WhenUnavailable.LOCAL


Z = Annotated[float, msgspec.Meta(ge=0.5, le=100)]


class ZScores(Section, frozen=True):
    """How far from its baseline a minute must be for each severity."""

    p1: Z = 5.0
    p2: Z = 3.5
    p3: Z = 2.5
    p4: Z = 2.0


class Detect(Section, frozen=True):
    """When something counts as wrong."""

    error_share: Share = 0.05
    min_requests: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20
    latency_p95_s: Duration | None = key("latency_p95", None)
    z: ZScores = ZScores()
    min_points: Annotated[int, msgspec.Meta(ge=3, le=10_080)] = 10
    baseline_s: Duration = key("baseline", 3600.0)
    cooldown_s: Pause = key("cooldown", 1800.0)


class Budget(Section, frozen=True):
    """What the model may cost."""

    per_incident_tokens: Annotated[int, msgspec.Meta(ge=1000, le=1_000_000)] = 20_000
    per_day_usd: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 5.0


class Diagnose(Section, frozen=True):
    """Which model may write reports."""

    provider: Literal["none", "anthropic", "openai"] = "none"
    model: str = ""
    base_url: WebUrl = ""
    api_key_env: str = ""
    timeout_s: Duration = key("timeout", 20.0)
    budget: Budget = Budget()


class Remediate(Section, frozen=True):
    """What may run by itself."""

    mode: Mode = Mode.APPROVE
    max_ejected: Share = 0.5
    eject_for_s: Duration = key("eject_for", 600.0)
    approval_ttl_s: Duration = key("approval_ttl", 1800.0)


class NotifyEntry(Section, frozen=True):
    """One place that is told."""

    kind: Literal["slack", "webhook"]
    name: str = ""
    url_env: str = ""
    url: WebUrl = ""
    secret_env: str = ""
    severities: tuple[Severity, ...] = tuple(Severity)


class Document(Section, frozen=True):
    """The whole of sentinel.toml."""

    server: Server = Server()
    admin: Admin = Admin()
    store: Store = Store()
    redis: Redis = Redis()
    log: Log = Log()
    log_output: LogOutput = LogOutput()
    auth: Auth = Auth()
    plans: dict[str, Plan] = {}
    tenants: dict[str, Tenant] = {}
    upstreams: tuple[UpstreamEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    detect: Detect = Detect()
    diagnose: Diagnose = Diagnose()
    remediate: Remediate = Remediate()
    notify: tuple[NotifyEntry, ...] = ()
