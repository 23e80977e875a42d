"""Session tokens: 256 random bits for the holder, their SHA-256 for the store, a short life and a longest one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from gateway.domain.identity import Session
from gateway.errors import UnauthenticatedError

PREFIX = "st_"  # lets secret scanners recognise a leaked token
SESSION_S = 12 * 3600.0  # a working day without signing in again
LONGEST_S = 7 * 86400.0  # refreshing cannot carry one sign-in further than this
_RANDOM_BYTES = 32
_LONGEST_TEXT = 128


def digest_of(text: str) -> bytes:
    """What is stored and looked up. A plain hash is enough: 256 random bits cannot be guessed back."""
    return hashlib.sha256(text[:_LONGEST_TEXT].encode("utf-8", "surrogatepass")).digest()


def open_session(user_id: str, *, now: float) -> tuple[str, Session]:
    """A new token and the session to store for it."""
    text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return text, Session(digest=digest_of(text), user_id=user_id, created_at=now, expires_at=now + SESSION_S)


def rotated(session: Session, *, now: float) -> tuple[str, Session]:
    """A new token in place of ``session``, which the caller closes. The first sign-in's age is kept.

    Raises:
        UnauthenticatedError: the session is over, or its sign-in is older than LONGEST_S.
    """
    ends = min(now + SESSION_S, session.created_at + LONGEST_S)
    if now >= session.expires_at or ends <= now:
        raise UnauthenticatedError("this session is over", remedy="Sign in again.")
    text, fresh = open_session(session.user_id, now=now)
    return text, Session(digest=fresh.digest, user_id=fresh.user_id, created_at=session.created_at, expires_at=ends)


def csrf_of(text: str) -> str:
    """The form token that belongs to a session token; a page of another origin can neither read nor compute it."""
    mac = hmac.digest(text.encode("utf-8", "surrogatepass"), b"sentinelstack csrf v1", hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def csrf_matches(text: str, given: str) -> bool:
    """Whether ``given`` is that form token, in constant time."""
    return hmac.compare_digest(csrf_of(text).encode("ascii"), given.encode("utf-8", "surrogatepass"))
