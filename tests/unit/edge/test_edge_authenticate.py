"""Tokens and keys: what is believed, for how long, and what a refusal says."""

from __future__ import annotations

import base64
import hmac
import json
from hashlib import sha256

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.domain.access import ApiKey, AuthMode, JwtPolicy
from gateway.edge.authenticate import Authenticator, TokenCache
from gateway.errors import ConfigError
from tests.unit.edge.edge_values import SECRET, exchange, secret, snapshot

NOW = 1_800_000_000.0
POLICY = JwtPolicy(secret_env="JWT", leeway_s=30)
CLAIMS = {"sub": "ana", "tenant": "acme", "scope": "orders:read orders:write", "jti": "t-1", "exp": NOW + 600}
KEY = b"sk_live_abcdef"
API_KEY = ApiKey(
    digest=sha256(KEY).digest(), id="k-1", tenant="acme", subject="robot", scopes=frozenset({"x"}), expires_at=NOW + 5
)


def token(claims: dict | None = None, *, key=SECRET, algorithm: str = "HS256", headers: dict | None = None) -> bytes:
    return jwt.encode(CLAIMS if claims is None else claims, key, algorithm=algorithm, headers=headers).encode()


def authenticator(policy: JwtPolicy | None = POLICY, previous: Authenticator | None = None, **changes) -> Authenticator:
    return Authenticator(snapshot(jwt=(policy,) if policy else (), keys=(API_KEY,), **changes), secret, previous)


def attempt(given: Authenticator, mode: AuthMode = AuthMode.JWT, now: float = NOW, **facts: bytes):
    made = exchange()
    made.facts.update({name.replace("_", "-").encode(): value for name, value in facts.items()})
    refusal = given.authenticate(made, mode, now)
    return refusal, made.principal


def accepted(raw: bytes, given: Authenticator | None = None, now: float = NOW) -> bool:
    return attempt(given or authenticator(), now=now, authorization=b"Bearer " + raw)[0] is None


def segment(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def signed(header: dict, key: str) -> bytes:
    """A token as an attacker's own code would make it, past every check of a library."""
    text = segment(header) + b"." + segment(CLAIMS)
    digest = hmac.digest(key.encode(), text, "sha256")
    return text + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")


def test_a_good_token_tells_who_calls():
    refusal, principal = attempt(authenticator(), authorization=b"bearer " + token())
    assert refusal is None
    assert (principal.kind, principal.subject, principal.tenant, principal.key_id) == ("jwt", "ana", "acme", "t-1")
    assert principal.scopes == {"orders:read", "orders:write"}


def test_scopes_may_come_as_a_list_in_scp_and_the_tenant_from_a_named_claim():
    given = authenticator(JwtPolicy(secret_env="JWT", tenant_claim="org"))
    claims = {"sub": "ana", "org": "acme", "scp": ["a", "b"], "exp": NOW + 600}
    _, principal = attempt(given, authorization=b"Bearer " + token(claims))
    assert (principal.tenant, principal.scopes) == ("acme", {"a", "b"})


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "ana"},
        {**CLAIMS, "exp": NOW - 31},
        {**CLAIMS, "exp": "soon"},
        {**CLAIMS, "exp": True},
        {**CLAIMS, "exp": float("inf")},
        {**CLAIMS, "exp": float("nan")},
        {**CLAIMS, "exp": 10**400},
        {**CLAIMS, "nbf": NOW + 31},
        {**CLAIMS, "sub": 7},
        {**CLAIMS, "sub": "x" * 257},
        {**CLAIMS, "tenant": {"a": 1}},
        {**CLAIMS, "scope": 3},
        {**CLAIMS, "scope": ["a", 1]},
    ],
)
def test_unfit_claims_are_refused(claims):
    assert not accepted(token(claims))


def test_times_have_leeway():
    assert accepted(token({**CLAIMS, "exp": NOW - 29}))
    assert accepted(token({**CLAIMS, "nbf": NOW + 29}))


def test_issuer_and_audience_must_be_those_of_the_policy():
    given = authenticator(JwtPolicy(secret_env="JWT", issuer="https://id.example", audience=("shop",)))
    good = {**CLAIMS, "iss": "https://id.example", "aud": ["shop", "other"]}
    assert accepted(token(good), given)
    assert not accepted(token({**good, "iss": "https://evil.example"}), given)
    assert not accepted(token({**good, "aud": "other"}), given)
    assert not accepted(token(CLAIMS), given)


def test_forged_and_strange_tokens_are_refused():
    good = token()
    head, payload, signature = good.split(b".")
    none = segment({"alg": "none"}) + b"." + payload + b"."
    assert not accepted(none)
    assert not accepted(segment({"alg": "none"}) + b"." + payload + b"." + signature)
    assert not accepted(token(key="another secret of more than thirty-two bytes"))
    assert not accepted(token(algorithm="HS512", key=SECRET * 2))
    assert not accepted(token(headers={"crit": ["x"], "x": 1}))
    assert not accepted(signed({"alg": "HS256", "b64": True}, SECRET))
    assert accepted(signed({"alg": "HS256"}, SECRET))
    assert not accepted(good + b"=")
    assert not accepted(good + b".x")
    assert not accepted(head + b"." + payload)
    assert not accepted(b"." + payload + b"." + signature)
    assert not accepted(segment([1]) + b"." + payload + b"." + signature)
    deep = base64.urlsafe_b64encode(b'{"a":' + b"[" * 4000).rstrip(b"=")
    assert not accepted(deep + b"." + payload + b"." + signature)
    assert not accepted(b"\xff\xfe." + payload + b"." + signature)
    assert not accepted(token({**CLAIMS, "pad": "x" * 9000}))


def test_a_second_spelling_of_the_same_signature_is_refused():
    good = token()
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 32 bytes are 43 letters; the last one carries two bits that decode to nothing.
    index = letters.index(good[-1:])
    assert not accepted(good[:-1] + letters[index ^ 1 : (index ^ 1) + 1])


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_an_rsa_token_is_verified_with_the_public_key_and_never_as_a_secret(rsa_key):
    public = pem(rsa_key)
    given = authenticator(JwtPolicy(algorithms=("RS256",), public_key=public))
    assert accepted(token(key=rsa_key, algorithm="RS256"), given)
    forged = signed({"alg": "HS256"}, public)
    assert not accepted(forged, given)
    both = authenticator(JwtPolicy(algorithms=("RS256", "HS256"), public_key=public, secret_env="JWT"))
    assert not accepted(forged, both)
    assert accepted(token(), both)


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        (JwtPolicy(secret_env="JWT"), ""),
        (JwtPolicy(secret_env="JWT"), "short"),
        (JwtPolicy(secret_env="JWT"), "-----BEGIN PUBLIC KEY-----" + "x" * 40),
        (JwtPolicy(secret_env="JWT"), '{"kty": "oct", "k": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}'),
        (JwtPolicy(algorithms=("RS256",)), ""),
        (JwtPolicy(algorithms=("RS256",), public_key="nonsense"), ""),
        (JwtPolicy(algorithms=("none",)), ""),
    ],
)
def test_an_unfit_key_never_becomes_a_policy(policy, value):
    with pytest.raises(ConfigError):
        Authenticator(snapshot(jwt=(policy,)), lambda _name: value)


def test_a_short_rsa_key_is_refused():
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ConfigError, match="1024 bits"):
        authenticator(JwtPolicy(algorithms=("RS256",), public_key=pem(weak)))


def test_a_verified_token_is_remembered_until_it_expires(monkeypatch):
    given = authenticator()
    raw = token()
    assert accepted(raw, given)
    monkeypatch.setattr(given._verifier, "verify", lambda *_: pytest.fail("verified again"))
    assert accepted(raw, given, now=NOW + 629)
    monkeypatch.undo()
    assert not accepted(raw, given, now=NOW + 631)
    assert len(given._tokens) == 0


def test_a_remembered_token_is_refused_once_it_is_revoked():
    before = authenticator()
    raw = token()
    assert accepted(raw, before)
    after = authenticator(previous=before, revoked=frozenset({"t-1"}))
    assert after._tokens is before._tokens
    assert not accepted(raw, after)


def test_a_changed_policy_forgets_the_tokens():
    before = authenticator()
    assert accepted(token(), before)
    assert not accepted(token(), authenticator(JwtPolicy(secret_env="JWT", issuer="x"), previous=before))


def test_the_token_cache_is_bounded_in_entries_and_bytes():
    cache = TokenCache(max_entries=3, max_bytes=100)
    for number in range(10):
        cache.put(b"%d" % number, None, NOW)  # type: ignore[arg-type]  # the principal does not matter here
    assert len(cache) == 3
    cache.put(b"x" * 99, None, NOW)  # type: ignore[arg-type]  # as above
    assert len(cache) == 2
    assert cache.get(b"x" * 99, NOW - 1) is None


def test_a_key_is_taken_from_its_own_field_or_from_authorization():
    for facts in ({"x_api_key": KEY}, {"authorization": b"ApiKey " + KEY}):
        refusal, principal = attempt(authenticator(), AuthMode.KEY, **facts)
        assert refusal is None
        assert (principal.kind, principal.subject, principal.key_id) == ("key", "robot", "k-1")


@pytest.mark.parametrize(
    ("now", "revoked", "key"),
    [(NOW, (), b"unknown"), (NOW + 6, (), KEY), (NOW, ("k-1",), KEY), (NOW, (), b"x" * 600), (NOW, (), b"")],
)
def test_unknown_expired_and_revoked_keys_are_refused(now, revoked, key):
    given = authenticator(revoked=frozenset(revoked))
    refusal, principal = attempt(given, AuthMode.KEY, now=now, x_api_key=key)
    assert refusal is not None
    assert refusal.status == 401
    assert principal.kind == ""


def test_each_mode_takes_only_its_own_proof():
    good = b"Bearer " + token()
    assert attempt(authenticator(), AuthMode.JWT, x_api_key=KEY)[0] is not None
    assert attempt(authenticator(), AuthMode.KEY, authorization=good)[0] is not None
    assert attempt(authenticator(), AuthMode.ANY, authorization=good)[1].kind == "jwt"
    assert attempt(authenticator(), AuthMode.ANY, x_api_key=KEY)[1].kind == "key"
    assert attempt(authenticator(), AuthMode.NONE, authorization=good)[1].kind == ""


def test_a_refusal_says_how_to_authenticate():
    refusal, _ = attempt(authenticator(), AuthMode.ANY)
    assert refusal is not None
    assert refusal.headers == (
        (b"www-authenticate", b'Bearer realm="sentinel"'),
        (b"www-authenticate", b'ApiKey realm="sentinel"'),
    )
    refusal, _ = attempt(authenticator(), now=NOW + 9000, authorization=b"Bearer " + token())
    assert refusal is not None
    assert b'error="invalid_token", error_description="the token has expired"' in refusal.headers[0][1]


def test_without_a_policy_no_token_is_believed():
    assert not accepted(token(), authenticator(None))
