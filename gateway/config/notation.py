"""The small notations inside values: durations, sizes, addresses. Pure; errors point into the value."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from gateway.domain.upstreams import APP

if TYPE_CHECKING:
    from collections.abc import Iterable

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
UNIX = "unix:"
_PORTS = {"http": 80, "https": 443}  # where a target names none
_HIGHEST_PORT = 65535
_LONGEST_SOCKET = 107  # sun_path holds 108 bytes on Linux with its final NUL
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253  # RFC 1035 section 2.3.4, without the final dot


class NotationError(ValueError):
    """A value that does not read; ``offset`` is the character inside it, ``remedy`` how to mend it."""

    def __init__(self, message: str, *, offset: int = 0, remedy: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.remedy = remedy


class Address(msgspec.Struct, frozen=True):
    """Where a service listens; of a Unix socket ``host`` is ``unix:/path`` and the port 0."""

    host: str
    port: int
    tls: bool = False

    @property
    def unix(self) -> bool:
        """Whether that is a socket of this machine."""
        return self.host.startswith(UNIX)

    @property
    def name(self) -> str:
        """Such as ``10.0.0.5:9000``, ``[::1]:9000`` or ``unix:/run/orders.sock``, or ``app``."""
        if self.unix:
            return self.host
        if self.host == APP:
            return "app"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like ``word``, or an empty string."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """``did you mean "x"?`` when something is near, else ``otherwise``."""
    found = nearest(word, known)
    return f'did you mean "{found}"?' if found else otherwise


def listed(words: Iterable[str], *, last: str = "or") -> str:
    """``a, b or c``."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def _amount(text: str, units: dict[str, float], what: str, example: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text, re.ASCII)
    if not found:
        raise NotationError(f'"{text}" is not a {what}', remedy=f'write a number and a unit, such as "{example}"')
    number, unit = found.groups()
    if not unit:
        raise NotationError(
            f'"{text}" has no unit', offset=found.end(1), remedy=f'add one of {", ".join(units)}: "{example}"'
        )
    if unit not in units:
        raise NotationError(
            f'unknown unit "{unit}"',
            offset=found.start(2),
            remedy=did_you_mean(unit, units, otherwise=f"use one of {', '.join(units)}"),
        )
    return float(number) * units[unit]


def duration(text: str) -> float:
    """Seconds out of ``500ms``, ``30s``, ``5m``, ``1h`` or ``30d``; zero is refused."""
    seconds = _amount(text, _DURATION_UNITS, "duration", "30s")
    if not 0 < seconds <= 10 * 365 * 86400:
        raise NotationError(f'"{text}" is not between 1ms and 3650d', remedy='write a positive duration such as "30s"')
    return seconds


def pause(text: str) -> float:
    """Seconds as in :func:`duration`, or zero out of ``0s``."""
    return 0.0 if re.fullmatch(r"\s*0+\s*(ms|s|min|m|h|d)\s*", text) else duration(text)


def size(text: str) -> int:
    """Bytes out of ``16KiB``, ``100MiB`` or ``1GB``; zero is refused."""
    count = _amount(text, dict(_SIZE_UNITS), "size", "100MiB")
    if not 1 <= count <= 2**50:
        raise NotationError(f'"{text}" is not between 1B and 1024TiB', remedy='write a positive size such as "100MiB"')
    return int(count)


def host_name(text: str) -> bool:
    """Whether that is an IP address or a host name by the rules of the DNS."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.removesuffix(".").split(".")
        return len(text) <= _LONGEST_HOST and all(_HOST_LABEL.fullmatch(label) for label in labels)
    return True


def bind_address(text: str) -> Address:
    """An address to listen on out of ``127.0.0.1:8001`` or ``[::1]:8001``."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host:
        raise NotationError(f'"{text}" is not host:port', remedy='write it such as "127.0.0.1:8001"')
    if not host_name(host):
        raise NotationError(f'"{host}" is not a host name or an IP address')
    return Address(host=host, port=_port(port, len(text) - len(port)))


def _port(text: str, offset: int) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or not 1 <= int(text) <= _HIGHEST_PORT:
        raise NotationError(f'the port "{text}" is not a whole number from 1 to {_HIGHEST_PORT}', offset=offset)
    return int(text)


def target(text: str) -> Address:
    """The address of an upstream's target: ``http://host:port``, ``https://host:port`` or ``unix:/path``.

    Ports left out are 80 and 443. ``app:`` is the application that embeds the gateway.
    """
    if text == APP:
        return Address(host=APP, port=0)
    if text.startswith(UNIX):
        return _socket(text)
    form = 'write it as "http://host:port"'
    if "://" not in text:
        raise NotationError(f'"{text}" has no scheme', remedy=f'did you mean "http://{text}"?')
    scheme = text.partition("://")[0]
    if scheme not in _PORTS:
        raise NotationError(f'the scheme is "{scheme}", expected "http", "https" or "unix"', remedy=form)
    start = len(scheme) + len("://")
    authority = re.split(r"[/?#]", text[start:], maxsplit=1)[0]
    rest = text[start + len(authority) :]
    if "@" in authority:
        raise NotationError("a target carries no user name or password", offset=start, remedy=form)
    if rest not in {"", "/"}:
        raise NotationError(
            f'a target is an address without a path, found "{rest}"',
            offset=start + len(authority),
            remedy="the path of a request is passed on as it is; see strip_prefix and rewrite of [[routes]]",
        )
    host, port = _authority(authority, start, _PORTS[scheme])
    return Address(host=host, port=port, tls=scheme == "https")


def _socket(text: str) -> Address:
    """The address of a Unix socket: host and name are the whole text, as connections and metrics know it."""
    path = text.removeprefix(UNIX)
    if not path.startswith("/") or path.startswith("//"):
        raise NotationError(
            f'"{path}" is not the absolute path of a socket',
            offset=len(UNIX),
            remedy=f'write "unix:/{path.lstrip("/")}"',
        )
    if not path.isprintable() or path.endswith("/") or len(path.encode()) > _LONGEST_SOCKET:
        raise NotationError(
            f"a socket's path has at most {_LONGEST_SOCKET} visible bytes and no slash at its end", offset=len(UNIX)
        )
    return Address(host=text, port=0)


def _authority(authority: str, start: int, usual: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:]*))(?::(?P<port>.*))?", authority)
    host = "" if found is None else (found["six"] or found["host"] or "").lower()
    if found is None or not host_name(host) or (found["six"] is not None) != (":" in host):
        raise NotationError(
            f'"{authority}" is not host:port',
            offset=start,
            remedy='an IPv6 address stands in brackets: "http://[::1]:9000"' if authority.count(":") > 1 else "",
        )
    port = usual if found["port"] is None else _port(found["port"], start + found.start("port"))
    return host, port


def web_url(text: str) -> str:
    """An ``http`` or ``https`` URL with a host and without user name or password."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise NotationError("this is not a URL", remedy='write it such as "https://example.com/path"') from error
    if parts.scheme not in {"http", "https"} or not host_name(host):
        raise NotationError("this is not an http or https URL", remedy='write it such as "https://example.com/path"')
    if parts.username or parts.password:
        raise NotationError("a URL in the file carries no user name or password")
    return text


def network(text: str) -> str:
    """A network out of ``10.0.0.0/8``, or one address."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        remedy = 'write it such as "10.0.0.0/8" or "192.168.1.7"'
        if "/" in text:
            with suppress(ValueError):
                remedy = f'did you mean "{ipaddress.ip_network(text, strict=False)}"?'
        raise NotationError(f'"{text}" is not a network', remedy=remedy) from error
