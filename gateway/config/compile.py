"""From a checked Document to the values other stages run on: the Snapshot for workers, settings for control. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import compile_routes, compile_upstreams
from gateway.config.rules.access import issuers
from gateway.config.rules.operations import KEY_VARIABLES
from gateway.config.rules.service import admin_prefixes
from gateway.config.rules.telling import USUAL_VARIABLES, channel_name, channel_severities, channel_variable
from gateway.domain.access import JwtPolicy, RequiredClaim, ServerTls
from gateway.domain.limits import TenantPlan
from gateway.domain.policy import (
    DetectSettings,
    DiagnoseSettings,
    NotifyChannel,
    OutsideCommand,
    RemediateSettings,
    ReportSettings,
)
from gateway.domain.snapshot import EdgePolicy, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.document import Document, Server
    from gateway.config.document_actions import ActionEntry
    from gateway.config.document_notify import NotifyEntry
    from gateway.domain.access import ApiKey
    from gateway.domain.snapshot import Directive

_EVERYWHERE = frozenset({"0.0.0.0", "[::]", "::"})  # an address to listen on, not one to go to
# What `security_headers = true` puts on answers: the set the OWASP Secure Headers project gives for any application
# that cannot be known more closely. No Content-Security-Policy: a right one depends on the pages.
SECURITY_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
)
STRICT_TRANSPORT = ("strict-transport-security", "max-age=31536000")  # a year; subdomains are not ours to promise for


def snapshot(
    document: Document,
    *,
    revision: int,
    created_at: float,
    key_files: Mapping[str, str] | None = None,
    key_sets: Mapping[str, str] | None = None,
    keys: Iterable[ApiKey] = (),
    revoked: Iterable[str] = (),
    directives: Iterable[Directive] = (),
    fence: int = 0,
    open_incidents: Mapping[str, str] | None = None,
) -> Snapshot:
    """Everything workers need as one value.

    ``key_files`` holds the text of each ``public_key_file``; of ``key_sets``, by URL, the ones in use are kept.
    """
    jwt = jwt_policies(document, key_files or {})
    urls = {policy.jwks_url for policy in jwt}
    return Snapshot(
        revision=revision,
        created_at=created_at,
        routes=tuple(compile_routes.route(entry) for entry in document.routes),
        upstreams=tuple(compile_upstreams.upstream(entry) for entry in document.upstreams),
        policy=edge_policy(document),
        jwt=jwt,
        key_sets={url: text for url, text in (key_sets or {}).items() if url in urls},
        plans=tuple(
            TenantPlan(name, *compile_routes.limits(f"plan:{name}", plan.limit), priority=plan.priority)
            for name, plan in document.plans.items()
        ),
        tenant_plans={name: tenant.plan for name, tenant in document.tenants.items()},
        keys=tuple(keys),
        revoked=frozenset(revoked),
        directives=tuple(directives),
        fence=fence,
        open_incidents=dict(open_incidents or {}),
    )


def edge_policy(document: Document) -> EdgePolicy:
    """Limits of size and trust for every request."""
    server = document.server
    return EdgePolicy(
        driver=server.driver,
        drain_s=server.drain_s,
        max_header_bytes=server.max_header_bytes,
        max_body_bytes=server.max_body_bytes,
        trusted_proxies=server.trusted_proxies,
        admin_prefixes=admin_prefixes(document.admin.bind),
        redis=bool(document.redis.url),
        limiter_budget_s=document.redis.budget_s,
        spool_max_bytes=document.log.spool_max_bytes,
        server_timing=document.log.server_timing,
        tls=None
        if server.tls is None
        else ServerTls(
            certificate_file=server.tls.certificate_file,
            key_file=server.tls.key_file,
            client_ca_file=server.tls.client_ca_file,
            client_certificates=server.tls.client_certificates,
            min_version=server.tls.min_version,
        ),
        allow=server.allow,
        deny=server.deny,
        security_headers=_security_headers(server),
        compress_min_bytes=server.compress_min_bytes,
    )


def _security_headers(server: Server) -> tuple[tuple[str, str], ...]:
    """What ``security_headers`` stands for: nothing, the usual set, or the operator's own."""
    if isinstance(server.security_headers, dict):
        return tuple((name.lower(), value) for name, value in server.security_headers.items())
    if not server.security_headers:
        return ()
    return SECURITY_HEADERS if server.tls is None else (*SECURITY_HEADERS, STRICT_TRANSPORT)


def jwt_policies(document: Document, key_files: Mapping[str, str]) -> tuple[JwtPolicy, ...]:
    """How bearer tokens are verified, one policy per issuer; none without [auth.jwt]."""
    return tuple(
        JwtPolicy(
            algorithms=entry.algorithms,
            secret_env=entry.secret_env if any(name.startswith("HS") for name in entry.algorithms) else "",
            public_key=key_files.get(entry.public_key_file, ""),
            jwks_url=entry.jwks_url,
            issuer=entry.issuer,
            audience=entry.audience,
            token_type=entry.type,
            claims=tuple(RequiredClaim(name, rule.one_of) for name, rule in entry.claims.items()),
            leeway_s=entry.leeway_s,
            tenant=entry.tenant,
            tenant_claim=entry.tenant_claim,
            subject_prefix=entry.subject_prefix,
            scopes_claims=entry.scopes_claim,
            roles_claims=entry.roles_claim,
        )
        for entry in issuers(document)
    )


def admin_url(document: Document) -> str:
    """Where people reach the admin plane: as configured, else as seen from this machine. Without a slash at the end."""
    if document.admin.url:
        return document.admin.url.rstrip("/")
    scheme = "http"
    host, _, port = document.admin.bind.rpartition(":")
    if document.admin.bind == "shared":
        host, port = document.server.host, str(document.server.port)
        scheme = "http" if document.server.tls is None else "https"
    return f"{scheme}://{'127.0.0.1' if host in _EVERYWHERE else host}:{port}"


def detect_settings(document: Document) -> DetectSettings:
    """[detect] as detection takes it."""
    detect = document.detect
    return DetectSettings(
        error_share=detect.error_share,
        min_requests=detect.min_requests,
        latency_p95_s=detect.latency_p95_s,
        min_points=detect.min_points,
        baseline_s=detect.baseline_s,
        fire_minutes=detect.fire_minutes,
        fire_of=detect.fire_of,
        clear_s=detect.clear_s,
        cooldown_s=detect.cooldown_s,
        z_p1=detect.z.p1,
        z_p2=detect.z.p2,
        z_p3=detect.z.p3,
        z_p4=detect.z.p4,
    )


def diagnose_settings(document: Document) -> DiagnoseSettings:
    """[diagnose] as diagnosis takes it; the variable of the key is the provider's usual one where none is named."""
    diagnose = document.diagnose
    return DiagnoseSettings(
        provider=diagnose.provider,
        model=diagnose.model,
        base_url=diagnose.base_url,
        api_key_env=diagnose.api_key_env or KEY_VARIABLES.get(diagnose.provider, ""),
        timeout_s=diagnose.timeout_s,
        steps=diagnose.budget.steps,
        per_incident_tokens=diagnose.budget.per_incident_tokens,
        per_day_usd=diagnose.budget.per_day_usd,
    )


def remediate_settings(document: Document) -> RemediateSettings:
    """[remediate] as remediation takes it."""
    remediate = document.remediate
    return RemediateSettings(
        mode=remediate.mode,
        max_ejected=remediate.max_ejected,
        eject_for_s=remediate.eject_for_s,
        approval_ttl_s=remediate.approval_ttl_s,
        max_shed=remediate.max_shed,
        hold_for_s=remediate.hold_for_s,
        commands=tuple(_command(name, entry) for name, entry in document.actions.items()),
    )


def _command(name: str, entry: ActionEntry) -> OutsideCommand:
    same = {one: getattr(entry, one) for one in OutsideCommand.__struct_fields__ if hasattr(entry, one)}
    rest = [one for one in entry.__struct_fields__ if one not in same]
    settings = tuple((one, str(value)) for one in rest if (value := getattr(entry, one)) not in {"", None})
    return OutsideCommand(**same, name=name, settings=settings)


def notify_channels(document: Document) -> tuple[NotifyChannel, ...]:
    """Every [[notify]] with its name, its severities and the variables of its secrets filled in."""
    return tuple(_notify_channel(entry) for entry in document.notify)


def _notify_channel(entry: NotifyEntry) -> NotifyChannel:
    usual = USUAL_VARIABLES.get(entry.kind, {})
    same = {name: getattr(entry, name) for name in NotifyChannel.__struct_fields__ if hasattr(entry, name)}
    return NotifyChannel(
        **same
        | {
            "name": channel_name(entry),
            "severities": channel_severities(entry),
            "url_env": "" if entry.url else channel_variable(entry),
            "channel_env": "" if entry.channel else entry.channel_env or usual.get("channel_env", ""),
        }
        | {name: getattr(entry, name) or usual.get(name, "") for name in ("secret_env", "token_env", "routing_key_env")}
    )


def report_settings(document: Document) -> ReportSettings:
    """[reports] as control takes it."""
    return ReportSettings(daily=document.reports.daily, channels=document.reports.channels)
