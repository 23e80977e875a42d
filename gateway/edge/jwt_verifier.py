"""Verifies one bearer token: signature by PyJWT, everything around it strictly by us.

The key decides the algorithm, never the token: each algorithm of the policy has the one key of its own type, so a
token that names HS256 is never checked against a public key. Sources: RFC 7515, RFC 7519, RFC 8725.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.utils import base64url_decode, base64url_encode

from gateway.domain.identity import Principal
from gateway.errors import ConfigError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.routing import JwtPolicy

MAX_TOKEN_BYTES = 8192  # as much as common servers allow for a whole header field
MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2: a key of the hash's size or larger
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
MAX_TIME = 2**53  # seconds since the epoch; refuses infinity, NaN and integers no float can hold
MAX_NAME = 256  # characters of subject, tenant and token id

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_KEY_TEXT = re.compile(r"-----BEGIN|\"kty\"|^ssh-")  # a public key in place of a secret is known to everybody

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class JwtVerifier:
    """Turns a token into a Principal, or raises UnauthenticatedError with a reason that repeats nothing of the token.

    Args:
        policy: algorithms, keys and expected claims.
        secret: looks up the value of an environment variable by name; empty when it is not set.

    Raises:
        ConfigError: a key is missing, too short or of the wrong type.
    """

    def __init__(self, policy: JwtPolicy, secret: Callable[[str], str]) -> None:
        self._policy = policy
        self._keys: dict[str, str | RSAPublicKey] = {}
        for algorithm in policy.algorithms:
            if algorithm == "HS256":
                self._keys[algorithm] = _hmac_secret(policy.secret_env, secret(policy.secret_env))
            elif algorithm == "RS256":
                self._keys[algorithm] = _rsa_key(policy.public_key)
            else:
                raise ConfigError(f"auth.jwt: the algorithm {algorithm} is not supported; use HS256 or RS256")
        self._options: jwt.types.Options = {
            "require": ["exp"],
            "verify_exp": False,  # times are judged in _times, by the caller's clock
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": bool(policy.audience),
            "verify_iss": bool(policy.issuer),
        }

    def verify(self, token: bytes, now: float) -> tuple[Principal, float]:
        """The principal and until when (seconds since the epoch, leeway included) the token may be believed."""
        algorithm = self._algorithm(token)
        try:
            claims = jwt.decode(
                token,
                self._keys[algorithm],
                algorithms=[algorithm],
                options=self._options,
                audience=self._policy.audience or None,
                issuer=self._policy.issuer or None,
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(_REASONS.get(type(error), "the token is not valid")) from error
        expires_at = self._times(claims, now)
        return self._principal(claims, expires_at), expires_at + self._policy.leeway_s

    def _algorithm(self, token: bytes) -> str:
        """The token's algorithm, once its form is beyond doubt."""
        if len(token) > MAX_TOKEN_BYTES:
            raise UnauthenticatedError(f"the token is over {MAX_TOKEN_BYTES} bytes")
        if _COMPACT.fullmatch(token) is None:
            raise UnauthenticatedError("the token is not three base64url segments")
        segments = token.split(b".")
        if any(not _is_canonical(segment) for segment in segments):
            raise UnauthenticatedError("the token is not canonical base64url")
        try:
            header = _decode_object(base64url_decode(segments[0]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnauthenticatedError("the token's header is not a JSON object") from error
        # "crit" lists extensions we must understand, and we know none; "b64" changes what was signed (RFC 7797).
        if "crit" in header or "b64" in header:
            raise UnauthenticatedError("the token needs an extension that is not supported")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._keys:
            raise UnauthenticatedError("the token's algorithm is not accepted")
        return algorithm

    def _times(self, claims: dict[str, Any], now: float) -> float:
        expires_at = _number(claims, "exp")
        not_before = _number(claims, "nbf")
        if expires_at is None or expires_at + self._policy.leeway_s <= now:
            raise UnauthenticatedError("the token has expired")
        if not_before is not None and not_before - self._policy.leeway_s > now:
            raise UnauthenticatedError("the token is not valid yet")
        return expires_at

    def _principal(self, claims: dict[str, Any], expires_at: float) -> Principal:
        scope = claims.get("scope")
        if scope is None:
            scope = claims.get("scp", ())
        scopes = scope.split() if isinstance(scope, str) else scope
        if not isinstance(scopes, list | tuple) or not all(isinstance(entry, str) for entry in scopes):
            raise UnauthenticatedError("the token's scopes are neither text nor a list of texts")
        return Principal(
            kind="jwt",
            subject=_text(claims, "sub"),
            tenant=_text(claims, self._policy.tenant_claim),
            scopes=frozenset(scopes),
            key_id=_text(claims, "jti"),
            expires_at=expires_at,
        )


_REASONS: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "the token's signature does not match",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.MissingRequiredClaimError: "the token lacks a required claim",
}


def _is_canonical(segment: bytes) -> bool:
    """Whether encoding the decoded bytes gives the same text: no stray bits, no second spelling of one token."""
    try:
        return base64url_encode(base64url_decode(segment)) == segment
    except Base64Error:
        return False


def _number(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_TIME:
        raise UnauthenticatedError(f"the token's {name} is not a time")
    return float(value)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise UnauthenticatedError("a claim of the token is not a short text")
    return value


def _hmac_secret(variable: str, value: str) -> str:
    if not value:
        raise ConfigError(f"auth.jwt: the environment variable {variable or '(secret_env is empty)'} is not set")
    if _KEY_TEXT.search(value):
        raise ConfigError(f"auth.jwt: {variable} holds a key text; HS256 needs a secret that nobody else knows")
    if len(value.encode()) < MIN_SECRET_BYTES:
        raise ConfigError(f"auth.jwt: {variable} is shorter than {MIN_SECRET_BYTES} bytes")
    return value


def _rsa_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("auth.jwt: RS256 needs a public key in PEM form") from error
    if not isinstance(key, RSAPublicKey):
        raise ConfigError("auth.jwt: RS256 needs an RSA public key")
    if key.key_size < MIN_RSA_BITS:
        raise ConfigError(f"auth.jwt: the RSA key has {key.key_size} bits; {MIN_RSA_BITS} are needed")
    return key
