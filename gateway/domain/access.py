"""Who may pass: which proof of identity a route asks for, and what proofs are verified by."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class AuthMode(StrEnum):
    """Which proof of identity a route asks for."""

    NONE = "none"
    JWT = "jwt"
    KEY = "key"
    CERTIFICATE = "certificate"  # a TLS client certificate the server verified
    ANY = "any"  # whichever of them the caller brings


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
    roles_claims: tuple[str, ...] = ("roles",)


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as workers see it: SHA-256 digest of the whole key, never the key."""

    digest: bytes
    id: str  # public prefix, shown in lists and records
    tenant: str
    subject: str
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None  # seconds since the epoch


class ServerTls(msgspec.Struct, frozen=True):
    """How clients are answered over TLS. Files are named, not read: a worker reads them, again when they change.

    With ``client_ca_file``, clients may show a certificate (``client_certificates`` "optional") or must ("required").
    """

    certificate_file: str
    key_file: str
    client_ca_file: str = ""
    client_certificates: str = "off"  # off, optional, required
    min_version: str = "1.2"  # 1.2, 1.3
