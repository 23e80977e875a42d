"""Rules for tokens, plans and tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.notation import did_you_mean
from gateway.config.rules import routes

if TYPE_CHECKING:
    from gateway.config.document import Jwt
    from gateway.config.rules.context import Context

_SHORTEST_SECRET = 32  # bytes; RFC 7518 section 3.2: a key as long as the hash
_SMALLEST_RSA = 2048  # bits; RFC 7518 section 3.3
_LARGEST_KEY_FILE = 64 * 1024
_LONGEST_TENANT = 128
_KEY = ("auth", "jwt", "public_key_file")


def judge(context: Context) -> str:
    """Judge [auth.jwt], [plans] and [tenants]; returns the text of the public key, empty where there is none."""
    _plans(context)
    jwt = context.document.auth.jwt
    return _jwt(context, jwt) if jwt is not None else ""


def _jwt(context: Context, jwt: Jwt) -> str:
    report = context.report
    if not jwt.algorithms and report.sound(("auth", "jwt", "algorithms")):
        report.at_value(("auth", "jwt", "algorithms"), "algorithms is empty", 'write ["HS256"] or ["RS256"]')
    if not jwt.tenant_claim:
        report.at_value(("auth", "jwt", "tenant_claim"), "tenant_claim is empty", 'write "tenant"')
    if "HS256" in jwt.algorithms:
        where = ("auth", "jwt", "secret_env")
        secret = context.secret(where, jwt.secret_env, "the secret for HS256")
        if secret is not None and len(secret.encode()) < _SHORTEST_SECRET:
            report.at_value(
                where,
                f"the secret in {jwt.secret_env} has {len(secret.encode())} bytes, HS256 needs at least "
                f"{_SHORTEST_SECRET}",
                f'export {jwt.secret_env}="$(openssl rand -hex 32)"',
            )
    if "RS256" not in jwt.algorithms:
        if jwt.public_key_file and report.sound(("auth", "jwt", "algorithms")):
            report.at_value(_KEY, "public_key_file is set but no algorithm uses it", 'add "RS256" to algorithms')
        return ""
    if not jwt.public_key_file:
        report.at_key(_KEY, "RS256 needs public_key_file in [auth.jwt]", 'add public_key_file = "jwt-public.pem"')
        return ""
    return _public_key(context, jwt.public_key_file)


def _public_key(context: Context, name: str) -> str:
    """The PEM text, once it is known to be an RSA public key of decent length."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    remedy = "openssl rsa -in jwt-private.pem -pubout -out jwt-public.pem"
    try:
        with (context.folder / name).open("rb") as file:
            pem = file.read(_LARGEST_KEY_FILE)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        context.report.at_value(_KEY, f'cannot read "{name}": {reason}', remedy)
        return ""
    if b"PRIVATE KEY" in pem:
        context.report.at_value(_KEY, f'"{name}" holds a private key; a gateway needs the public one only', remedy)
        return ""
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        context.report.at_value(_KEY, f'"{name}" is not a public key in PEM form', remedy)
        return ""
    if not isinstance(key, RSAPublicKey) or key.key_size < _SMALLEST_RSA:
        context.report.at_value(_KEY, f'"{name}" is not an RSA key of at least {_SMALLEST_RSA} bits', remedy)
        return ""
    return pem.decode("ascii", "replace")


def _plans(context: Context) -> None:
    plans, tenants = context.document.plans, context.document.tenants
    for name, plan in plans.items():
        context.name(("plans", name), name, "a plan")
        routes.limits(context, ("plans", name, "limit"), plan.limit)
    written = context.reading.raw.get("plans", {})
    for name, tenant in tenants.items():
        if not name or len(name) > _LONGEST_TENANT or not name.isprintable():
            context.report.at_key(
                ("tenants", name), f'"{name}" cannot name a tenant', "use 1 to 128 visible characters"
            )
        if isinstance(written, dict) and tenant.plan not in written:
            context.report.at_value(
                ("tenants", name, "plan"),
                f'unknown plan "{tenant.plan}"',
                did_you_mean(tenant.plan, written, otherwise=f"add [plans.{tenant.plan}]"),
            )
