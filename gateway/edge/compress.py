"""Whether an answer is compressed for this client, and what becomes of its header fields then. Pure.

Only gzip: what the standard library has, and every client takes. Sources: RFC 9110 sections 8.4, 8.8.3 and 12.5.3.
"""

from __future__ import annotations

import re
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers

LEVEL = 4  # 160 kB of JSON: to 24.4 kB in 1.6 ms; at 6 to 22.7 kB in 3.5 ms, at 1 to 26.5 kB in 0.9 ms
_GZIP_WBITS = 16 + zlib.MAX_WBITS

_COMPRESSIBLE = re.compile(
    rb"text/(?!event-stream)[^;]+|application/(?:json|javascript|ecmascript|xml|wasm|x-ndjson|graphql|rtf|yaml|toml)"
    rb"|[^;/]+/[^;]+\+(?:json|xml|yaml)|font/(?:ttf|otf)|image/(?:bmp|vnd\.microsoft\.icon)",
    re.IGNORECASE,
)
# Statuses whose body is a part of something (206) or missing.
_NEVER = frozenset({204, 205, 206, 304})
_REPLACED = frozenset({b"content-length", b"content-encoding", b"accept-ranges", b"etag"})
# Promises about the bytes of the body, or of its parts, that would be broken.
_PROMISES = frozenset({b"content-md5", b"digest", b"content-digest", b"repr-digest", b"content-range"})
_VARY = (b"vary", b"Accept-Encoding")


class Gzip:
    """A gzip coding under way. With ``flush`` every chunk can be read by the client when it arrives."""

    __slots__ = ("_flush", "_stream")

    def __init__(self, *, flush: bool) -> None:
        self._stream = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WBITS)
        self._flush = flush

    def feed(self, chunk: bytes) -> bytes:
        """Encode a chunk; empty while it is held on to."""
        encoded = self._stream.compress(chunk)
        return encoded + self._stream.flush(zlib.Z_SYNC_FLUSH) if self._flush and chunk else encoded

    def end(self) -> bytes:
        """The rest."""
        return self._stream.flush()


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether the client takes gzip, and does not like the body as it is better."""
    weights: dict[bytes, float] = {}
    for part in accept_encoding.split(b","):
        name, *parameters = part.split(b";")
        weights[name.strip().lower()] = _weight(parameters)
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return gzip > 0 and gzip >= weights.get(b"identity", 0.0)


def coded(
    status: int, headers: Headers, accept_encoding: bytes, min_bytes: int, *, may_stream: bool
) -> tuple[Headers, Gzip | None]:
    """The answer's fields, and the coding its body goes through (None: as it is).

    ``may_stream`` is false for clients that need a length (HTTP/1.0). Fields of an answer that could have been coded
    say so (``Vary``), whoever asks.
    """
    if status < HTTPStatus.OK or status in _NEVER:
        return headers, None
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = fields[name] + b"," + value if name in fields else value
    announced = fields.get(b"content-length", b"")
    length = int(announced) if announced.isdigit() else -1
    if 0 <= length < min_bytes or not _may_be_coded(fields):
        return headers, None
    if not may_stream or not accepts_gzip(accept_encoding):
        return [*headers, _VARY], None
    kept = [field for field in headers if field[0] not in _REPLACED]
    if etag := fields.get(b"etag"):  # the same resource, but no longer the same bytes
        kept.append((b"etag", etag if etag.startswith(b"W/") else b"W/" + etag))
    return [*kept, (b"content-encoding", b"gzip"), _VARY], Gzip(flush=length < 0)


def _may_be_coded(fields: dict[bytes, bytes]) -> bool:
    media_type = fields.get(b"content-type", b"").partition(b";")[0].strip()
    return (
        _COMPRESSIBLE.fullmatch(media_type) is not None
        and fields.get(b"content-encoding", b"identity").lower() == b"identity"
        and b"no-transform" not in fields.get(b"cache-control", b"").lower()
        and _PROMISES.isdisjoint(fields)
    )


def _weight(parameters: list[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
