"""Reads the head of an unremarkable request without a parser: each line is judged strictly once, and remembered.

Clients that keep a connection send the same lines again and again, so what they mean is looked up by their exact bytes:
all fields together first, then all but those that say something new each time (the length of a body, a trace, a request
id), then line by line. What is read here is read by llhttp to the same effect; a test holds the two against each other.
What is not plain (chunked bodies, upgrades, "Connection: close", blanks in unusual places, other methods and versions)
is left to llhttp, and so may every head be: this reader only makes the usual case cheap. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gateway.domain.forwarding import RepeatedHeaders, VariedHeaders
from gateway.edge.request_rules import FIELD_BYTES, Gathered, gather, has_plain_target

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers

V = TypeVar("V")

MAX_LINE_BYTES = 1024  # of a line that is remembered; a longer one is left to llhttp
MAX_BLOCK_BYTES = 2048  # of all fields together, where they are remembered as a whole
MAX_LINES = 64
MAX_REMEMBERED = 1024  # of each kind; when a table is full, those that were not used since the last time go

# RFC 9110 sections 5.1 and 5.5, without blanks before the colon or around the value but one.
_FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)", re.DOTALL
)
_REQUEST_LINE = re.compile(
    rb"((?:GET|HEAD|DELETE|OPTIONS)|POST|PUT|PATCH) ((/[!\"$->@-~]*)(?:\?([!\"$-~]*))?) HTTP/1\.1", re.DOTALL
)
_QUERY = re.compile(rb"[!\"$-~]*")
_VERSION = b" HTTP/1.1"
_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})

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
# The length of a body, and those of the unique ones that are never passed on: a head is looked up without their lines.
_LENGTH_MARK = (b"content-length", b"\r\ncontent-length: ")
_MARKS = tuple((name, b"\r\n%b: " % name) for name in (b"traceparent", b"x-request-id"))
_MARKS_WITH_BODY = (_LENGTH_MARK, *_MARKS)
MAX_LENGTH_DIGITS = 15
_KEEP_ALIVE = (b"connection: keep-alive", b"Connection: keep-alive", b"Connection: Keep-Alive")


_END = [b"", b""]  # what is left of a block behind its last line


class RequestLine(NamedTuple):
    """The parts of a request line; ``judged`` when the rules have nothing against its target."""

    method: bytes
    path: bytes
    query: bytes
    target: bytes
    judged: bool
    with_body: bool  # whether the method is one of those that usually have a body


class Fields(NamedTuple):
    """The fields of a head, and what the rules gather from them. Shared between requests: not to be changed."""

    headers: Headers
    gathered: Gathered
    content_length: int = 0


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
_before_queries: _Memory[RequestLine] = _Memory()  # request lines up to their "?"
_blocks: _Memory[Fields] = _Memory()


def request_line(line: bytes) -> RequestLine | None:
    """A request line without its end, or None when it is not plain."""
    known = _request_lines.get(line) or _request_lines.recall(line)
    if known is not None:
        return known
    if len(line) > MAX_LINE_BYTES:
        return None
    at = line.find(b"?")
    before = line[:at] if at > 0 else b""
    meaning = _with_other_query(before, line) if before else None
    if meaning is None:
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            return None
        method, target, path, query = found.groups(b"")
        judged = has_plain_target(method, path, query)
        meaning = RequestLine(method, path, query, target, judged, method in _WITH_BODY)
        if before:
            _before_queries.keep(before, meaning)
    _request_lines.keep(line, meaning)
    return meaning


def _with_other_query(before: bytes, line: bytes) -> RequestLine | None:
    """A request line that came before with another query."""
    known = _before_queries.get(before) or _before_queries.recall(before)
    if known is None or line[-9:] != _VERSION:
        return None
    query = line[len(before) + 1 : -9]
    if _QUERY.fullmatch(query) is None:
        return None
    method, path, _, _, judged, with_body = known
    # Visible ASCII without "#" is all the rules ask of a query, so they judge this line as they judged that one.
    return RequestLine(method, path, query, b"%b?%b" % (path, query), judged, with_body)


def fields(block: bytes, with_body: bool = False) -> Fields | None:  # noqa: FBT001, FBT002 - for every request, and half as fast by keyword
    """The fields of a head from behind the request line to the empty line and no further, or None if not plain.

    With ``with_body`` there may be a Content-Length among them; a head with one is not plain otherwise.
    """
    known = _blocks.get(block) or _blocks.recall(block)
    if known is not None:
        return known
    return _varied(block, _MARKS_WITH_BODY if with_body else _MARKS) or _read(block)


def _varied(block: bytes, marks: tuple[tuple[bytes, bytes], ...]) -> Fields | None:
    """The fields of a head that came before, but for the lines that say something new; None where there are none."""
    low = block.lower()
    new: Headers = []
    cut: list[tuple[int, int]] = []
    length = 0
    for name, mark in marks:
        at = low.find(mark)
        if at < 0:
            continue
        begin = at + len(mark)
        end = block.find(b"\r\n", begin)
        value = block[begin:end]
        if name == b"content-length":
            if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
                return None
            length = int(value)
        elif not value.replace(b"-", b"").isalnum():  # what is plain beyond doubt; others are read like any field
            return None
        new.append((name, value))
        cut.append((at, end))
    rest = _without(block, cut) if cut else b""
    known = (_blocks.get(rest) or _blocks.recall(rest) or _read(rest)) if rest else None
    if known is None:
        return None
    repeated, gathered, _ = known
    facts, size, twice, host = gathered
    facts = facts.copy()
    for name, value in new:
        if name in facts:  # sent twice
            return None
        facts[name] = value
        size += len(name) + len(value) + FIELD_BYTES
    headers: Headers
    if type(repeated) is RepeatedHeaders:
        headers = varied = VariedHeaders(repeated)
        varied.repeated = repeated
        headers += new
    else:
        headers = repeated + new
    return Fields(headers, Gathered(facts, size, twice, host), length)


def _without(block: bytes, cut: list[tuple[int, int]]) -> bytes:
    """The block without these parts of it."""
    if len(cut) == 1:
        at, end = cut[0]
        return block[:at] + block[end:]
    kept, last = [], 0
    for at, end in sorted(cut):
        kept.append(block[last:at])
        last = end
    return b"".join([*kept, block[last:]])


def _read(block: bytes) -> Fields | None:
    """The fields of a head, line by line. A head that holds no new line is likely to come again."""
    lines = block.split(b"\r\n")
    if len(lines) > MAX_LINES or lines[-2:] != _END:
        return None
    known_field = _fields
    headers: Headers = []
    may_repeat = len(block) <= MAX_BLOCK_BYTES
    for line in lines[:-2]:
        field = known_field.get(line)
        if field is None:
            field = known_field.recall(line)
            if field is None:
                may_repeat = False
                field = _judged(line)
                if field is None:
                    return None
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
