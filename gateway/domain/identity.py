"""Who calls, and who may use the admin plane."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Principal(msgspec.Struct, frozen=True, cache_hash=True):
    """Who a request was proven to come from. Anonymous has an empty ``kind``."""

    kind: str  # "", "jwt", "key", "certificate"
    subject: str = ""
    tenant: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    key_id: str = ""  # API key id, the token's jti, or the certificate's serial number in hex
    expires_at: float | None = None  # seconds since the epoch


ANONYMOUS = Principal(kind="")


class Role(StrEnum):
    """What a dashboard user may do: read; decide actions; change users, keys and configuration."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


RANK: dict[Role, int] = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


class User(msgspec.Struct, frozen=True):
    """A person who signs in. ``password_hash`` is bcrypt's own string."""

    id: str
    email: str
    role: Role
    password_hash: str
    created_at: float
    tenant: str = ""  # empty: every tenant (staff of the operator)
    disabled: bool = False


class Session(msgspec.Struct, frozen=True):
    """A signed-in browser or API client; only the SHA-256 digest of its token is kept."""

    digest: bytes
    user_id: str
    created_at: float
    expires_at: float


class Tenant(msgspec.Struct, frozen=True):
    """A customer whose calls are limited, counted and shown apart. ``id`` is what tokens and keys name."""

    id: str
    name: str = ""
    plan: str = ""  # a plan of limits from the configuration; empty: only the routes' own limits
    created_at: float = 0.0


class Actor(msgspec.Struct, frozen=True):
    """Who did something, for audit lines and approvals: a user, the command line, or the system itself."""

    kind: str  # "user", "cli", "system"
    name: str
    role: Role = Role.VIEWER
    tenant: str = ""


SYSTEM = Actor(kind="system", name="sentinel", role=Role.ADMIN)
