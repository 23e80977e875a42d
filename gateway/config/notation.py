"""The small notations inside values: durations, sizes, limits, addresses. Pure; errors point into the value."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from gateway.domain.limits import Scope

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
_WINDOWS_S = {"s": 1, "min": 60, "h": 3600, "day": 86400}
_MOST_TOKENS = 1_000_000_000  # a bucket's arithmetic stays exact in a double far beyond this
_HIGHEST_PORT = 65535
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253  # RFC 1035 section 2.3.4, without the final dot


class NotationError(ValueError):
    """A value that does not read; ``offset`` is the character inside it, ``remedy`` how to mend it."""

    def __init__(self, message: str, *, offset: int = 0, remedy: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.remedy = remedy


class LimitRule(msgspec.Struct, frozen=True):
    """``count`` requests per ``window_s`` seconds, at most ``burst`` at once, counted per ``scope``."""

    count: int
    window_s: int
    burst: int
    scope: Scope


class Address(msgspec.Struct, frozen=True):
    """Where a service listens; ``name`` is ``host:port`` with brackets around IPv6."""

    host: str
    port: int

    @property
    def name(self) -> str:
        """Such as ``10.0.0.5:9000`` or ``[::1]:9000``."""
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


def limit(text: str) -> LimitRule:
    """A rule out of ``100/s burst 200 per subject``. Without a burst, one window's worth may come at once."""
    words = [(found.group(), found.start()) for found in re.finditer(r"\S+", text)]
    if not words:
        raise NotationError("a limit is empty", remedy='write it such as "100/s burst 200 per subject"')
    count, window_s = _rate(*words[0])
    rest = words[1:]
    burst = count
    if rest and rest[0][0] == "burst":
        if len(rest) == 1:
            raise NotationError('"burst" lacks its number', offset=rest[0][1], remedy=f'write "burst {count * 2}"')
        burst = _tokens(rest[1][0], rest[1][1], "burst")
        rest = rest[2:]
    return LimitRule(count=count, window_s=window_s, burst=burst, scope=_scope(rest, len(text)))


def _rate(word: str, offset: int) -> tuple[int, int]:
    count, slash, unit = word.partition("/")
    if not slash:
        raise NotationError(f'"{word}" is not a rate', offset=offset, remedy='write it such as "100/s"')
    tokens = _tokens(count, offset, "rate")
    if unit not in _WINDOWS_S:
        aliases = {"sec": "s", "second": "s", "m": "min", "minute": "min", "hour": "h", "d": "day"}
        meant = f'did you mean "{aliases[unit]}"?' if unit in aliases else "use s, min, h or day"
        raise NotationError(f'unknown unit "{unit}" in the rate', offset=offset + len(count) + 1, remedy=meant)
    return tokens, _WINDOWS_S[unit]


def _tokens(word: str, offset: int, what: str) -> int:
    if not re.fullmatch(r"\d{1,10}", word, re.ASCII) or not 1 <= int(word) <= _MOST_TOKENS:
        raise NotationError(
            f'the {what} "{word}" is not a whole number from 1 to {_MOST_TOKENS}',
            offset=offset,
            remedy='for less than one a second choose a longer unit, such as "30/min"' if what == "rate" else "",
        )
    return int(word)


def _scope(words: list[tuple[str, int]], end: int) -> Scope:
    scopes = [scope.value for scope in Scope]
    if not words:
        raise NotationError("a limit does not say whom it counts", offset=end, remedy=f'add "per {listed(scopes)}"')
    word, offset = words[0]
    if word != "per":
        raise NotationError(
            f'"{word}" is not expected here',
            offset=offset,
            remedy=did_you_mean(word, ("burst", "per"), otherwise='the order is "RATE burst N per SCOPE"'),
        )
    if len(words) == 1:
        raise NotationError('"per" lacks its scope', offset=offset, remedy=f'write "per {listed(scopes)}"')
    scope, offset = words[1]
    if "," in scope:
        raise NotationError(
            "one limit per string",
            offset=offset + scope.index(","),
            remedy='several stand in a list: ["100/s per subject", "1000/min per tenant"]',
        )
    if scope not in scopes:
        raise NotationError(
            f'unknown scope "{scope}"',
            offset=offset,
            remedy=did_you_mean(scope, scopes, otherwise=f"use {listed(scopes)}"),
        )
    if words[2:]:
        raise NotationError(
            f'"{words[2][0]}" is one word too many',
            offset=words[2][1],
            remedy='several limits stand in a list: ["100/s per subject", "1000/min per tenant"]',
        )
    return Scope(scope)


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
    """The address of an upstream's target out of ``http://host:port``; port 80 where none is written."""
    form = 'write it as "http://host:port"'
    if "://" not in text:
        raise NotationError(f'"{text}" has no scheme', remedy=f'did you mean "http://{text}"?')
    scheme = text.partition("://")[0]
    if scheme != "http":
        raise NotationError(f'the scheme is "{scheme}", expected "http"', remedy=form)
    authority = re.split(r"[/?#]", text[len("http://") :], maxsplit=1)[0]
    rest = text[len("http://") + len(authority) :]
    if "@" in authority:
        raise NotationError("a target carries no user name or password", offset=len("http://"), remedy=form)
    if rest not in {"", "/"}:
        raise NotationError(
            f'a target is an address without a path, found "{rest}"',
            offset=len("http://") + len(authority),
            remedy="the path of a request is passed on as it is; see strip_prefix of [[routes]]",
        )
    host, port = _authority(authority)
    return Address(host=host, port=port)


def _authority(authority: str) -> tuple[str, int]:
    start = len("http://")
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:]*))(?::(?P<port>.*))?", authority)
    host = "" if found is None else (found["six"] or found["host"] or "").lower()
    if found is None or not host_name(host) or (found["six"] is not None) != (":" in host):
        raise NotationError(
            f'"{authority}" is not host:port',
            offset=start,
            remedy='an IPv6 address stands in brackets: "http://[::1]:9000"' if authority.count(":") > 1 else "",
        )
    port = 80 if found["port"] is None else _port(found["port"], start + found.start("port"))
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
