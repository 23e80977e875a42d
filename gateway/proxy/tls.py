"""TLS towards one upstream: the context its connections are made with, renewed when its files change.

Files are read in a thread, looked at again at most once a second and only when a new connection is wanted. A change
that cannot be used keeps what was in force; connections that exist are never touched.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gateway import logs
from gateway.errors import SentinelError
from gateway.proxy.resolve import UNIX

if TYPE_CHECKING:
    from gateway.domain.upstreams import Target, Upstream, UpstreamTls

LOOK_EVERY_S = 1.0
UNUSABLE = "the gateway's TLS settings for this upstream cannot be used"

# OpenSSL's X509_V_ERR_* (x509_vfy.h) in words that name neither host nor address; clients get to see them.
_REASONS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "is signed by an authority that is not trusted",
    20: "is signed by an authority that is not trusted",
    21: "is signed by an authority that is not trusted",
    23: "was revoked",
    62: "is for another name",
    64: "is for another address",
}

_log = logs.get("proxy")

Stamp = tuple[int, int, int]


class TlsUnusableError(SentinelError):
    """A file of ``[upstreams.NAME.tls]`` is missing, unreadable or not what it should be."""

    status = 502


def make_context(tls: UpstreamTls) -> ssl.SSLContext:
    """A client context as ``tls`` wants it: TLS 1.2 or newer, HTTP/1.1 by ALPN. Reads files.

    Raises:
        TlsUnusableError: says which file and why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Python ignores an end without close_notify by default; it would make a cut body look whole (RFC 9112 §9.8).
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file:
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except (OSError, ValueError) as error:
            raise TlsUnusableError(f"ca_file {tls.ca_file}: {_why(error)}") from error
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.certificate_file:
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file or None, password=_no_password)
        except (OSError, ValueError) as error:
            files = ", ".join(filter(None, (tls.certificate_file, tls.key_file)))
            raise TlsUnusableError(f"certificate_file and key_file ({files}): {_why(error)}") from error
    return context


def server_name(tls: UpstreamTls, target: Target) -> str:
    """What the certificate must be for, and SNI says where it is a name."""
    if tls.server_name:
        return tls.server_name
    if target.host.startswith(UNIX):
        return "localhost"
    return target.host.partition("%")[0].rstrip(".")  # neither an interface nor the root's dot is part of the name


def plain_reason(error: ssl.SSLError) -> str:
    """Why there is no TLS connection, without names or addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate {_REASONS.get(error.verify_code, 'is not valid')}"
    return "the TLS handshake failed"


def ended_in_order(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer's end of a connection is its own: by TLS, that it said so (close_notify) before it closed.

    Without that anybody on the way could have cut it (RFC 8446 §6.1). asyncio tells both the same way.
    """
    session = transport.get_extra_info("ssl_object")
    if session is None:
        return True
    try:
        return not session.read(1)  # nothing, rather than "nothing yet"
    except ssl.SSLError:
        return False


class UpstreamContext:
    """The context of one upstream's connections. Made and used on one event loop."""

    def __init__(self, upstream: str, tls: UpstreamTls) -> None:
        self.tls = tls
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._context: ssl.SSLContext | None = None
        self._stamps: tuple[Stamp | None, ...] = ()
        self._problem = ""
        self._look_at = float("-inf")
        self._look: asyncio.Task[None] | None = None
        if not tls.verify:
            _log.warning("upstream_tls.unverified", upstream=upstream)

    def prepare(self) -> None:
        """Begin to read the files, so that the first connection need not wait for them."""
        if self._look is None and self._loop.time() >= self._look_at:
            self._look = self._loop.create_task(self._renew())

    async def current(self) -> ssl.SSLContext:
        """The context for a new connection.

        Raises:
            TlsUnusableError: the files have never been usable so far.
        """
        self.prepare()
        if self._look is not None:
            await asyncio.shield(self._look)
        if self._context is None:
            raise TlsUnusableError(UNUSABLE)
        return self._context

    def close(self) -> None:
        """Read nothing any more."""
        if self._look is not None:
            self._look.cancel()

    async def _renew(self) -> None:
        try:
            renewed = await asyncio.to_thread(self._read)
        except TlsUnusableError as error:
            problem = str(error)
            if problem != self._problem:
                self._problem = problem
                kept = self._context is not None
                _log.warning("upstream_tls.unusable", upstream=self._upstream, problem=problem, kept_old=kept)
        else:
            if renewed is not None:
                if self._context is not None or self._problem:
                    _log.info("upstream_tls.renewed", upstream=self._upstream)
                self._context, self._problem = renewed, ""
        finally:
            self._look = None
            self._look_at = self._loop.time() + LOOK_EVERY_S

    def _read(self) -> ssl.SSLContext | None:
        """In a thread: a new context if any file changed since the last look, otherwise None."""
        files = (self.tls.ca_file, self.tls.certificate_file, self.tls.key_file)
        # Taken before the files are read: what changes meanwhile is seen the next time.
        stamps = tuple(_stamp(file) for file in files if file)
        if stamps == self._stamps and self._context is not None:
            return None
        self._stamps = stamps
        return make_context(self.tls)


class UpstreamContexts:
    """The contexts of all upstreams of a worker, or of control: one for each upstream, as long as anyone uses it."""

    def __init__(self) -> None:
        self._contexts: WeakValueDictionary[tuple[str, UpstreamTls], UpstreamContext] = WeakValueDictionary()

    def of(self, upstream: Upstream) -> UpstreamContext:
        """The context of this upstream; its files are being read when this returns."""
        key = upstream.name, upstream.tls
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = UpstreamContext(*key)
            context.prepare()
        return context

    def close(self) -> None:
        """Read no file any more."""
        for context in tuple(self._contexts.values()):
            context.close()


def _stamp(file: str) -> Stamp | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - follows links, as mounted secrets are; a Path would be made each second
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _no_password() -> str:
    # Without this OpenSSL would ask at the terminal, and wait.
    raise ValueError("the key is encrypted; only keys without a passphrase can be used")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return f"not usable ({reason})" if reason else "not usable (not PEM)"
    return getattr(error, "strerror", None) or str(error)
