"""Reads the head of an unremarkable request without a parser: each line is judged strictly once, and remembered.

Clients that keep a connection send the same lines again and again, so what a line means is looked up by its exact
bytes. What is read here is read by llhttp to the same effect; a test holds the two against each other. What is not
plain (bodies, upgrades, "Connection: close", blanks in unusual places, other methods and versions) is left to llhttp,
and so may every head be: this reader only makes the usual case cheap. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gateway.domain.forwarding import RepeatedHeaders
from gateway.edge.request_rules import Gathered, gather, has_plain_target

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers

V = TypeVar("V")

MAX_LINE_BYTES = 1024  # of a line that is remembered; a longer one is left to llhttp
MAX_BLOCK_BYTES = 1024  # of all fields together, where they are remembered as a whole
MAX_LINES = 64
MAX_REMEMBERED = 1024  # of each kind; when a table is full, those that were not used since the last time go

# RFC 9110 sections 5.1 and 5.5, without blanks before the colon or around the value but one.
_FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)", re.DOTALL
)
_REQUEST_LINE = re.compile(rb"(GET|HEAD|DELETE|OPTIONS) ((/[!\"$->@-~]*)(?:\?([!\"$-~]*))?) HTTP/1\.1", re.DOTALL)

# Fields that say something of the message or the connection itself: llhttp heeds them.
_REMARKABLE = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Fields whose value hardly ever comes twice: remembering them would only push others out.
_UNIQUE = frozenset({b"traceparent", b"x-request-id", b"idempotency-key", b"x-b3-spanid", b"x-b3-traceid"})
_KEEP_ALIVE = (b"connection: keep-alive", b"Connection: keep-alive", b"Connection: Keep-Alive")


_END = [b"", b""]  # what is left of a block behind its last line


class RequestLine(NamedTuple):
    """The parts of a request line; ``judged`` when the rules have nothing against its target."""

    method: bytes
    path: bytes
    query: bytes
    target: bytes
    judged: bool


class Fields(NamedTuple):
    """The fields of a head, and what the rules gather from them. Shared between requests: not to be changed."""

    headers: Headers
    gathered: Gathered


class _Memory(dict[bytes, V]):
    """A bounded memory in two generations: what is used stays, what is not goes with its generation."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[bytes, V] = {}

    def recall(self, line: bytes) -> V | None:
        """What was remembered for these bytes, if it is not in the present generation, which is asked first."""
        meaning = self._before.get(line)
        if meaning is not None:
            self.keep(line, meaning)
        return meaning

    def keep(self, line: bytes, meaning: V) -> None:
        """Remember it."""
        if len(self) >= MAX_REMEMBERED:
            self._before = dict(self)
            self.clear()
        self[line] = meaning


_fields: _Memory[tuple[bytes, bytes]] = _Memory()
_request_lines: _Memory[RequestLine] = _Memory()
_blocks: _Memory[Fields] = _Memory()


def request_line(line: bytes) -> RequestLine | None:
    """A request line without its end, or None when it is not plain."""
    known = _request_lines.get(line) or _request_lines.recall(line)
    if known is not None:
        return known
    found = _REQUEST_LINE.fullmatch(line) if len(line) <= MAX_LINE_BYTES else None
    if found is None:
        return None
    method, target, path, query = found.groups(b"")
    meaning = RequestLine(method, path, query, target, has_plain_target(method, path, query))
    _request_lines.keep(line, meaning)
    return meaning


def fields(block: bytes) -> Fields | None:
    """The fields of a head from behind the request line to the empty line and no further, or None if not plain."""
    known = _blocks.get(block) or _blocks.recall(block)
    if known is not None:
        return known
    lines = block.split(b"\r\n")
    if len(lines) > MAX_LINES or lines[-2:] != _END:
        return None
    known_field = _fields
    headers: Headers = []
    may_repeat = len(block) <= MAX_BLOCK_BYTES
    for line in lines[:-2]:
        field = known_field.get(line)
        if field is None:
            field = known_field.recall(line) or _judged(line)
            if field is None:
                return None
            may_repeat = may_repeat and field[0] not in _UNIQUE
        headers.append(field)
    if not may_repeat:
        return Fields(headers, gather(headers))
    meaning = Fields(RepeatedHeaders(headers), gather(headers))
    _blocks.keep(block, meaning)
    return meaning


def _judged(line: bytes) -> tuple[bytes, bytes] | None:
    found = _FIELD.fullmatch(line) if len(line) <= MAX_LINE_BYTES else None
    if found is None:
        return None
    name = found[1].lower()
    if name in _REMARKABLE and line not in _KEEP_ALIVE:
        return None
    field = (name, found[2])
    if name not in _UNIQUE:
        _fields.keep(line, field)
    return field
