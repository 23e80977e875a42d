"""Keys and tokens for tests: what an identity provider has, and what an attacker makes by hand."""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@cache
def private_key(algorithm: str, number: int = 1, bits: int = 2048) -> Any:
    """A key that signs with that algorithm; another ``number`` is another key."""
    del number
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(key: Any) -> str:
    """Its public half."""
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """Its public half as a JSON Web Key with these members on top."""
    kinds = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind = next((found for base, found in kinds.items() if isinstance(key, base)), OKPAlgorithm)
    made = kind.to_jwk(key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {**made, **members}


def key_set(*keys: dict[str, Any]) -> str:
    """A JSON Web Key Set."""
    return json.dumps({"keys": list(keys)})


def signed(claims: dict[str, Any], key: Any, algorithm: str, **header: Any) -> str:
    """A token as a provider makes it."""
    return jwt.encode(claims, key, algorithm=algorithm, headers=header or None)


def segment(value: Any) -> str:
    """Base64url of bytes, or of a value's JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], claims: Any, secret: bytes, digest: str = "sha256") -> str:
    """A token with an HMAC as an attacker's own code makes it, past every check of a library."""
    content = f"{segment(header)}.{segment(claims)}"
    return f"{content}.{segment(hmac.digest(secret, content.encode(), digest))}"
