"""Rules for tokens, plans and tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.notation import did_you_mean
from gateway.config.rules import limits
from gateway.config.rules.service import loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.document import Document, Jwt, JwtIssuer
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

# Bytes: RFC 7518 section 3.2, a key as long as the hash. `jwk` judges the same; it is only imported where it is needed.
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_LARGEST_KEY_FILE = 64 * 1024
_LONGEST_TENANT = 128
_MOST_ISSUERS = 100
_TABLE: Path = ("auth", "jwt")


def judge(context: Context) -> dict[str, str]:
    """Judge [auth.jwt], [plans] and [tenants]; returns the texts of the key files by their names."""
    _plans(context)
    jwt = context.document.auth.jwt
    key_files: dict[str, str] = {}
    if jwt is not None:
        if jwt.issuers:
            _several(context, jwt)
        for entry in issuers(context.document):
            path = _TABLE if entry is jwt else context.path(entry)
            _issuer(context, entry, path)
            if text := _keys(context, entry, path):
                key_files[entry.public_key_file] = text
    return key_files


def issuers(document: Document) -> tuple[JwtIssuer, ...]:
    """Every issuer: those of the list, and [auth.jwt] itself when it is the only one or names one of its own."""
    jwt = document.auth.jwt
    if jwt is None:
        return ()
    return (jwt, *jwt.issuers) if jwt.issuer or not jwt.issuers else jwt.issuers


def _several(context: Context, jwt: Jwt) -> None:
    """Tokens find their policy by ``iss``, so every one needs a name, and no two the same."""
    report = context.report
    written = context.reading.raw.get("auth", {}).get("jwt", {})
    others = [name for name in written if name not in {"issuers", "issuer"}]
    if not jwt.issuer and others:
        report.at_key(
            (*_TABLE, others[0]),
            f"{others[0]} stands in [auth.jwt] beside [[auth.jwt.issuers]] and holds for none of them",
            "move it into each issuer, or give [auth.jwt] an issuer of its own",
        )
    if len(jwt.issuers) > _MOST_ISSUERS:
        report.at_value(_TABLE, f"there are more than {_MOST_ISSUERS} issuers", "run a second gateway for the rest")
    seen = {jwt.issuer} - {""}
    for entry in jwt.issuers:
        where = (*context.path(entry), "issuer")
        if not entry.issuer:
            report.at_key(where, "an entry of [[auth.jwt.issuers]] names no issuer", 'add issuer = "https://…"')
        elif entry.issuer in seen:
            report.at_value(where, f'a second entry is for the issuer "{entry.issuer}"', "join the two")
        seen.add(entry.issuer)


def _issuer(context: Context, entry: JwtIssuer, path: Path) -> None:
    report = context.report
    if not entry.algorithms and report.sound((*path, "algorithms")):
        report.at_value((*path, "algorithms"), "algorithms is empty", 'write ["HS256"] or ["RS256"]')
    if not entry.tenant_claim:
        report.at_value((*path, "tenant_claim"), "tenant_claim is empty", 'write "tenant"')
    if len(entry.tenant) > _LONGEST_TENANT or not (entry.tenant or "-").isprintable():
        report.at_value((*path, "tenant"), "this cannot name a tenant", "use 1 to 128 visible characters")
    if not (entry.subject_prefix or "-").isprintable() or len(entry.subject_prefix) > _LONGEST_TENANT:
        report.at_value((*path, "subject_prefix"), "subject_prefix is not a short visible text")
    for name, rule in entry.claims.items():
        if not rule.one_of and report.sound((*path, "claims", name)):
            report.at_value((*path, "claims", name), f"the claim {name} may hold nothing", f'write {name} = "…"')


def _keys(context: Context, entry: JwtIssuer, path: Path) -> str:
    """Judge what the issuer's tokens are verified with; returns the text of its key file."""
    hashed = [name for name in entry.algorithms if name in _SECRET_BYTES]
    if hashed:
        _secret(context, entry, path, max(hashed))
    signed = [name for name in entry.algorithms if name not in _SECRET_BYTES]
    if entry.jwks_url:
        _url(context, entry, (*path, "jwks_url"))
    if not signed:
        for name in ("public_key_file", "jwks_url"):
            if getattr(entry, name) and context.report.sound((*path, "algorithms")):
                context.report.at_value(
                    (*path, name), f"{name} is set but no algorithm uses it", 'add "RS256" to algorithms'
                )
        return ""
    if entry.public_key_file:
        return _key_file(context, entry, (*path, "public_key_file"), signed)
    if not entry.jwks_url:
        where = "[auth.jwt]" if path == _TABLE else "[[auth.jwt.issuers]]"
        context.report.at_key(
            (*path, "public_key_file"),
            f"{signed[0]} needs public_key_file or jwks_url in {where}",
            'add public_key_file = "jwt-public.pem"',
        )
    return ""


def _secret(context: Context, entry: JwtIssuer, path: Path, algorithm: str) -> None:
    where = (*path, "secret_env")
    secret = context.secret(where, entry.secret_env, f"the secret for {algorithm}")
    least = _SECRET_BYTES[algorithm]
    if secret is None:
        return
    if len(secret.encode()) < least:
        context.report.at_value(
            where,
            f"the secret in {entry.secret_env} has {len(secret.encode())} bytes, {algorithm} needs at least {least}",
            f'export {entry.secret_env}="$(openssl rand -hex {least})"',
        )
        return
    from gateway.errors import ConfigError
    from gateway.jwk import from_secret

    try:
        found = from_secret(entry.secret_env, secret)
    except ConfigError as error:
        context.report.at_value(where, _plain(error), f'export {entry.secret_env}="$(openssl rand -hex {least})"')
        return
    if not any(algorithm in key.algorithms for key in found.keys):
        context.report.at_value(where, f"the key set in {entry.secret_env} holds no key for {algorithm}")


def _url(context: Context, entry: JwtIssuer, where: Path) -> None:
    parts = urlsplit(entry.jwks_url)
    if parts.scheme != "https" and not loopback(parts.hostname or ""):
        context.report.at_value(
            where, "jwks_url is not https, so whoever is on the way could put in keys", 'write "https://…"'
        )
    if parts.fragment or "|" in entry.jwks_url:
        context.report.at_value(where, "jwks_url holds a # or a |", "leave the fragment out, and write %7C for a |")


def _key_file(context: Context, entry: JwtIssuer, where: Path, algorithms: Sequence[str]) -> str:
    """The text of the file, once it is known to hold a fit public key for every algorithm."""
    from gateway.errors import ConfigError
    from gateway.jwk import from_file_text

    name = entry.public_key_file
    remedy = "openssl pkey -in jwt-private.pem -pubout -out jwt-public.pem"
    try:
        with (context.folder / name).open("rb") as file:
            text = file.read(_LARGEST_KEY_FILE).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        context.report.at_value(where, f'cannot read "{name}": {reason}', remedy)
        return ""
    try:
        found = from_file_text(text, f'"{name}"')
    except ConfigError as error:
        context.report.at_value(where, _plain(error), remedy)
        return ""
    have = frozenset[str]().union(*(key.algorithms for key in found.keys))
    lacking = [algorithm for algorithm in algorithms if algorithm not in have]
    if lacking and not entry.jwks_url:
        context.report.at_value(
            where, f'"{name}" holds no key for {", ".join(lacking)}', f"its keys verify {', '.join(sorted(have))}"
        )
        return ""
    return text


def _plain(error: Exception) -> str:
    problems = getattr(error, "problems", ())
    return str(error).removeprefix("auth.jwt: ") + (f" ({'; '.join(problems)})" if problems else "")


def _plans(context: Context) -> None:
    plans, tenants = context.document.plans, context.document.tenants
    for name, plan in plans.items():
        context.name(("plans", name), name, "a plan")
        limits.listed(context, ("plans", name, "limit"), plan.limit)
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
