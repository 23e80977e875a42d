"""Verifies bearer tokens: which issuer, which key, is it signed, is it meant for us, who calls.

The issuer named in a token only chooses the policy; it is believed once that policy's key has checked the signature.
The key decides the algorithm, never the token. Sources: RFC 7519, RFC 8725, RFC 9068.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway import logs
from gateway.domain.identity import Principal
from gateway.edge import jws
from gateway.edge.jws import MAX_TOKEN_BYTES, UnknownKeyError
from gateway.errors import ConfigError, UnauthenticatedError
from gateway.jwk import SECRET_BYTES, from_file_text, from_secret, from_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.domain.access import JwtPolicy
    from gateway.jwk import VerificationKey

__all__ = ["MAX_TOKEN_BYTES", "JwtVerifier", "UnknownKeyError"]

MAX_TIME = 2**53  # seconds since the epoch; refuses infinity, NaN and integers no float can hold
MAX_NAME = 256  # characters of subject, tenant and token id

_NOT_JSON = "the token's claims are not a JSON object"


class JwtVerifier:
    """Turns a token into a Principal, or raises UnauthenticatedError with a reason that repeats nothing of the token.

    Args:
        policies: one per issuer; with several, each names another issuer.
        secret: looks up the value of an environment variable by name; empty when it is not set.
        key_sets: JSON Web Key Sets by the URL they were fetched from; one that is not there yet verifies nothing.

    Raises:
        ConfigError: a key is missing, too short or of the wrong type.
    """

    def __init__(
        self, policies: Iterable[JwtPolicy], secret: Callable[[str], str], key_sets: Mapping[str, str] | None = None
    ) -> None:
        issuers = [Issuer(policy, secret, key_sets or {}) for policy in policies]
        self._only = issuers[0] if len(issuers) == 1 else None
        self._by_name = {issuer.policy.issuer: issuer for issuer in issuers}

    def verify(self, token: bytes, now: float) -> tuple[Principal, float]:
        """The principal and until when (seconds since the epoch, leeway included) the token may be believed.

        Raises:
            UnknownKeyError: signed by a key that the issuer's set does not hold; ``str`` says so.
            UnauthenticatedError: any other reason.
        """
        signed = jws.take_apart(token)
        issuer = self._only or self._issuer(signed.payload)
        issuer.keys.check(signed)
        return issuer.judge(signed.type, jws.decode_object(signed.payload, _NOT_JSON), now)

    def key_set_url(self, token: bytes) -> str:
        """Where the keys of the token's issuer come from; empty when they do not come from a URL."""
        issuer = self._only or self._issuer(jws.take_apart(token).payload)
        return issuer.policy.jwks_url

    def _issuer(self, payload: bytes) -> Issuer:
        """Whose policy judges this token. The claim is not verified yet, and nothing else of it is used."""
        name = jws.decode_object(payload, _NOT_JSON).get("iss")
        issuer = self._by_name.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise UnauthenticatedError("the token is from another issuer")
        return issuer


class Issuer:
    """One issuer's keys, and what its tokens must say."""

    def __init__(self, policy: JwtPolicy, secret: Callable[[str], str], key_sets: Mapping[str, str]) -> None:
        self.policy = policy
        self.keys = jws.Keys(verification_keys(policy, secret, key_sets), policy.algorithms)

    def judge(self, token_type: str, claims: dict[str, Any], now: float) -> tuple[Principal, float]:
        """Who calls, by claims whose signature matched."""
        policy = self.policy
        if policy.token_type and _media_type(token_type) != _media_type(policy.token_type):
            raise UnauthenticatedError("the token is of another type")
        if policy.issuer and claims.get("iss") != policy.issuer:
            raise UnauthenticatedError("the token is from another issuer")
        if policy.audience and not _names_one(claims.get("aud"), policy.audience):
            raise UnauthenticatedError("the token is for another audience")
        for required in policy.claims:
            if not _names_one(_claim(claims, required.name), required.one_of):
                raise UnauthenticatedError("a claim of the token is not as required")
        expires_at = self._times(claims, now)
        principal = Principal(
            kind="jwt",
            subject=policy.subject_prefix + _text(claims, "sub"),
            tenant=policy.tenant or _text(claims, policy.tenant_claim),
            scopes=frozenset(scope for name in policy.scopes_claims for scope in _scopes(_claim(claims, name))),
            roles=frozenset(role for name in policy.roles_claims for role in _roles(_claim(claims, name))),
            key_id=_text(claims, "jti"),
            expires_at=expires_at,
        )
        return principal, expires_at + policy.leeway_s

    def _times(self, claims: dict[str, Any], now: float) -> float:
        if claims.get("exp") is None:
            raise UnauthenticatedError("the token lacks a required claim")
        expires_at = _number(claims, "exp")
        not_before = _number(claims, "nbf")
        if expires_at is None or expires_at + self.policy.leeway_s <= now:
            raise UnauthenticatedError("the token has expired")
        if not_before is not None and not_before - self.policy.leeway_s > now:
            raise UnauthenticatedError("the token is not valid yet")
        return expires_at


def verification_keys(
    policy: JwtPolicy, secret: Callable[[str], str], key_sets: Mapping[str, str]
) -> list[VerificationKey]:
    """Every key the policy names; ConfigError when an algorithm would have none."""
    keys: list[VerificationKey] = []
    if not SECRET_BYTES.keys().isdisjoint(policy.algorithms):
        keys += from_secret(policy.secret_env, secret(policy.secret_env)).keys
    if policy.public_key:
        keys += from_file_text(policy.public_key, "auth.jwt: the public key").keys
    if text := key_sets.get(policy.jwks_url):
        try:
            keys += from_set(text, "the key set").keys
        except ConfigError as error:  # another version of this program judged it; control will fetch it again
            logs.get("edge").warning("key_set.unfit", url=policy.jwks_url, reason=str(error))
    have = frozenset[str]().union(*(key.algorithms for key in keys))
    lacking = [name for name in policy.algorithms if name not in have and (name in SECRET_BYTES or not policy.jwks_url)]
    if lacking:
        raise ConfigError(f"auth.jwt: there is no key for {', '.join(lacking)}")
    return keys


def _claim(claims: dict[str, Any], name: str) -> Any:
    """The claim of that name, or the one the name leads to through nested objects (``realm_access.roles``)."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _names_one(value: Any, wanted: tuple[str, ...]) -> bool:
    """Whether a text, or a list of texts, names one of the wanted ones."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        return False
    return any(entry in wanted for entry in found)


def _scopes(value: Any) -> list[str]:
    scopes = value.split() if isinstance(value, str) else [] if value is None else value
    if not isinstance(scopes, list) or not all(isinstance(entry, str) for entry in scopes):
        raise UnauthenticatedError("the token's scopes are neither text nor a list of texts")
    return scopes


def _roles(value: Any) -> list[str]:
    """A list of roles, or a single one: not split at blanks, because "Site Admin" is not "Admin".

    What is neither grants nothing; issuers use this name for other things as well.
    """
    if isinstance(value, str):
        return [value]
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _media_type(name: str) -> str:
    """RFC 7515 section 4.1.9: case does not matter, and "application/" may be left out."""
    return name.lower().removeprefix("application/")


def _number(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_TIME:
        raise UnauthenticatedError(f"the token's {name} is not a time")
    return float(value)


def _text(claims: dict[str, Any], name: str) -> str:
    value = _claim(claims, name)
    if value is None and name not in claims:
        return ""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise UnauthenticatedError("a claim of the token is not a short text")
    return value
