"""API keys of callers: ``sk_<id>_<secret>``. The id is public, the whole key is shown once, its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets

from gateway.domain.access import ApiKey

_ID_BYTES = 6  # 48 bits: unique among millions, short enough to read out
_SECRET_BYTES = 32
# Of keys that are taken over from elsewhere: a shorter one could be found from its digest, or simply guessed.
SHORTEST_TEXT = 16
LONGEST_TEXT = 512  # the edge looks no longer one up


def digest_of(text: str) -> bytes:
    """What is stored and looked up: SHA-256 of the whole key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def make(
    *, tenant: str, subject: str, scopes: frozenset[str] = frozenset(), expires_at: float | None = None
) -> tuple[str, ApiKey]:
    """A new key: its text, which nobody can read again, and the value to store.

    Args:
        tenant: the customer the key belongs to; empty for none.
        subject: who or what calls with it; empty takes the key's id.
        scopes: what it may do, matched against a route's scopes.
        expires_at: seconds since the epoch, or None for a key that lives until it is revoked.
    """
    key_id = secrets.token_hex(_ID_BYTES)
    text = f"sk_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
    return text, _key(key_id, digest_of(text), tenant, subject, scopes, expires_at)


def adopt(
    digest: bytes, *, tenant: str, subject: str, scopes: frozenset[str] = frozenset(), expires_at: float | None = None
) -> ApiKey:
    """A key that was made elsewhere, by the SHA-256 of its text; otherwise as :func:`make`."""
    return _key(secrets.token_hex(_ID_BYTES), digest, tenant, subject, scopes, expires_at)


def _key(
    key_id: str, digest: bytes, tenant: str, subject: str, scopes: frozenset[str], expires_at: float | None
) -> ApiKey:
    return ApiKey(
        digest=digest,
        id=key_id,
        tenant=tenant,
        subject=subject or key_id,
        scopes=scopes,
        expires_at=expires_at,
    )
