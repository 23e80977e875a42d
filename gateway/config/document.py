"""The schema of sentinel.toml as frozen values: every key, its type and its default. What is not here is refused.

Field names carry units (``connect_s``); the key in the file stands in ``name=``. docs/reference/configuration.md
explains each key, and a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.config.document_actions import ActionEntry
from gateway.config.document_notify import NotifyEntry, Reports
from gateway.config.document_objectives import MaintenanceEntry, SloEntry
from gateway.config.document_routes import Limits, RouteEntry
from gateway.config.document_sources import Sources
from gateway.config.document_upstreams import UpstreamEntry
from gateway.config.schema import Shorthand, Switch
from gateway.config.values import Duration, Network, Pause, Secretive, Share, Size, Texts, Url, WebUrl, key
from gateway.domain.plan import Mode

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


class ServerTlsEntry(msgspec.Struct, frozen=True):
    """How clients are answered over TLS."""

    certificate_file: str = key("certificate")
    key_file: str = key("key")
    client_ca_file: str = key("client_ca", "")
    client_certificates: Literal["off", "optional", "required"] = "off"
    min_version: Literal["1.2", "1.3"] = "1.2"


class Server(msgspec.Struct, frozen=True):
    """Where clients are answered, and within what."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    driver: Literal["lane", "asgi"] = "lane"
    trusted_proxies: tuple[Network, ...] = ()
    max_header_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1_048_576)] = 16384
    max_body_bytes: Size = key("max_body", 100 * 1024 * 1024)
    run_dir: str = "run"
    drain_s: Duration = key("drain", 10.0)
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    security_headers: Annotated[dict[str, str] | bool, Switch()] = False
    compress_min_bytes: Size = key("compress_min", 1024)
    tls: ServerTlsEntry | None = None


class Admin(msgspec.Struct, frozen=True):
    """Where operators are answered."""

    bind: str = "127.0.0.1:8001"
    url: WebUrl = ""
    metrics: Literal["open", "token"] = "open"
    metrics_token_env: str = "SENTINEL_METRICS_TOKEN"  # noqa: S105 - the name of a variable


class Retention(msgspec.Struct, frozen=True):
    """How long the store keeps what."""

    requests_s: Duration = key("requests", 30 * 86400.0)
    buckets_s: Duration = key("buckets", 90 * 86400.0)
    events_s: Duration = key("events", 90 * 86400.0)


class Store(msgspec.Struct, frozen=True):
    """The database."""

    url: Secretive = Url("sqlite:///run/sentinel.db")
    retention: Retention = Retention()


class Redis(msgspec.Struct, frozen=True):
    """Where the buckets of limits live; empty: in each worker."""

    url: Secretive = Url("")
    budget_s: Duration = key("budget", 0.025)


class Log(msgspec.Struct, frozen=True):
    """What is written down of requests."""

    spool_max_bytes: Size = key("spool_max", 1024**3)
    server_timing: bool = False


class LogOutput(msgspec.Struct, frozen=True):
    """What the program says about itself on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class ClaimRule(msgspec.Struct, frozen=True):
    """What a claim must hold."""

    one_of: Texts


class JwtIssuer(msgspec.Struct, frozen=True):
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
    roles_claim: Texts = ("roles",)


class Jwt(JwtIssuer, frozen=True):
    """How bearer tokens are verified: by one issuer, or by several."""

    issuers: tuple[JwtIssuer, ...] = ()


class Auth(msgspec.Struct, frozen=True):
    """Proofs of identity."""

    jwt: Jwt | None = None


class Plan(msgspec.Struct, frozen=True):
    """Limits a tenant bought."""

    limit: Limits
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0


class Tenant(msgspec.Struct, frozen=True):
    """Which plan a tenant has."""

    plan: str


Z = Annotated[float, msgspec.Meta(ge=0.5, le=100)]


class ZScores(msgspec.Struct, frozen=True):
    """How far from its baseline a minute must be for each severity."""

    p1: Z = 5.0
    p2: Z = 3.5
    p3: Z = 2.5
    p4: Z = 2.0


class Detect(msgspec.Struct, frozen=True):
    """When something counts as wrong."""

    error_share: Share = 0.05
    min_requests: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20
    latency_p95_s: Duration | None = key("latency_p95", None)
    z: ZScores = ZScores()
    min_points: Annotated[int, msgspec.Meta(ge=3, le=10_080)] = 10
    baseline_s: Duration = key("baseline", 3600.0)
    fire_minutes: Annotated[int, msgspec.Meta(ge=1, le=30)] = 4
    fire_of: Annotated[int, msgspec.Meta(ge=1, le=30)] = 5
    clear_s: Duration = key("clear", 60.0)
    cooldown_s: Pause = key("cooldown", 1800.0)


class Budget(msgspec.Struct, frozen=True):
    """What the model may cost."""

    steps: Annotated[int, msgspec.Meta(ge=0, le=20)] = 4
    per_incident_tokens: Annotated[int, msgspec.Meta(ge=1000, le=1_000_000)] = 60_000
    per_day_usd: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 5.0


class Diagnose(msgspec.Struct, frozen=True):
    """Which model may write reports."""

    provider: Literal["none", "anthropic", "openai"] = "none"
    model: str = ""
    base_url: WebUrl = ""
    api_key_env: str = ""
    timeout_s: Duration = key("timeout", 20.0)
    runbooks: str = "runbooks/"
    budget: Budget = Budget()


class Remediate(msgspec.Struct, frozen=True):
    """What may run by itself."""

    mode: Mode = Mode.APPROVE
    max_ejected: Share = 0.5
    eject_for_s: Duration = key("eject_for", 600.0)
    approval_ttl_s: Duration = key("approval_ttl", 1800.0)
    max_shed: Share = 0.5
    hold_for_s: Duration = key("hold_for", 600.0)


class Document(msgspec.Struct, frozen=True):
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
    slos: tuple[SloEntry, ...] = ()
    maintenance: tuple[MaintenanceEntry, ...] = ()
    detect: Detect = Detect()
    diagnose: Diagnose = Diagnose()
    remediate: Remediate = Remediate()
    actions: dict[str, ActionEntry] = {}
    sources: Sources = Sources()
    notify: tuple[NotifyEntry, ...] = ()
    reports: Reports = Reports()
