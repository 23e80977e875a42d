"""Who a TLS client certificate speaks for. The server has verified its chain and dates before this is asked. Pure.

The subject is the first URI of its alternative names (a SPIFFE id, say), else its common name; the tenant its
organization (O), the roles its organizational units (OU), the key id its serial number in hex. Whoever runs the
authority that clients' certificates come from decides what stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.domain.identity import Principal
from gateway.errors import UnauthenticatedError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, ObjectIdentifier

MAX_NAME = 256  # characters, as for the names in tokens
MAX_ROLES = 64

_UNREADABLE = "the client certificate cannot be read"


def principal_of(der: bytes) -> Principal:
    """The principal of a verified certificate in DER.

    Raises:
        UnauthenticatedError: it names nobody, or holds what cannot be read; the reason repeats nothing of it.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = _uri(certificate) or _first(certificate, NameOID.COMMON_NAME)
        tenant = _first(certificate, NameOID.ORGANIZATION_NAME)
        roles = _texts(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
        expires_at = certificate.not_valid_after_utc.timestamp()
        serial = format(certificate.serial_number, "x")
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
        raise UnauthenticatedError(_UNREADABLE) from error
    if not subject:
        raise UnauthenticatedError("the client certificate names nobody")
    if max(len(name) for name in (subject, tenant, *roles)) > MAX_NAME or len(roles) > MAX_ROLES:
        raise UnauthenticatedError("a name in the client certificate is too long")
    return Principal(
        kind="certificate",
        subject=subject,
        tenant=tenant,
        roles=frozenset(roles),
        key_id=serial,
        expires_at=expires_at,
    )


def _uri(certificate: Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def _first(certificate: Certificate, oid: ObjectIdentifier) -> str:
    return next(iter(_texts(certificate, oid)), "")


def _texts(certificate: Certificate, oid: ObjectIdentifier) -> list[str]:
    values = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]
    return [value for value in values if isinstance(value, str)]
