"""Who calls: a bearer token, an API key or a client certificate becomes a Principal, or the answer is 401. Synchronous.

A verified token is remembered by its exact bytes until it expires, because checking a signature costs more than all
other steps together; revocation is looked up on every use. Sources: RFC 6750, RFC 9110 section 11.6.1.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

from gateway.domain.access import AuthMode
from gateway.domain.identity import Principal
from gateway.domain.traffic import ErrorKind
from gateway.edge.client_certificate import principal_of
from gateway.edge.exchange import Refusal
from gateway.edge.jwt_verifier import MAX_TOKEN_BYTES, JwtVerifier, UnknownKeyError
from gateway.errors import UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.snapshot import Snapshot
    from gateway.edge.exchange import Exchange

MAX_CACHED_TOKENS = 10_000
MAX_CACHED_BYTES = 16 * 1024 * 1024  # of tokens alone; 10,000 of the largest would be 80 MiB
MAX_API_KEY_BYTES = 512
MAX_CACHED_CERTIFICATES = 1024  # of clients, about 2 KB each; the table is emptied when full

# An attribute of an enum class costs as much as a call.
_NONE, _JWT, _KEY, _CERTIFICATE, _ANY = AuthMode.NONE, AuthMode.JWT, AuthMode.KEY, AuthMode.CERTIFICATE, AuthMode.ANY

_BEARER_CHALLENGE = (b"www-authenticate", b'Bearer realm="sentinel"')
_KEY_CHALLENGE = (b"www-authenticate", b'ApiKey realm="sentinel"')
_CERTIFICATE_CHALLENGE = (b"www-authenticate", b'Certificate realm="sentinel"')


class TokenCache:
    """Verified tokens by their exact bytes, bounded in number and bytes; the oldest leave first."""

    def __init__(self, *, max_entries: int = MAX_CACHED_TOKENS, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._entries: dict[bytes, tuple[Principal, float]] = {}
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: bytes, now: float) -> Principal | None:
        """The principal of a token that was verified before and may still be believed at ``now``."""
        found = self._entries.get(token)
        if found is None:
            return None
        if found[1] <= now:
            del self._entries[token]
            self._bytes -= len(token)
            return None
        return found[0]

    def put(self, token: bytes, principal: Principal, until: float) -> None:
        """Remember a token until ``until`` (seconds since the epoch)."""
        entries = self._entries
        if token not in entries:
            self._bytes += len(token)
        entries[token] = (principal, until)
        while len(entries) > self._max_entries or self._bytes > self._max_bytes:
            oldest = next(iter(entries))
            del entries[oldest]
            self._bytes -= len(oldest)


class Authenticator:
    """Authenticates exchanges by one snapshot's policy, keys and revocations.

    Args:
        snapshot: what is in force.
        secret: looks up the value of an environment variable by name; empty when it is not set.
        previous: the authenticator before this one; its token cache is kept when policy and secret are unchanged.

    Raises:
        ConfigError: the policy's key is missing or unfit.
    """

    def __init__(self, snapshot: Snapshot, secret: Callable[[str], str], previous: Authenticator | None = None) -> None:
        # A digest, so that a changed secret empties the cache without the secret being kept here a second time.
        secrets = "\0".join(secret(policy.secret_env) for policy in snapshot.jwt if policy.secret_env)
        self._basis = (snapshot.jwt, snapshot.key_sets, sha256(secrets.encode()).digest())
        self._unknown_keys: Counter[str] = previous._unknown_keys if previous is not None else Counter()  # noqa: SLF001 - own class
        self._verifier: JwtVerifier | None
        self._tokens: TokenCache
        if previous is not None and previous._basis == self._basis:  # noqa: SLF001 - own class
            self._verifier = previous._verifier  # noqa: SLF001 - own class
            self._tokens = previous._tokens  # noqa: SLF001 - own class
        else:
            self._verifier = JwtVerifier(snapshot.jwt, secret, snapshot.key_sets) if snapshot.jwt else None
            self._tokens = TokenCache()
        self._certificates: dict[bytes, Principal] = previous._certificates if previous is not None else {}  # noqa: SLF001 - own class
        self._keys = {key.digest: key for key in snapshot.keys}
        self._revoked = snapshot.revoked

    def authenticate(self, exchange: Exchange, mode: AuthMode, now: float) -> Refusal | None:
        """Fill in ``exchange.principal`` by the route's mode, or say why not. ``now`` is seconds since the epoch."""
        if mode is _NONE:
            return None
        if mode is _JWT and (field := exchange.facts.get(b"authorization", b""))[:7] == b"Bearer ":
            known = self._tokens.get(field[7:], now)  # the usual case; whatever is unusual goes the long way
            if known is not None and known.key_id not in self._revoked:
                exchange.principal = known
                return None
        try:
            exchange.principal = self._principal(exchange, mode, now)
        except UnauthenticatedError as error:
            return _refusal(mode, str(error))
        return None

    def take_unknown_keys(self) -> dict[str, int]:
        """How many tokens since the last call named a key that the set from a URL does not hold, per URL."""
        taken = dict(self._unknown_keys)
        self._unknown_keys.clear()
        return taken

    def _principal(self, exchange: Exchange, mode: AuthMode, now: float) -> Principal:
        authorization = exchange.facts.get(b"authorization", b"")
        scheme, _, credentials = authorization.partition(b" ")
        scheme = scheme.lower()
        if mode is _CERTIFICATE:
            return self._by_certificate(exchange.certificate, now)
        if mode is not _KEY and scheme == b"bearer":
            return self._by_token(credentials.strip(b" "), now)
        if mode is not _JWT:
            key = exchange.facts.get(b"x-api-key")
            if key is None and scheme == b"apikey":
                key = credentials.strip(b" ")
            if key is not None:
                return self._by_key(key, now)
        if mode is _ANY and exchange.certificate:
            # Last: who sends a token or a key means to be known by that, whatever the connection was opened with.
            return self._by_certificate(exchange.certificate, now)
        raise UnauthenticatedError("")

    def _by_token(self, token: bytes, now: float) -> Principal:
        principal = self._tokens.get(token, now) if len(token) <= MAX_TOKEN_BYTES else None
        if principal is None:
            if self._verifier is None:
                raise UnauthenticatedError("bearer tokens are not set up here")
            try:
                principal, until = self._verifier.verify(token, now)
            except UnknownKeyError:
                if url := self._verifier.key_set_url(token):
                    self._unknown_keys[url] += 1
                raise
            self._tokens.put(token, principal, until)
        if principal.key_id and principal.key_id in self._revoked:
            raise UnauthenticatedError("the token was revoked")
        return principal

    def _by_key(self, key: bytes, now: float) -> Principal:
        # The table is searched by digest: how long that takes tells nothing about any stored key.
        found = self._keys.get(sha256(key).digest()) if len(key) <= MAX_API_KEY_BYTES else None
        if found is None:
            raise UnauthenticatedError("the API key is not known")
        if found.id in self._revoked:
            raise UnauthenticatedError("the API key was revoked")
        if found.expires_at is not None and found.expires_at <= now:
            raise UnauthenticatedError("the API key has expired")
        return Principal(
            kind="key",
            subject=found.subject,
            tenant=found.tenant,
            scopes=found.scopes,
            key_id=found.id,
            expires_at=found.expires_at,
        )

    def _by_certificate(self, der: bytes, now: float) -> Principal:
        if not der:
            raise UnauthenticatedError("")
        principal = self._certificates.get(der)
        if principal is None:
            if len(self._certificates) >= MAX_CACHED_CERTIFICATES:
                self._certificates.clear()
            principal = self._certificates[der] = principal_of(der)
        if principal.key_id in self._revoked:
            raise UnauthenticatedError("the client certificate was revoked")
        if principal.expires_at is not None and principal.expires_at <= now:  # it was good when the connection began
            raise UnauthenticatedError("the client certificate has expired")
        return principal


def _refusal(mode: AuthMode, reason: str) -> Refusal:
    """A 401 that tells how to authenticate; without credentials there is no error code (RFC 6750 section 3.1).

    For certificates there is no challenge to name (RFC 9110 wants one, so the scheme stands alone): they belong to the
    connection, not to the request.
    """
    challenges = []
    if mode is AuthMode.CERTIFICATE:
        detail = f"{reason[0].upper()}{reason[1:]}." if reason else "This route needs a TLS client certificate."
        return Refusal(401, ErrorKind.UNAUTHENTICATED, detail, headers=(_CERTIFICATE_CHALLENGE,))
    if mode is not AuthMode.KEY:
        name, challenge = _BEARER_CHALLENGE
        if reason:
            challenge += f', error="invalid_token", error_description="{reason}"'.encode("ascii")
        challenges.append((name, challenge))
    if mode is not AuthMode.JWT:
        challenges.append(_KEY_CHALLENGE)
    detail = f"{reason[0].upper()}{reason[1:]}." if reason else "This route needs proof of identity."
    return Refusal(401, ErrorKind.UNAUTHENTICATED, detail, headers=tuple(challenges))
