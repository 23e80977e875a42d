"""Forged and strange tokens against the running program: every one is refused with 401 and reaches no origin."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.errors import ConfigError
from gateway.jwk import from_file_text, from_secret, from_set
from tests import running
from tests.tokens import forged, jwk, key_set, pem, private_key, segment, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

CLAIMS = {"sub": "ana", "tenant": "acme", "scope": "read", "exp": int(time.time()) + 3600}
RS, ES = private_key("RS256"), private_key("ES256")
PEM = pem(RS)
JWKS = key_set(jwk(RS, kid="rsa", alg="RS256"), jwk(ES, kid="ec"))
HEAD = {"alg": "RS256", "kid": "rsa"}
AUTH = """
algorithms = ["HS256", "RS256", "ES256"]
secret_env = "SENTINEL_JWT_SECRET"
public_key_file = "keys.json"
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[running.Gateway, running.Origin]]:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "keys.json").write_text(JWKS)
    with running.origin() as origin:
        text = running.config(origin.port, route='auth = "jwt"\nscopes = ["read"]')
        with running.gateway(folder, text.replace('secret_env = "SENTINEL_JWT_SECRET"', AUTH)) as gateway:
            yield gateway, origin


def status(gateway: running.Gateway, token: str | bytes) -> int:
    value = token if isinstance(token, bytes) else token.encode()
    return httpx2.get(f"{gateway.url}/x", headers=[(b"Authorization", (b"Bearer " + value).strip())]).status_code


def embedded(**header: Any) -> str:
    """Signed by the attacker's own key, with a header that tells where to find it."""
    return signed(CLAIMS, private_key("RS256", 2), "RS256", kid="rsa", **header)


def with_stray_bits(token: str) -> str:
    """The same bytes spelt otherwise: the last letter of 32 bytes carries two bits that mean nothing."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


def der_signature(token: str) -> str:
    """An ECDSA signature as ASN.1, which some libraries take as well."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    content, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    return (
        f"{content}.{segment(encode_dss_signature(int.from_bytes(raw[:32], 'big'), int.from_bytes(raw[32:], 'big')))}"
    )


GOOD_HMAC = signed(CLAIMS, running.SECRET, "HS256")
GOOD_RSA = signed(CLAIMS, RS, "RS256", kid="rsa")
GOOD_EC = signed(CLAIMS, ES, "ES256", kid="ec")
BODY = segment(CLAIMS)
DEEP = segment(b'{"a":' + b"[" * 4000)
N = RS.public_key().public_numbers().n

ATTACKS = {
    "none": f"{segment({'alg': 'none'})}.{BODY}.",
    "None": f"{segment({'alg': 'None'})}.{BODY}.",
    "none_with_a_signature": f"{segment({'alg': 'none'})}.{BODY}.AAAA",
    "no_algorithm": forged({}, CLAIMS, running.SECRET.encode()),
    "algorithm_is_a_list": forged({"alg": ["HS256"]}, CLAIMS, running.SECRET.encode()),
    "hmac_with_the_public_pem": forged({"alg": "HS256"}, CLAIMS, PEM.encode()),
    "hmac_with_the_public_pem_stripped": forged({"alg": "HS256"}, CLAIMS, PEM.strip().encode()),
    "hmac_with_the_key_set": forged({"alg": "HS256"}, CLAIMS, JWKS.encode()),
    "hmac_with_one_key_of_the_set": forged({"alg": "HS256", "kid": "rsa"}, CLAIMS, json.dumps(jwk(RS)).encode()),
    "hmac_with_the_modulus": forged({"alg": "HS256", "kid": "rsa"}, CLAIMS, N.to_bytes(256, "big")),
    "hmac_with_nothing": forged({"alg": "HS256"}, CLAIMS, b""),
    "hmac_called_rsa": forged(HEAD, CLAIMS, running.SECRET.encode()),
    "rsa_called_hmac": f"{segment({'alg': 'HS256'})}.{GOOD_RSA.partition('.')[2]}",
    "rsa_named_as_the_elliptic_key": signed(CLAIMS, RS, "RS256", kid="ec"),
    "elliptic_named_as_the_rsa_key": signed(CLAIMS, ES, "ES256", kid="rsa"),
    "another_hash_of_the_right_key": signed(CLAIMS, RS, "RS512", kid="rsa"),
    "another_padding_of_the_right_key": signed(CLAIMS, RS, "PS256", kid="rsa"),
    "another_curve": signed(CLAIMS, private_key("ES384"), "ES384", kid="ec"),
    "longer_hmac": signed(CLAIMS, running.SECRET * 2, "HS512"),
    "own_key_in_jwk": embedded(jwk=jwk(private_key("RS256", 2))),
    "own_key_at_jku": embedded(jku="https://evil.example/jwks"),
    "own_key_at_x5u": embedded(x5u="https://evil.example/cert"),
    "own_key_in_x5c": embedded(x5c=["MIIB"]),
    "kid_is_a_path": forged({"alg": "HS256", "kid": "../../../../dev/null"}, CLAIMS, b""),
    "kid_is_sql": forged({"alg": "HS256", "kid": "x' UNION SELECT 'k"}, CLAIMS, b"k"),
    "kid_is_a_number": forged({"alg": "HS256", "kid": 1}, CLAIMS, running.SECRET.encode()),
    "kid_is_long": forged({"alg": "HS256", "kid": "k" * 300}, CLAIMS, running.SECRET.encode()),
    "critical_extension": forged({"alg": "HS256", "crit": ["exp"], "exp": 1}, CLAIMS, running.SECRET.encode()),
    "critical_is_empty": forged({"alg": "HS256", "crit": []}, CLAIMS, running.SECRET.encode()),
    "unencoded_payload": forged({"alg": "HS256", "b64": False}, CLAIMS, running.SECRET.encode()),
    "psychic_signature": f"{segment({'alg': 'ES256', 'kid': 'ec'})}.{BODY}.{segment(bytes(64))}",
    "signature_as_asn1": der_signature(GOOD_EC),
    "rsa_signature_one": f"{segment(HEAD)}.{BODY}.{segment((1).to_bytes(256, 'big'))}",
    "rsa_signature_zero": f"{segment(HEAD)}.{BODY}.{segment(bytes(256))}",
    "empty_signature": GOOD_RSA.rpartition(".")[0] + ".",
    "cut_signature": GOOD_RSA[:-8],
    "second_spelling": with_stray_bits(GOOD_HMAC),
    "padding": GOOD_HMAC + "=",
    "other_alphabet": GOOD_RSA.replace("-", "+").replace("_", "/"),
    "encrypted": ".".join([segment({"alg": "RSA-OAEP", "enc": "A256GCM"}), *["AAAA"] * 4]),
    "nested_json_serialisation": json.dumps({"payload": BODY, "protected": "", "signature": ""}),
    "two_tokens": f"{GOOD_HMAC},{GOOD_HMAC}",
    "oversize": forged({"alg": "HS256"}, {**CLAIMS, "pad": "x" * 8000}, running.SECRET.encode()),
    "deep_header": f"{DEEP}.{BODY}.AAAA",
    "claims_are_a_list": forged({"alg": "HS256"}, [CLAIMS], running.SECRET.encode()),
    "claims_are_not_json": forged({"alg": "HS256"}, b"foo", running.SECRET.encode()),
    "claims_are_not_utf8": forged({"alg": "HS256"}, b'{"sub":"\xff"}', running.SECRET.encode()),
    "no_expiry": forged({"alg": "HS256"}, {"sub": "ana", "scope": "read"}, running.SECRET.encode()),
    "expiry_without_end": forged(
        {"alg": "HS256"}, b'{"sub":"ana","scope":"read","exp":1e999}', running.SECRET.encode()
    ),
    "subject_with_line_break_and_bad_signature": forged({"alg": "HS256"}, {**CLAIMS, "sub": "a\r\nX: y"}, b"guess"),
    "empty": "",
    "dots": "..",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_reaches_no_origin(served, name):
    gateway, origin = served
    before = len(origin.seen)
    assert status(gateway, ATTACKS[name]) == 401
    assert len(origin.seen) == before


@pytest.mark.parametrize("token", [GOOD_HMAC, GOOD_RSA, GOOD_EC], ids=["secret", "rsa", "elliptic"])
def test_a_good_token_passes_before_and_after(served, token):
    gateway, _ = served
    assert [status(gateway, token) for _ in range(2)] == [200, 200]  # the second one from memory


def test_a_remembered_token_with_one_bit_changed_is_refused(served):
    gateway, _ = served
    assert status(gateway, GOOD_HMAC) == 200
    for place in (5, len(GOOD_HMAC) // 2, len(GOOD_HMAC) - 5):
        changed = GOOD_HMAC[:place] + ("A" if GOOD_HMAC[place] != "A" else "B") + GOOD_HMAC[place + 1 :]
        assert status(gateway, changed) == 401


def test_a_refusal_and_the_log_repeat_nothing_of_the_token(served):
    gateway, _ = served
    token = forged({"alg": "HS256", "kid": "marker-of-kid"}, {**CLAIMS, "sub": "marker-of-subject"}, b"guess")
    answer = httpx2.get(f"{gateway.url}/x", headers={"Authorization": f"Bearer {token}"})
    said = answer.text + str(answer.headers) + gateway.log.read_text()
    assert "marker-of" not in said
    assert token not in said


@pytest.mark.parametrize("claim", ["sub", "tenant", "scope"])
def test_a_line_break_in_a_signed_claim_adds_no_header(served, claim):
    gateway, origin = served
    before = len(origin.seen)
    hostile = "read\r\nX-Sentinel-Tenant: victim\r\nX-Evil: 1"
    token = signed({**CLAIMS, claim: hostile}, running.SECRET, "HS256")
    status(gateway, token)
    for seen in origin.seen[before:]:
        assert "x-evil" not in seen["headers"]
        assert seen["headers"]["x-sentinel-tenant"] != "victim"


def test_two_authorization_fields_are_refused(served):
    gateway, origin = served
    before = len(origin.seen)
    fields = [("Authorization", f"Bearer {GOOD_HMAC}"), ("Authorization", f"Bearer {ATTACKS['none']}")]
    assert httpx2.get(f"{gateway.url}/x", headers=fields).status_code in {400, 401}
    assert len(origin.seen) == before


def roca_modulus() -> int:
    """A modulus as the faulty chips made them: for every small prime at once a power of 65537."""
    primorial = 1
    for prime in (2, 3, 5, 7, *(n for n in range(11, 700) if all(n % d for d in range(2, 27)))):
        primorial *= prime
    return pow(65537, 1234567, primorial) + primorial * (1 << (2047 - primorial.bit_length()))


WEAK_KEYS = {
    "1024_bits": jwk(private_key("RS256", 9, 1024)),
    "exponent_1": {**jwk(RS), "e": "AQ"},
    "exponent_3": {**jwk(RS), "e": "Aw"},
    "exponent_of_a_thousand_bytes": {**jwk(RS), "e": segment(b"\x01" * 1000)},
    "16384_bits": {**jwk(RS), "n": segment(((1 << 16383) | 1).to_bytes(2048, "big"))},
    "even_modulus": {**jwk(RS), "n": segment((N - 1).to_bytes(256, "big"))},
    "faulty_chip": {**jwk(RS), "n": segment(roca_modulus().to_bytes(256, "big"))},
    "point_off_the_curve": {**jwk(ES), "y": jwk(private_key("ES256", 2))["y"]},
    "point_of_another_curve": {**jwk(ES), "crv": "P-384"},
    "unknown_curve": {**jwk(private_key("ES256")), "crv": "secp256k1"},
    "for_encryption": {**jwk(RS), "use": "enc"},
    "for_wrapping": {**jwk(RS), "key_ops": ["wrapKey"]},
    "algorithm_of_another_type": {**jwk(RS), "alg": "ES256"},
    "algorithm_none": {**jwk(RS), "alg": "none"},
    "private": {**jwk(RS), "d": "AQAB"},
    "kid_is_a_list": {**jwk(RS), "kid": ["rsa"]},
    "short_secret_in_it": {"kty": "oct", "k": "AAAA"},
}


@pytest.mark.parametrize("name", WEAK_KEYS)
def test_a_weak_or_misplaced_key_is_never_used(name):
    with pytest.raises(ConfigError):
        from_set(key_set(WEAK_KEYS[name]), "a set")


def test_a_weak_key_beside_a_sound_one_is_left_out_and_named():
    found = from_set(key_set(WEAK_KEYS["1024_bits"], jwk(RS, kid="rsa")), "a set")
    assert [key.kid for key in found.keys] == ["rsa"]
    assert "1024 bits" in found.left_out[0]


def test_keys_of_one_name_are_both_left_out():
    found = from_set(key_set(jwk(RS, kid="same"), jwk(ES, kid="same"), jwk(ES, kid="other")), "a set")
    assert [key.kid for key in found.keys] == ["other"]


def test_a_set_of_secrets_and_public_keys_is_refused_whole():
    mixed = key_set(jwk(RS, kid="rsa"), {"kty": "oct", "kid": "s", "k": segment(b"s" * 64)})
    for secret in (False, True):
        with pytest.raises(ConfigError):
            from_set(mixed, "a set", secret=secret)


@pytest.mark.parametrize(
    "value",
    ["", "tiny-one", "k" * 31, PEM, JWKS, json.dumps(jwk(RS)), "ssh-rsa " + "A" * 64, key_set(), "{}", "k" * 5000],
    ids=["unset", "short", "31_bytes", "pem", "set", "jwk", "ssh", "empty_set", "object", "endless"],
)
def test_what_is_short_or_public_is_never_a_secret(value):
    with pytest.raises(ConfigError) as caught:
        from_secret("JWT", value)
    assert not value or value not in str(caught.value)


def test_a_private_key_is_refused_as_a_key_file():
    from cryptography.hazmat.primitives import serialization

    whole = RS.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with pytest.raises(ConfigError, match="private key"):
        from_file_text(whole + PEM, "keys.pem")


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256K1())])
def test_a_weak_key_in_pem_is_refused(key):
    with pytest.raises(ConfigError):
        from_file_text(pem(key), "keys.pem")
