"""Certificates made on the spot: an authority, and what it signs for servers and clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}


class Authority:
    """Signs; ``file`` is its own certificate. Keys are EC P-256, which take no time to make."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key, days=30).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = made.sign(self._key, SHA256())
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any, *, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
        )

    def sign(
        self,
        *names: tuple[str, str],
        uris: tuple[str, ...] = (),
        dns: tuple[str, ...] = ("localhost",),
        days: float = 30,
        extra: Any = None,
    ) -> tuple[x509.Certificate, Any]:
        """A certificate and its key, for subject ``names`` like ("CN", "orders")."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(_NAMES[short], value) for short, value in names])
        alternatives = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns),
            x509.IPAddress(ip_address("127.0.0.1")),
        ]
        builder = self._builder(subject, key, days=days).add_extension(
            x509.SubjectAlternativeName(alternatives), critical=False
        )
        return builder.sign(self._key, SHA256()), key

    def files(self, name: str, *names: tuple[str, str], **given: Any) -> tuple[str, str]:
        """Paths of a certificate and its key, written as ``name``.pem and ``name``.key."""
        certificate, key = self.sign(*(names or (("CN", name),)), **given)
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(paths[0]), str(paths[1])
