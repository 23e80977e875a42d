"""One signed text in compact form: its header read strictly, its signature checked by a key of the right kind.

Only the compact form with three segments is read: JSON serialisation, encryption (five segments), detached and
unencoded payloads (RFC 7797) are refused. Keys in the header (jwk, jku, x5c, x5u) are never looked at.
Sources: RFC 7515, RFC 7518 section 3, RFC 8037, RFC 8725.
"""

from __future__ import annotations

import re
from hmac import compare_digest, digest
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from gateway.errors import UnauthenticatedError
from gateway.jwk import MAX_KID, base64url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    from gateway.jwk import Material, VerificationKey

MAX_TOKEN_BYTES = 8192  # as much as common servers allow for a whole header field
MAX_TRIED = 4  # keys without a name that one token is tried with

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+")
_HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class UnknownKeyError(UnauthenticatedError):
    """No key at hand is the token's own; perhaps the issuer has changed keys."""


class Signed(NamedTuple):
    """A token taken apart. Nothing in it is to be believed before :meth:`Keys.check`."""

    algorithm: str
    kid: str
    type: str
    payload: bytes
    content: bytes  # what was signed
    signature: bytes


class Keys:
    """Keys by the algorithm they are used for.

    Args:
        keys: what may verify.
        algorithms: which of their algorithms are accepted.
    """

    def __init__(self, keys: Iterable[VerificationKey], algorithms: Iterable[str]) -> None:
        known = tuple(keys)
        self._by_algorithm = {
            algorithm: tuple(key for key in known if algorithm in key.algorithms) for algorithm in algorithms
        }

    def check(self, signed: Signed) -> None:
        """Return when one of these keys made the signature.

        Raises:
            UnknownKeyError: no key of that name and kind, or none that fits a token or keys without names.
            UnauthenticatedError: the algorithm is not accepted, or the signature does not match.
        """
        fitting = self._by_algorithm.get(signed.algorithm)
        if fitting is None:
            raise UnauthenticatedError("the token's algorithm is not accepted")
        named = [key for key in fitting if not signed.kid or key.kid in {"", signed.kid}]
        if not named:
            raise UnknownKeyError("the token's key is not known")
        if len(named) > MAX_TRIED:
            raise UnauthenticatedError("the token does not say which key signed it")
        if any(_matches(key.material, signed) for key in named):
            return
        # Without a name on both sides nobody knows whether this is a forgery or a key that is new.
        meant = signed.kid and any(key.kid for key in named)
        raise (UnauthenticatedError if meant else UnknownKeyError)("the token's signature does not match")


def take_apart(token: bytes) -> Signed:
    """The parts of a token, once its form is beyond doubt; raises UnauthenticatedError."""
    if len(token) > MAX_TOKEN_BYTES:
        raise UnauthenticatedError(f"the token is over {MAX_TOKEN_BYTES} bytes")
    if _COMPACT.fullmatch(token) is None:
        raise UnauthenticatedError("the token is not three base64url segments")
    content, _, last = token.rpartition(b".")
    first, _, middle = content.partition(b".")
    try:
        head, payload, signature = base64url(first), base64url(middle), base64url(last)
    except ValueError as error:
        raise UnauthenticatedError("the token is not canonical base64url") from error
    header = decode_object(head, "the token's header is not a JSON object")
    # "crit" lists extensions we must understand, and we know none; "b64" changes what was signed (RFC 7797).
    if "crit" in header or "b64" in header:
        raise UnauthenticatedError("the token needs an extension that is not supported")
    algorithm, kid, kind = (header.get(name, "") for name in ("alg", "kid", "typ"))
    if not all(isinstance(name, str) and len(name) <= MAX_KID for name in (algorithm, kid, kind)):
        raise UnauthenticatedError("the token's header holds no short texts")
    return Signed(algorithm, kid, kind, payload, content, signature)


def decode_object(text: bytes, refusal: str) -> dict[str, Any]:
    """A JSON object, or UnauthenticatedError with that text."""
    try:
        return _decode_object(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnauthenticatedError(refusal) from error


def _matches(material: Material, signed: Signed) -> bool:
    """Whether that key made the signature. The kind of key fits the algorithm: :class:`Keys` chose it by it."""
    algorithm, signature, content = signed.algorithm, signed.signature, signed.content
    if isinstance(material, bytes):
        return compare_digest(digest(material, content, f"sha{algorithm[2:]}"), signature)
    try:
        if isinstance(material, rsa.RSAPublicKey):
            hashed = _HASHES[algorithm[2:]]
            material.verify(signature, content, _padding(algorithm, hashed), hashed)
        elif isinstance(material, ec.EllipticCurvePublicKey):
            material.verify(_der(signature, material.curve), content, ec.ECDSA(_HASHES[algorithm[2:]]))
        elif isinstance(material, Ed25519PublicKey):
            material.verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _padding(algorithm: str, hashed: HashAlgorithm) -> padding.AsymmetricPadding:
    if algorithm.startswith("RS"):
        return padding.PKCS1v15()
    # RFC 7518 section 3.5: the salt is as long as the hash, and no other length is accepted.
    return padding.PSS(mgf=padding.MGF1(hashed), salt_length=hashed.digest_size)


def _der(signature: bytes, curve: ec.EllipticCurve) -> bytes:
    """R and S side by side, each of the curve's length (RFC 7518 section 3.4), as the library wants them."""
    size = (curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        raise ValueError("the signature has not the length of its curve")
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
