"""Reads the heads of plain answers without the parser: whole lines are judged once and remembered by their bytes.

Plain is what llhttp and everybody else reads one way only: HTTP/1.1, a final status, one field a line without odd bytes
or blanks at either end, and a body framed by one Content-Length, by a status that has none, or in chunks that are all
there, without extensions or trailers. Whatever is not, or might not be, is declined and goes to llhttp. Heads that come
again are found by all of their bytes; of others (a request id, a new Date) only the lines that were not seen before
cost more than a look into a table.
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
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,7}\r\n")

CHUNKED = -1  # in place of the length of a body
_NOT_SAID = -2

_PASS, _DROP, _CLOSE, _FRAMING, _NOT_PLAIN = range(5)
# They decide about framing or the connection in ways that are not plain, or are not passed on.
_DECLINED = frozenset({b"upgrade", b"te", b"trailer", b"http2-settings", b"proxy"})
_BODILESS = frozenset({204, 304})  # neither has a body, nor a Content-Length of the message it is itself


class PlainHead(NamedTuple):
    """What a plain head means; ``length`` may be CHUNKED. ``headers`` is shared where the head is remembered."""

    status: int
    headers: Headers
    length: int
    keep_alive: bool


class _Line(NamedTuple):
    """What one line means; ``number`` is the value of a Content-Length, or CHUNKED."""

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


def whole_body(data: bytes, at: int) -> bytes | None:
    """The body whose chunks begin at ``at``; None when they are not plain or not all there, or when more follows."""
    chunks: list[bytes] = []
    while (found := _CHUNK_SIZE.match(data, at)) is not None:
        begin = found.end()
        size = int(data[at : begin - 2], 16)
        at = begin + size + 2
        if data[at - 2 : at] != b"\r\n":
            return None
        if size == 0:
            return b"".join(chunks) if at == len(data) else None
        chunks.append(data[begin : at - 2])
    return None


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
    length, keep_alive = _NOT_SAID, True
    known = _lines.get
    for line in lines:
        meaning = known(line) or _judge(line)
        if meaning is None:
            return None
        kind, field, number = meaning
        if kind == _PASS:
            headers.append(field)
        elif kind == _FRAMING:
            if length != _NOT_SAID:
                return None
            length = number
            if number != CHUNKED and status not in _BODILESS:
                headers.append(field)
        elif kind == _CLOSE:
            keep_alive = False
    if status in _BODILESS:
        length = _NOT_SAID if length == CHUNKED else 0
    return None if length == _NOT_SAID else PlainHead(status, headers, length, keep_alive)


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
    kind, number = _kind(name, value.lower())
    if kind == _NOT_PLAIN:
        return None
    meaning = _Line(kind, (name, value), number)
    if len(line) <= MAX_REMEMBERED_LINE_BYTES:
        if len(_lines) >= MAX_REMEMBERED_LINES:
            _lines.clear()
        _lines[line] = meaning
    return meaning


def _kind(name: bytes, value: bytes) -> tuple[int, int]:
    """What becomes of a field, and what it says of the length of the body; ``value`` is in lower case."""
    kind, number = _PASS, 0
    if name == b"content-length":
        kind, number = (_FRAMING, int(value)) if _LENGTH.fullmatch(value) else (_NOT_PLAIN, 0)
    elif name == b"transfer-encoding":
        kind, number = (_FRAMING, CHUNKED) if value == b"chunked" else (_NOT_PLAIN, 0)
    elif name == b"connection":
        kind = {b"close": _CLOSE, b"keep-alive": _DROP}.get(value, _NOT_PLAIN)
    elif name == b"keep-alive":
        kind = _DROP
    elif name in _DECLINED or name.startswith(b"proxy-"):
        kind = _NOT_PLAIN
    return kind, number
