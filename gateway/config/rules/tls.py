"""Rules for certificates and keys: the files are there, are what they should be, fit together and are in date."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

from gateway.config.notation import host_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from gateway.config.document_upstreams import UpstreamEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_LARGEST_FILE = 1024 * 1024  # the CA bundle of a distribution has about 250 KiB
_SOON = dt.timedelta(days=14)
_PEM_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def of_server(context: Context) -> None:
    """Judge [server.tls]."""
    tls, report, where = context.document.server.tls, context.report, ("server", "tls")
    if tls is None:
        return
    _pair(context, where, tls.certificate_file, tls.key_file)
    if tls.client_ca_file:
        _certificates(context, (*where, "client_ca"), tls.client_ca_file)
        if tls.client_certificates == "off":
            report.at_value(
                (*where, "client_ca"),
                'client_ca is set but client_certificates = "off" asks nobody for one',
                'write client_certificates = "optional" or "required"',
            )
    elif tls.client_certificates != "off" and report.sound((*where, "client_certificates")):
        report.at_value(
            (*where, "client_certificates"),
            f'client_certificates = "{tls.client_certificates}" needs client_ca, which says whose are good',
            'add client_ca = "/etc/sentinel/clients.pem"',
        )


def of_upstream(context: Context, upstream: UpstreamEntry) -> None:
    """Judge ``tls`` of one upstream."""
    where, report, tls = (*context.path(upstream), "tls"), context.report, upstream.tls
    if tls is None:
        return
    if upstream.targets and not any(target.url.tls for target in upstream.targets):
        report.at_value(
            where,
            f'upstream "{upstream.name}" has no https target, so tls says nothing',
            'write targets = ["https://…"]',
        )
    if tls.server_name and not host_name(tls.server_name):
        report.at_value((*where, "server_name"), f'"{tls.server_name}" is not a host name or an IP address')
    if not tls.verify:
        for key, value in (("ca", tls.ca_file), ("server_name", tls.server_name)):
            if value and key == "ca":
                report.at_value((*where, key), "ca is set but verify = false looks at none", "leave verify out")
        report.at_value(
            (*where, "verify"),
            "verify = false takes whoever answers for the service",
            'name its certificate authority: ca = "…"',
            warning=True,
        )
    elif tls.ca_file:
        _certificates(context, (*where, "ca"), tls.ca_file)
    if tls.certificate_file and tls.key_file:
        _pair(context, where, tls.certificate_file, tls.key_file)
    elif tls.certificate_file or tls.key_file:
        have, lack = ("certificate", "key") if tls.certificate_file else ("key", "certificate")
        report.at_value((*where, have), f"tls.{have} is set without tls.{lack}", f'add {lack} = "…"')


def _pair(context: Context, where: Path, certificate_file: str, key_file: str) -> None:
    """Judge a certificate with its key, as OpenSSL will when a worker loads them."""
    chain = _certificates(context, (*where, "certificate"), certificate_file)
    key = _content(context, (*where, "key"), key_file)
    if not chain or key is None:
        return
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        context.report.at_value(
            (*where, "key"),
            f'the key in "{key_file}" is encrypted, and nobody is there to type its password',
            "openssl pkey -in KEY -out PLAIN.pem, mode 0600",
        )
        return
    except ValueError:
        remedy = "openssl req -x509 -newkey rsa:2048 -nodes makes a pair to try with"
        context.report.at_value((*where, "key"), f'"{key_file}" is not a private key in PEM form', remedy)
        return
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        context.report.at_value(
            (*where, "key"),
            f'the key in "{key_file}" is not the one of the first certificate in "{certificate_file}"',
            "the server's own certificate comes first, those of the authorities behind it",
        )
        return
    _dates(context, (*where, "certificate"), chain[0], certificate_file)
    _loads(context, (*where, "certificate"), certificate_file, key_file)


def _loads(context: Context, where: Path, certificate_file: str, key_file: str) -> None:
    """OpenSSL has a say of its own: keys it holds too small, curves it does not know."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            context.folder / certificate_file, context.folder / key_file, password=""
        )
    except (ssl.SSLError, OSError) as error:
        reason = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or "unknown reason"
        context.report.at_value(where, f'OpenSSL refuses "{certificate_file}" with its key: {reason}')


def _certificates(context: Context, where: Path, name: str) -> Sequence[x509.Certificate]:
    """The certificates of a PEM file; reports why there are none."""
    from cryptography import x509

    text = _content(context, where, name)
    if text is None:
        return ()
    try:
        found = x509.load_pem_x509_certificates(text) if _PEM_CERTIFICATE in text else []
    except ValueError:
        found = []
    if not found:
        context.report.at_value(
            where, f'"{name}" holds no certificate in PEM form', "a file that begins with -----BEGIN CERTIFICATE-----"
        )
    return found


def _content(context: Context, where: Path, name: str) -> bytes | None:
    if not name:
        context.report.at_value(where, "this names no file", "write the path of a PEM file")
        return None
    try:
        with (context.folder / name).open("rb") as file:
            return file.read(_LARGEST_FILE)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        context.report.at_value(where, f'cannot read "{name}": {reason}', f"ls -l {name}")
        return None


def _dates(context: Context, where: Path, certificate: x509.Certificate, name: str) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = dt.datetime.fromtimestamp(context.now, dt.UTC)
    if ends <= now:
        context.report.at_value(where, f'the certificate in "{name}" expired on {ends:%Y-%m-%d}', "renew it")
    elif begins > now:
        context.report.at_value(
            where, f'the certificate in "{name}" only begins on {begins:%Y-%m-%d}', "look at this machine's clock"
        )
    elif ends - now < _SOON:
        days = (ends - now).days
        context.report.at_value(
            where, f'the certificate in "{name}" expires in {days} days, on {ends:%Y-%m-%d}', "renew it", warning=True
        )
