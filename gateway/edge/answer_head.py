"""The head of an answer as it is written to a client's connection: one text for both drivers.

How the body is framed follows from the fields, the request's method and version, and the status (RFC 9112 section 6.3).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers

# In place of the number of body bytes that are to follow the head.
CHUNKED = -1
_UNKNOWN = -3
UNTIL_CLOSE = -2  # HTTP/1.0 knows no chunks: the end of the connection is the end of the body

_BODILESS = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_AS_LINE = b": ".join
_END = (b"", b"")  # joined to the lines before them: the last line's end and the empty line


class UnwritableError(Exception):
    """A field of an answer holds CR, LF or NUL, and would begin a line of its own."""


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode("ascii")


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def written_head(
    status: int, fields: Headers, *, is_head: bool, is_old: bool, keep_alive: bool
) -> tuple[bytes, int, bool]:
    """The head, the length of the body after it (or CHUNKED or UNTIL_CLOSE), and whether the connection stays.

    Args:
        status: from 100 to 599.
        fields: names in lower case; the first Content-Length counts.
        is_head: the request's method is HEAD, so no body follows whatever the fields announce.
        is_old: the request is HTTP/1.0.
        keep_alive: whether the client would keep the connection.

    Raises:
        UnwritableError: a field could be taken for more than one line (response splitting).
    """
    lines = [STATUS_LINES[status], *map(_AS_LINE, fields)]
    announced = _UNKNOWN
    says_close = False
    for field in fields:
        name = field[0]
        if name not in _FRAMING:
            continue
        if name == b"content-length":
            if announced == _UNKNOWN:
                announced = int(field[1])
        elif name == b"transfer-encoding":
            announced = CHUNKED if field[1].lower() == b"chunked" else announced
        else:
            says_close = b"close" in [option.strip() for option in field[1].lower().split(b",")]
    length = 0 if is_head else announced
    if length == _UNKNOWN:
        length = _length_of_unknown(status, is_old=is_old)
        if length == CHUNKED:
            lines.append(b"transfer-encoding: chunked")
    if says_close:
        keep_alive = False
    elif not keep_alive or length == UNTIL_CLOSE:
        keep_alive = False
        lines.append(b"connection: close")
    return joined(lines), length, keep_alive


def joined(lines: list[bytes]) -> bytes:
    """The lines of a head and its empty line. Raises UnwritableError when one would begin a line of its own."""
    ends = len(lines) + 1
    lines += _END
    head = b"\r\n".join(lines)
    if head.count(b"\r") != ends or head.count(b"\n") != ends or b"\0" in head:
        raise UnwritableError("A header field of the answer holds CR, LF or NUL.")
    return head


def _length_of_unknown(status: int, *, is_old: bool) -> int:
    if status in _BODILESS:
        return 0
    return UNTIL_CLOSE if is_old else CHUNKED
