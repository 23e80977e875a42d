"""Every algorithm with its own kind of key, several issuers, and what their tokens must say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import AuthMode, JwtPolicy, RequiredClaim
from gateway.edge.authenticate import Authenticator
from gateway.edge.jwt_verifier import JwtVerifier, UnknownKeyError
from gateway.errors import ConfigError, UnauthenticatedError
from tests.tokens import forged, jwk, key_set, pem, private_key, segment, signed
from tests.unit.edge.edge_values import exchange, snapshot

NOW = 1_800_000_000.0
CLAIMS = {"sub": "ana", "tenant": "acme", "scope": "read", "exp": NOW + 600}
SECRET = "a secret of more than sixty-four bytes, which is what the longest hash asks for"
HMAC = ("HS256", "HS384", "HS512")
SIGNED = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
URL = "https://id.example/jwks"


def policy(*algorithms: str, **fields: Any) -> JwtPolicy:
    return JwtPolicy(algorithms=algorithms, **fields)


def verifier(*policies: JwtPolicy, jwks: str = "") -> JwtVerifier:
    return JwtVerifier(policies, lambda name: SECRET if name else "", {URL: jwks})


def accepted(given: JwtVerifier, token: str) -> bool:
    try:
        given.verify(token.encode(), NOW)
    except UnauthenticatedError:
        return False
    return True


@pytest.mark.parametrize("algorithm", HMAC)
def test_a_secret_verifies_its_algorithm_and_no_other(algorithm):
    given = verifier(policy(algorithm, secret_env="JWT"))
    assert [name for name in HMAC if accepted(given, signed(CLAIMS, SECRET, name))] == [algorithm]


@pytest.mark.parametrize("algorithm", SIGNED)
def test_a_public_key_verifies_its_algorithm_from_pem_and_from_a_key_set(algorithm):
    key = private_key(algorithm)
    token = signed(CLAIMS, key, algorithm, kid="one")
    from_pem = verifier(policy(algorithm, public_key=pem(key)))
    from_file = verifier(policy(algorithm, public_key=key_set(jwk(key, kid="one"))))
    from_url = verifier(policy(algorithm, jwks_url=URL), jwks=key_set(jwk(key, kid="one")))
    assert [accepted(given, token) for given in (from_pem, from_file, from_url)] == [True] * 3
    stranger = signed(CLAIMS, private_key(algorithm, 2), algorithm, kid="one")
    assert [accepted(given, stranger) for given in (from_pem, from_file, from_url)] == [False] * 3


def test_a_key_verifies_only_the_algorithm_it_names():
    key = private_key("RS256")
    both = policy("RS256", "PS256", jwks_url=URL)
    given = verifier(both, jwks=key_set(jwk(key, kid="one", alg="PS256")))
    assert accepted(given, signed(CLAIMS, key, "PS256", kid="one"))
    assert not accepted(given, signed(CLAIMS, key, "RS256", kid="one"))
    assert accepted(verifier(both, jwks=key_set(jwk(key, kid="one"))), signed(CLAIMS, key, "RS256", kid="one"))


def test_an_algorithm_outside_of_the_policy_is_refused_though_the_key_could():
    key = private_key("RS256")
    assert not accepted(verifier(policy("RS256", public_key=pem(key))), signed(CLAIMS, key, "RS512"))


def test_secrets_in_a_set_are_changed_without_refusing_tokens():
    old, new = SECRET, SECRET[::-1]
    both = key_set(
        {"kty": "oct", "kid": "2", "k": segment(new.encode())}, {"kty": "oct", "kid": "1", "k": segment(old.encode())}
    )
    given = JwtVerifier([policy("HS256", secret_env="JWT")], lambda _: both)
    assert accepted(given, signed(CLAIMS, old, "HS256", kid="1"))
    assert accepted(given, signed(CLAIMS, new, "HS256", kid="2"))
    assert accepted(given, signed(CLAIMS, new, "HS256"))
    assert not accepted(given, signed(CLAIMS, new, "HS256", kid="1"))


def test_several_keys_in_pem_are_each_tried():
    first, second, third = (private_key("RS256", number) for number in (1, 2, 3))
    given = verifier(policy("RS256", public_key=pem(first) + pem(second)))
    assert accepted(given, signed(CLAIMS, second, "RS256", kid="whatever"))
    assert not accepted(given, signed(CLAIMS, third, "RS256"))


def test_a_token_that_does_not_name_its_key_is_tried_with_four_at_most():
    keys = [private_key("ES256", number) for number in range(5)]
    four = verifier(policy("ES256", jwks_url=URL), jwks=key_set(*(jwk(key) for key in keys[:4])))
    five = verifier(policy("ES256", jwks_url=URL), jwks=key_set(*(jwk(key) for key in keys)))
    token = signed(CLAIMS, keys[3], "ES256")
    assert accepted(four, token)
    assert not accepted(five, token)


ONE, TWO = "https://one.example", "https://two.example"


def two_issuers() -> JwtVerifier:
    return verifier(
        policy("RS256", issuer=ONE, public_key=pem(private_key("RS256"))),
        policy("EdDSA", issuer=TWO, public_key=pem(private_key("EdDSA")), tenant="partner", subject_prefix="partner:"),
    )


def test_each_issuer_has_its_own_keys_and_only_its_own():
    given = two_issuers()
    assert accepted(given, signed({**CLAIMS, "iss": ONE}, private_key("RS256"), "RS256"))
    assert accepted(given, signed({**CLAIMS, "iss": TWO}, private_key("EdDSA"), "EdDSA"))
    assert not accepted(given, signed({**CLAIMS, "iss": TWO}, private_key("RS256"), "RS256"))
    for issuer in ("https://three.example", None, [ONE], "", {"a": ONE}):
        assert not accepted(given, forged({"alg": "HS256"}, {**CLAIMS, "iss": issuer}, SECRET.encode()))


def test_an_issuer_with_a_fixed_tenant_and_prefix_cannot_claim_others():
    token = signed({**CLAIMS, "iss": TWO, "sub": "root", "tenant": "acme"}, private_key("EdDSA"), "EdDSA")
    principal, _ = two_issuers().verify(token.encode(), NOW)
    assert (principal.tenant, principal.subject) == ("partner", "partner:root")


@pytest.mark.parametrize(
    ("fields", "claims", "header", "good"),
    [
        ({"audience": ("a", "b")}, {"aud": "b"}, {}, True),
        ({"audience": ("a", "b")}, {"aud": ["x", "a"]}, {}, True),
        ({"audience": ("a", "b")}, {"aud": ["x"]}, {}, False),
        ({"audience": ("a",)}, {"aud": [["a"]]}, {}, False),
        ({"audience": ("a",)}, {}, {}, False),
        ({"claims": (RequiredClaim("azp", ("web", "app")),)}, {"azp": "app"}, {}, True),
        ({"claims": (RequiredClaim("azp", ("web", "app")),)}, {"azp": "bot"}, {}, False),
        ({"claims": (RequiredClaim("azp", ("web",)),)}, {}, {}, False),
        ({"claims": (RequiredClaim("azp", ("1",)),)}, {"azp": 1}, {}, False),
        ({"claims": (RequiredClaim("org.plans", ("pro",)),)}, {"org": {"plans": ["pro", "x"]}}, {}, True),
        ({"claims": (RequiredClaim("org.plans", ("pro",)),)}, {"org": "pro"}, {}, False),
        ({"token_type": "at+jwt"}, {}, {"typ": "application/AT+JWT"}, True),
        ({"token_type": "at+jwt"}, {}, {"typ": "JWT"}, False),
        ({"token_type": "at+jwt"}, {}, {"typ": ""}, False),
    ],
)
def test_what_a_token_must_say(fields, claims, header, good):
    given = verifier(policy("HS256", secret_env="JWT", **fields))
    assert accepted(given, signed({**CLAIMS, **claims}, SECRET, "HS256", **header)) is good


def test_scopes_and_tenant_are_found_deeper_in_the_token():
    given = verifier(
        policy("HS256", secret_env="JWT", scopes_claims=("scope", "realm.roles"), tenant_claim="https://x.example/org")
    )
    claims = {**CLAIMS, "realm": {"roles": ["admin"]}, "https://x.example/org": "acme"}
    principal, _ = given.verify(signed(claims, SECRET, "HS256").encode(), NOW)
    assert (principal.scopes, principal.tenant) == ({"read", "admin"}, "acme")
    assert not accepted(given, signed({**claims, "realm": {"roles": [1]}}, SECRET, "HS256"))


def test_a_url_without_a_key_set_yet_verifies_nothing_and_says_the_key_is_unknown():
    with pytest.raises(UnknownKeyError):
        verifier(policy("ES256", jwks_url=URL)).verify(
            signed(CLAIMS, private_key("ES256"), "ES256", kid="1").encode(), NOW
        )


@pytest.mark.parametrize(("named", "kid"), [(False, "1"), (False, ""), (True, ""), (True, "2")])
def test_a_mismatch_may_mean_a_new_key_unless_the_token_names_one_that_is_there(named, kid):
    members = {"kid": "1"} if named else {}
    given = verifier(policy("ES256", jwks_url=URL), jwks=key_set(jwk(private_key("ES256"), **members)))
    header = {"kid": kid} if kid else {}
    token = signed(CLAIMS, private_key("ES256", 2), "ES256", **header)
    with pytest.raises(UnknownKeyError):
        given.verify(token.encode(), NOW)


def test_a_forgery_in_the_name_of_a_known_key_asks_for_no_new_keys():
    given = verifier(policy("ES256", jwks_url=URL), jwks=key_set(jwk(private_key("ES256"), kid="1")))
    with pytest.raises(UnauthenticatedError) as caught:
        given.verify(signed(CLAIMS, private_key("ES256", 2), "ES256", kid="1").encode(), NOW)
    assert not isinstance(caught.value, UnknownKeyError)


def test_a_key_set_of_another_version_that_cannot_be_used_stops_no_worker():
    assert not accepted(
        verifier(policy("ES256", jwks_url=URL), jwks='{"keys": []}'), signed(CLAIMS, private_key("ES256"), "ES256")
    )


def test_an_algorithm_without_a_key_never_becomes_a_policy():
    with pytest.raises(ConfigError, match="no key for ES256"):
        verifier(policy("RS256", "ES256", public_key=pem(private_key("RS256"))))


def with_key_set(text: str, previous: Authenticator | None = None) -> Authenticator:
    given = snapshot(jwt=(policy("ES256", jwks_url=URL),), key_sets={URL: text} if text else {})
    return Authenticator(given, lambda _: "", previous)


def test_tokens_with_unknown_keys_are_counted_per_url_over_a_change_of_snapshot():
    first = with_key_set(key_set(jwk(private_key("ES256"), kid="1")))
    for kid in ("2", "3"):
        made = exchange()
        made.facts[b"authorization"] = f"Bearer {signed(CLAIMS, private_key('ES256'), 'ES256', kid=kid)}".encode()
        assert first.authenticate(made, AuthMode.JWT, NOW) is not None
    second = with_key_set(key_set(jwk(private_key("ES256"), kid="2")), first)
    assert second.take_unknown_keys() == {URL: 2}
    assert second.take_unknown_keys() == {}


def test_a_changed_key_set_forgets_the_tokens_of_the_one_before():
    first = with_key_set(key_set(jwk(private_key("ES256"), kid="1")))
    token = signed(CLAIMS, private_key("ES256"), "ES256", kid="1").encode()

    def taken(given: Authenticator) -> bool:
        made = exchange()
        made.facts[b"authorization"] = b"Bearer " + token
        return given.authenticate(made, AuthMode.JWT, NOW) is None

    assert taken(first)
    same = with_key_set(key_set(jwk(private_key("ES256"), kid="1")), first)
    assert same._tokens is first._tokens
    assert not taken(with_key_set(key_set(jwk(private_key("ES256", 2), kid="2")), first))
