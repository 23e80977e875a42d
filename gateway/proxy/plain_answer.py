"""Reads the heads of plain answers without the parser: whole lines are judged once and remembered by their bytes.

Plain is what llhttp and everybody else reads one way only: HTTP/1.1, a final status, one field a line without odd bytes
or blanks at either end, and a body framed by one Content-Length or by a status that has none. Whatever is not, or might
not be, is declined and goes to llhttp. Heads that come again are found by all of their bytes; of others (a request id,
a new Date) only the lines that were not seen before cost more than a look into a table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.forwarding import RepeatedHeaders

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers

MAX_PLAIN_BYTES = 8192  # of a head; a longer one is no common one
MAX_LINES = 200

# Bounds of the tables; a full one is started afresh, which costs one judgement for each line in use.
MAX_REMEMBERED_HEADS = 512
MAX_REMEMBERED_HEAD_BYTES = 2048
MAX_REMEMBERED_LINES = 2048
MAX_REMEMBERED_LINE_BYTES = 256

_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\x20-\x7e]*")
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ ]?([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)"
)
_LENGTH = re.compile(rb"[0-9]{1,15}")

_PASS, _DROP, _CLOSE, _CONTENT_LENGTH = range(4)
# They decide about framing or the connection in ways that are not plain, or are not passed on.
_DECLINED = frozenset({b"transfer-encoding", b"upgrade", b"te", b"trailer", b"http2-settings", b"proxy"})
_BODILESS = frozenset({204, 304})  # neither has a body, nor a Content-Length of the message it is itself


class PlainHead(NamedTuple):
    """What a plain head means. ``headers`` is shared where the head is remembered."""

    status: int
    headers: Headers
    length: int
    keep_alive: bool


class _Line(NamedTuple):
    """What one line means; ``number`` is the value of a Content-Length."""

    kind: int
    field: tuple[bytes, bytes]
    number: int


_heads: dict[bytes, PlainHead] = {}
_statuses: dict[bytes, int] = {}
_lines: dict[bytes, _Line] = {}


def plain_head(head: bytes) -> PlainHead | None:
    """What ``head`` means, up to and including its empty line; None when it is not plain."""
    known = _heads.get(head)
    if known is not None:
        return known
    lines_known = len(_lines)
    plain = _read(head)
    # A head with a line that was never seen is likely one of a kind (a request id): it would only push out others.
    if plain is not None and len(_lines) == lines_known and len(head) <= MAX_REMEMBERED_HEAD_BYTES:
        if len(_heads) >= MAX_REMEMBERED_HEADS:
            _heads.clear()
        plain = _heads[head] = plain._replace(headers=RepeatedHeaders(plain.headers))
    return plain


def forget() -> None:
    """Empty the tables."""
    for table in (_heads, _statuses, _lines):
        table.clear()


def _read(head: bytes) -> PlainHead | None:
    lines = head[:-4].split(b"\r\n", MAX_LINES)
    status = _statuses.get(lines[0]) or _judge_status(lines[0])
    if not status or len(lines) > MAX_LINES:
        return None
    del lines[0]
    headers: Headers = []
    length, keep_alive = -1, True
    known = _lines.get
    for line in lines:
        meaning = known(line) or _judge(line)
        if meaning is None:
            return None
        kind, field, number = meaning
        if kind == _PASS:
            headers.append(field)
        elif kind == _CONTENT_LENGTH:
            if length >= 0:
                return None
            length = number
            if status not in _BODILESS:
                headers.append(field)
        elif kind == _CLOSE:
            keep_alive = False
    if status in _BODILESS:
        length = 0
    return None if length < 0 else PlainHead(status, headers, length, keep_alive)


def _judge_status(line: bytes) -> int:
    """The status of a plain status line, otherwise 0."""
    match = _STATUS.fullmatch(line)
    if match is None:
        return 0
    status = int(match[1])
    if len(line) <= MAX_REMEMBERED_LINE_BYTES:
        if len(_statuses) >= MAX_REMEMBERED_LINES:
            _statuses.clear()
        _statuses[line] = status
    return status


def _judge(line: bytes) -> _Line | None:
    match = _FIELD.fullmatch(line)
    if match is None:
        return None
    name, value = match[1].lower(), match[2]
    kind, number = _PASS, 0
    if name == b"content-length":
        if not _LENGTH.fullmatch(value):
            return None
        kind, number = _CONTENT_LENGTH, int(value)
    elif name == b"connection":
        option = value.lower()
        if option not in {b"close", b"keep-alive"}:
            return None
        kind = _CLOSE if option == b"close" else _DROP
    elif name == b"keep-alive":
        kind = _DROP
    elif name in _DECLINED or name.startswith(b"proxy-"):
        return None
    meaning = _Line(kind, (name, value), number)
    if len(line) <= MAX_REMEMBERED_LINE_BYTES:
        if len(_lines) >= MAX_REMEMBERED_LINES:
            _lines.clear()
        _lines[line] = meaning
    return meaning
