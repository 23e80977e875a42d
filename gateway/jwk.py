"""Verification keys out of PEM texts, JSON Web Key Sets and secrets: read, judged, and pinned to their algorithms.

The key says which algorithms it may verify; a token never does. What does not fit is left out with a reason, because
a set may hold keys for other purposes (RFC 7517 section 5); a set that mixes secrets with public keys is refused whole.
Sources: RFC 7517, RFC 7518 sections 3 and 6, RFC 8037, RFC 8725 section 3.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 section 3.2: at least as long as the hash
CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}
ALGORITHMS = frozenset({*SECRET_BYTES, *RSA_ALGORITHMS, *(name for name, _ in CURVES.values()), "EdDSA"})

MAX_SET_BYTES = 256 * 1024  # the largest sets of public providers are below 20 KiB
MAX_KEYS = 100
MAX_KID = 256  # characters
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
MAX_RSA_BITS = 8192  # a verification takes 0.5 ms; beyond it a set could slow a worker down
MIN_EXPONENT = 65537  # FIPS 186-5: more than 2^16; 1 would make every text its own signature
MAX_EXPONENT = 2**32
MAX_SECRET_BYTES = 1024

_MISSPELT = {"ES521": "ES512"}  # some issuers name the curve's size instead of the hash's
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_KEY_TEXT = re.compile(r"-----BEGIN|\"kty\"|^ssh-")  # a public key in place of a secret is known to everybody
_ROCA_PRIMES = (
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157
)  # fmt: skip

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

Material = bytes | rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key and all it may verify. ``kid`` is empty where the key has no name."""

    material: Material
    algorithms: frozenset[str]
    kid: str = ""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys that may be used, and why others of the same text may not."""

    keys: tuple[VerificationKey, ...]
    left_out: tuple[str, ...] = ()


class _UnfitError(Exception):
    """Why a key is left out."""


def base64url(text: bytes) -> bytes:
    """The bytes of a base64url text without padding; ValueError for any other spelling of the same bytes."""
    try:
        decoded = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except Base64Error as error:
        raise ValueError("not base64url") from error
    # The decoder skips what is no letter of the alphabet and ignores stray bits; so one token could be spelt many ways.
    if urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise ValueError("not canonical base64url")
    return decoded


def from_secret(variable: str, value: str) -> KeySet:
    """Keys of an HMAC secret, or of a JSON Web Key Set of secrets (``oct``), by which a secret can be changed in peace.

    Raises:
        ConfigError: not set, too short, or the text of a public key. Never shows the value.
    """
    if not value:
        raise ConfigError(f"auth.jwt: the environment variable {variable or '(secret_env is empty)'} is not set")
    if value.lstrip().startswith("{"):
        found = from_set(value, f"auth.jwt: {variable}", secret=True)
    elif _KEY_TEXT.search(value):
        raise ConfigError(f"auth.jwt: {variable} holds a key text; HMAC needs a secret that nobody else knows")
    else:
        found = KeySet((VerificationKey(value.encode(), _hmac_algorithms(len(value.encode()))),))
    if not any(key.algorithms for key in found.keys):
        raise ConfigError(f"auth.jwt: the secret in {variable} is shorter than {SECRET_BYTES['HS256']} bytes")
    return found


def from_file_text(text: str, source: str) -> KeySet:
    """Keys of a PEM text (one public key or several), or of a JSON Web Key Set.

    Raises:
        ConfigError: there is a private key in it, or no key that may be used.
    """
    if "PRIVATE KEY" in text:
        raise ConfigError(f"{source} holds a private key; a gateway needs the public one only")
    if text.lstrip().startswith("{"):
        return from_set(text, source)
    blocks = _PEM.findall(text)
    if not blocks:
        raise ConfigError(f"{source} is not a public key in PEM form")
    keys: list[VerificationKey] = []
    for block in blocks[:MAX_KEYS]:
        try:
            material = load_pem_public_key(block.encode())
            keys.append(VerificationKey(*_judged(material)))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{source} is not a public key in PEM form") from error
        except _UnfitError as error:
            raise ConfigError(f"{source}: {error}") from error
    return KeySet(tuple(keys))


def from_set(text: str | bytes, source: str, *, secret: bool = False) -> KeySet:
    """Keys of a JSON Web Key Set (or of one bare key): public ones, or with ``secret`` only ``oct`` ones.

    Keys of one name (``kid``) are all left out, because which of them a token means cannot be told.

    Raises:
        ConfigError: not a key set, of the wrong kind, or without a key that may be used.
    """
    entries = _entries(text, source)
    secrets = [entry for entry in entries if entry.get("kty") == "oct"]
    if secrets and not secret:
        raise ConfigError(f"{source} holds a secret (kty oct) among public keys, so all of it is refused")
    if secret and len(secrets) < len(entries):
        raise ConfigError(f"{source} holds a public key; HMAC needs a secret that nobody else knows")
    keys: list[VerificationKey] = []
    left_out: list[str] = []
    for place, entry in enumerate(entries, start=1):
        try:
            keys.append(_from_jwk(entry))
        except _UnfitError as error:
            left_out.append(f"key {place}: {error}")
    # Unfit keys count too: a broken twin says no more than a sound one which of the two a token means.
    times = Counter(
        entry["kid"] for entry in entries if isinstance(entry.get("kid"), str) and entry.get("use") != "enc"
    )
    left_out += [f"{count} keys have the same kid" for count in times.values() if count > 1]
    keys = [key for key in keys if not key.kid or times[key.kid] <= 1]
    if not keys:
        raise ConfigError(f"{source} holds no key that may be used", problems=tuple(left_out))
    return KeySet(tuple(keys), tuple(left_out))


def public_members(text: str | bytes, source: str) -> str:
    """The same public keys as a text without anything else in it, so that two equal sets are equal texts.

    Raises:
        ConfigError: as :func:`from_set`.
    """
    from_set(text, source)
    members = ("kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y")
    kept = [
        {name: entry[name] for name in members if name in entry} for entry in _entries(text, source) if "d" not in entry
    ]
    kept.sort(key=lambda entry: (str(entry.get("kid", "")), str(entry.get("n", entry.get("x", "")))))
    return msgspec.json.encode({"keys": kept}).decode()


def _entries(text: str | bytes, source: str) -> list[dict[str, Any]]:
    if len(text) > MAX_SET_BYTES:
        raise ConfigError(f"{source} is over {MAX_SET_BYTES} bytes")
    try:
        document = _decode_object(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is not a JSON Web Key Set") from error
    entries = document.get("keys", [document] if "kty" in document else None)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{source} is not a JSON Web Key Set")
    if len(entries) > MAX_KEYS:
        raise ConfigError(f"{source} holds more than {MAX_KEYS} keys")
    return entries


def _from_jwk(entry: dict[str, Any]) -> VerificationKey:
    kid = entry.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID:
        raise _UnfitError("its kid is not a short text")
    if entry.get("use", "sig") != "sig":
        raise _UnfitError("it is not for signatures (use)")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnfitError("it is not for verifying (key_ops)")
    material, fits = _material(entry)
    named = entry.get("alg")
    if named is not None:
        named = _MISSPELT.get(str(named), str(named))
        fits &= {named}
    if not fits:
        raise _UnfitError("its algorithm is unknown or not one of its type and length")
    return VerificationKey(material, fits, kid)


def _material(entry: dict[str, Any]) -> tuple[Material, frozenset[str]]:
    kind = entry.get("kty")
    if kind == "oct":
        secret = _octets(entry, "k")
        return secret, _hmac_algorithms(len(secret))
    if "d" in entry:
        raise _UnfitError("it is a private key, so everybody could sign with it")
    try:
        match kind:
            case "RSA":
                numbers = rsa.RSAPublicNumbers(_integer(entry, "e"), _integer(entry, "n"))
                _judge_rsa(numbers)
                return _judged(numbers.public_key())
            case "EC":
                return _judged(_point(entry))
            case "OKP" if entry.get("crv") == "Ed25519":
                return _judged(Ed25519PublicKey.from_public_bytes(_octets(entry, "x")))
            case _:
                raise _UnfitError("its type is not one of RSA, EC (P-256, P-384, P-521) or OKP (Ed25519)")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _UnfitError("its numbers are no key") from error


def _point(entry: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    found = CURVES.get(str(entry.get("crv")))
    if found is None:
        raise _UnfitError("its curve is not one of P-256, P-384, P-521")
    curve = found[1]
    x, y = _octets(entry, "x"), _octets(entry, "y")
    if {len(x), len(y)} != {(curve.key_size + 7) // 8}:
        raise _UnfitError("its coordinates have not the length of its curve")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    return numbers.public_key()  # ValueError for a point that is not on the curve


def _judged(material: object) -> tuple[Material, frozenset[str]]:
    """The key and every algorithm of its type."""
    if isinstance(material, rsa.RSAPublicKey):
        _judge_rsa(material.public_numbers())
        return material, frozenset(RSA_ALGORITHMS)
    if isinstance(material, ec.EllipticCurvePublicKey):
        for algorithm, curve in CURVES.values():
            if curve.name == material.curve.name:
                return material, frozenset({algorithm})
    if isinstance(material, Ed25519PublicKey):
        return material, frozenset({"EdDSA"})
    raise _UnfitError("its type is not one of RSA, EC (P-256, P-384, P-521) or Ed25519")


def _judge_rsa(numbers: rsa.RSAPublicNumbers) -> None:
    bits = numbers.n.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise _UnfitError(f"the RSA key has {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    if not MIN_EXPONENT <= numbers.e <= MAX_EXPONENT:
        raise _UnfitError("its public exponent is not 65537 or a little more")
    if not numbers.n & numbers.e & 1:
        raise _UnfitError("its modulus and exponent are not both odd")
    if all(numbers.n % prime in residues for prime, residues in _ROCA_RESIDUES):
        raise _UnfitError("it was made by a faulty chip and its private key can be computed (CVE-2017-15361)")


def _residues(primes: Iterable[int]) -> tuple[tuple[int, frozenset[int]], ...]:
    """Per small prime, the powers of 65537: the faulty generator's moduli are powers of it for every prime at once."""
    return tuple((prime, frozenset(pow(65537, power, prime) for power in range(prime - 1))) for prime in primes)


_ROCA_RESIDUES = _residues(_ROCA_PRIMES)


def _hmac_algorithms(length: int) -> frozenset[str]:
    if length > MAX_SECRET_BYTES:
        return frozenset()
    return frozenset(name for name, least in SECRET_BYTES.items() if length >= least)


def _octets(entry: dict[str, Any], name: str) -> bytes:
    value = entry.get(name)
    if not isinstance(value, str):
        raise _UnfitError(f"it lacks {name}")
    try:
        return base64url(value.encode())
    except ValueError as error:
        raise _UnfitError(f"its {name} is not base64url") from error


def _integer(entry: dict[str, Any], name: str) -> int:
    return int.from_bytes(_octets(entry, name), "big")
