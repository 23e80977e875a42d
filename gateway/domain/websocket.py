"""What both ends of a WebSocket handshake compute from its key."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers this Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
