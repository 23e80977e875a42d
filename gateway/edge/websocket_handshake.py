"""What a WebSocket handshake must look like, and the answer that takes it (RFC 6455 section 4.2). Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING

from gateway.domain.traffic import ErrorKind
from gateway.domain.websocket import accept_of
from gateway.edge.exchange import Refusal

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.edge.exchange import Exchange

VERSION = b"13"
_KEY_BYTES = 16
_OURS = frozenset({b"sec-websocket-accept", b"connection", b"upgrade"})


def asks_for_websocket(headers: Headers) -> bool:
    """Whether a request of this head wants its connection to become a WebSocket."""
    return asks_to_upgrade(headers) and any(
        name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in headers
    )


def asks_to_upgrade(headers: Headers) -> bool:
    """Whether a request of this head wants its connection to become something else (RFC 9110 section 7.8)."""
    return any(b"upgrade" in _tokens(value) for name, value in headers if name == b"connection")


def judge(exchange: Exchange) -> Refusal | None:
    """Why this handshake is refused; None when it may go on.

    Strict, because bytes after it are no longer HTTP to us: whoever reads the same request must come to the same end.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in exchange.headers:
        if name in {b"upgrade", b"sec-websocket-key", b"sec-websocket-version"}:
            values.setdefault(name, []).append(value.strip())
    if exchange.method != b"GET" or exchange.version != "1.1" or exchange.content_length:
        return _bad("A WebSocket handshake is a GET of HTTP/1.1 without a body.")
    if [value.lower() for value in values.get(b"upgrade", ())] != [b"websocket"]:
        return _bad("A WebSocket handshake has one Upgrade field, and it says websocket.")
    if values.get(b"sec-websocket-version") != [VERSION]:
        return Refusal(
            426,
            ErrorKind.BAD_REQUEST,
            "WebSocket is served in version 13 (RFC 6455).",
            headers=((b"sec-websocket-version", VERSION), (b"upgrade", b"websocket")),
            close=True,
        )
    keys = values.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        return _bad("A WebSocket handshake has one Sec-WebSocket-Key of 16 bytes in Base64.")
    return None


def switching(exchange: Exchange, fields: Headers) -> bytes:
    """The 101 for the client, with these header fields.

    Raises:
        ValueError: a field could be taken for more than one line.
    """
    key = next(value.strip() for name, value in exchange.headers if name == b"sec-websocket-key")
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"connection: upgrade",
        b"upgrade: websocket",
        b"sec-websocket-accept: " + accept_of(key),
        *(b": ".join(field) for field in fields if field[0] not in _OURS),
    ]
    if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
        raise ValueError("a header field of the answer holds CR, LF or NUL")
    return b"\r\n".join([*lines, b"", b""])


def _is_key(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


def _bad(detail: str) -> Refusal:
    return Refusal(400, ErrorKind.BAD_REQUEST, detail, close=True)
