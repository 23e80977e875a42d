"""The TLS context clients are answered with, made from files and made again when they change.

New connections get the new context whole; those that are open keep the one they began with. Files that cannot be used
leave the context before them in force: a half-copied certificate must not end a service.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from cryptography import x509

from gateway import logs
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.access import ServerTls

LOOK_S = 1.0
SOON_S = 14 * 86_400  # a certificate that ends within this is warned of, once a day
DAY_S = 86_400

# TLS 1.2 with forward secrecy and authenticated encryption only (Mozilla's "intermediate"); those of 1.3 all are so.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_VERIFY = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

log = logs.get("edge")

Signature = tuple[tuple[int, int, int] | None, ...]


def context(tls: ServerTls) -> ssl.SSLContext:
    """A server context from the files ``tls`` names.

    Raises:
        ConfigError: a file cannot be read, is no PEM, or key and certificate do not belong together.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    made.set_ciphers(CIPHERS)
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"server.tls: {tls.certificate_file} and {tls.key_file}: {_plain(error)}") from error
    if tls.client_ca_file:
        try:
            made.load_verify_locations(tls.client_ca_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"server.tls: {tls.client_ca_file}: {_plain(error)}") from error
        made.verify_mode = _VERIFY[tls.client_certificates]
    return made


class Certificates:
    """The context in force, following its files.

    Args:
        tls: what the snapshot says; None while clients are answered in the clear.
        clock: seconds since the epoch.

    Raises:
        ConfigError: like :func:`context`.
    """

    def __init__(self, tls: ServerTls | None, *, clock: Callable[[], float] = time) -> None:
        self._tls = tls
        self._clock = clock
        self._seen = _signature(tls)
        self._expires_at = 0.0
        self._warned_at = 0.0
        self.current: ssl.SSLContext | None = None
        if tls is not None:
            self.current = context(tls)
            self._loaded(tls)

    def apply(self, tls: ServerTls | None) -> None:
        """Take what a new snapshot says; if its files cannot be used, all stays as it was."""
        if tls == self._tls:
            return
        seen = _signature(tls)
        try:
            made = context(tls) if tls is not None else None
        except ConfigError as error:
            log.error("certificate.refused", reason=str(error))  # noqa: TRY400 - the reason is whole; a trace adds nothing
            return
        self._tls, self._seen, self.current = tls, seen, made
        if tls is not None:
            self._loaded(tls)

    def look(self) -> bool:
        """Whether there is a new context, because the files changed."""
        tls = self._tls
        if tls is None:
            return False
        if self._expires_at - self._clock() < SOON_S and self._clock() - self._warned_at >= DAY_S:
            self._warned_at = self._clock()
            log.warning("certificate.expires_soon", file=tls.certificate_file, expires_at=int(self._expires_at))
        signature = _signature(tls)
        if signature == self._seen:
            return False
        # Noted before reading, so that files which change meanwhile show once more; bad ones are told of once.
        self._seen = signature
        try:
            self.current = context(tls)
        except ConfigError as error:
            log.error("certificate.refused", reason=str(error))  # noqa: TRY400 - as above
            return False
        self._loaded(tls)
        return True

    async def follow(self) -> None:
        """Look once a second until cancelled: three stats, and about a millisecond when files changed."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def _loaded(self, tls: ServerTls) -> None:
        try:
            certificate = x509.load_pem_x509_certificates(Path(tls.certificate_file).read_bytes())[0]
        except (OSError, ValueError, IndexError):  # replaced since; the next look reads it
            return
        self._expires_at = certificate.not_valid_after_utc.timestamp()
        self._warned_at = 0.0
        log.info("certificate.loaded", file=tls.certificate_file, expires_at=int(self._expires_at))


def _signature(tls: ServerTls | None) -> Signature:
    if tls is None:
        return ()
    return tuple(_of_file(name) for name in (tls.certificate_file, tls.key_file, tls.client_ca_file) if name)


def _of_file(name: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - once a second and file, without a Path for each
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type the password: store it decrypted, mode 0600")


def _plain(error: Exception) -> str:
    """OpenSSL's or the system's reason without the numbers around it."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "they do not hold the PEM texts they should").lower().replace("_", " ")
        return "the key does not belong to the certificate" if reason == "key values mismatch" else reason
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
