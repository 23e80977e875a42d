"""HTTP/1.1 read by the letter, twice: what an origin must be sent, and what a client may send.

Written from RFC 9110 and 9112 and from nothing of the gateway's, so that the gateway can be held against it. Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# RFC 9112 section 3 lets a recipient take several blanks for one.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([!-~\x80-\xff]+) +(?:HTTP|RTSP)/(1\.[01])")
_OUR_REQUEST_LINE = re.compile(rb"[A-Z-]+ /[!-~\x80-\xff]* HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")
_OUR_TARGET = re.compile(rb"/[!\"$->@-~]*(\?[!\"$-~\x80-\xff]*)?")
_OUR_CHUNK = re.compile(rb"[0-9a-f]{1,8}")
_LENGTH = re.compile(rb"[0-9]{1,18}")

# What a proxy takes out of a request (RFC 9110 section 7.6.1), or writes itself.
_ONE_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
_WRITTEN = {b"host", b"content-length", b"expect", b"x-request-id", b"sec-websocket-key", b"proxy", b"forwarded"}
_WRITTEN |= {b"x-real-ip", b"traceparent", b"tracestate"}
_WRITTEN_BEGINNING = (b"x-sentinel-", b"x-forwarded-", b"proxy-")

Fields = list[tuple[bytes, bytes]]


class Message(NamedTuple):
    """One request; names of fields in lower case."""

    method: bytes
    target: bytes
    fields: Fields
    body: bytes
    raw: bytes = b""
    version: bytes = b"1.1"

    @property
    def is_last(self) -> bool:
        """Whether the connection is closed after it: asked for, or in HTTP/1.0."""
        options = b",".join(self.values(b"connection")).lower().split(b",")
        return self.version != b"1.1" or b"close" in [option.strip() for option in options]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    def value(self, name: bytes) -> bytes | None:
        """The only value of a field; None where it is not there."""
        values = self.values(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class NotStrictError(AssertionError):
    """The bytes can be read in more than one way, or in none."""


class _Partial(Exception):  # noqa: N818 - no error: the rest of the message has not come
    """More has to come."""


def at_origin(data: bytes) -> tuple[Message | None, bytes]:
    """The first request of what an origin received, and what follows it; None while it is not whole.

    Nothing is forgiven here: a proxy has no excuse for a line that another server might read differently.

    Raises:
        NotStrictError: it is not exactly one unambiguous message so far.
    """
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        if re.search(rb"\r[^\n]|(?<!\r)\n|\0", data) or data[:1] in {b"\r", b"\n"}:
            raise NotStrictError(f"a line end of half its length: {data[:200]!r}")
        return None, data
    method, target, _, fields = _strict_head(head)
    if not _OUR_REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0]) or not _OUR_TARGET.fullmatch(target):
        raise NotStrictError(f"the request line: {head[:200]!r}")
    names = [name for name, _ in fields]
    once = (b"host", b"content-length", b"transfer-encoding", b"x-request-id", b"traceparent", b"x-forwarded-for")
    if any(names.count(name) > 1 for name in once) or b"host" not in names:
        raise NotStrictError(f"fields that may stand once: {head!r}")
    if _ONE_HOP.intersection(names) - {b"transfer-encoding"} or b"expect" in names:
        raise NotStrictError(f"fields of another hop: {head!r}")
    given = dict(fields)
    coding, length = given.get(b"transfer-encoding"), given.get(b"content-length")
    if (coding is not None and (coding != b"chunked" or length is not None)) or (
        length is not None and not _LENGTH.fullmatch(length)
    ):
        raise NotStrictError(f"the framing: {head!r}")
    try:
        body, rest = _body(rest, coding, length, ours=True)
    except _Partial:
        return None, data
    raw = data[: len(data) - len(rest)]
    return Message(method, target, fields, body, raw), rest


def _strict_head(head: bytes) -> tuple[bytes, bytes, bytes, Fields]:
    first, *lines = head.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    found = [_FIELD.fullmatch(line) for line in lines]
    if request is None or None in found or b"\r" in head.replace(b"\r\n", b"") or b"\n" in head.replace(b"\r\n", b""):
        raise NotStrictError(f"the head: {head[:300]!r}")
    fields = [(field[1].lower(), field[2].strip(b" \t")) for field in found if field is not None]
    return request[1], request[2], request[3], fields


def _body(rest: bytes, coding: bytes | None, length: bytes | None, *, ours: bool) -> tuple[bytes, bytes]:
    if coding is not None:
        return _chunks(rest, ours=ours)
    size = int(length or 0)
    if len(rest) < size:
        raise _Partial
    return rest[:size], rest[size:]


def _chunks(rest: bytes, *, ours: bool) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, found, after = rest.partition(b"\r\n")
        if not found:
            if not re.fullmatch(rb"[\t\x20-\x7e\x80-\xff]*\r?", line):
                raise NotStrictError(f"a chunk's size: {line[:60]!r}")
            raise _Partial
        size = (_OUR_CHUNK if ours else _CHUNK).fullmatch(line)
        if size is None:
            raise NotStrictError(f"a chunk's size: {line[:60]!r}")
        number = int(size[0] if ours else size[1], 16)
        if not number:
            return body, _trailers(after, ours=ours)
        body += after[:number]
        end = after[number : number + 2]
        if not b"\r\n".startswith(end):
            raise NotStrictError(f"a chunk's end: {end!r}")
        if len(end) < 2:
            raise _Partial
        rest = after[number + 2 :]


def _trailers(rest: bytes, *, ours: bool) -> bytes:
    while True:
        line, found, after = rest.partition(b"\r\n")
        if not found:
            raise _Partial
        if not line:
            return after
        if ours or _FIELD.fullmatch(line) is None:
            raise NotStrictError(f"a trailer: {line[:60]!r}")
        rest = after


def from_client(data: bytes) -> tuple[list[Message], str]:
    """The requests that a client's bytes are, and how they end: "whole", "partial" or "wrong".

    What RFC 9112 leaves to a recipient is accepted here (empty lines before a request, blanks around a value, chunk
    extensions, trailers); a gateway may refuse more than this, and must never make another message of it.
    """
    messages: list[Message] = []
    while True:
        begun = data.lstrip(b"\r\n")
        if not begun:
            return messages, "whole"
        head, found, rest = begun.partition(b"\r\n\r\n")
        if not found:
            return messages, "partial"
        try:
            method, target, version, fields = _strict_head(head)
            body, data = _body(rest, *_framing(fields, version), ours=False)
        except NotStrictError:
            return messages, "wrong"
        except _Partial:
            return messages, "partial"
        messages.append(Message(method, target, fields, body, version=version))


def _framing(fields: Fields, version: bytes) -> tuple[bytes | None, bytes | None]:
    names = [name for name, _ in fields]
    if names.count(b"content-length") > 1 or names.count(b"transfer-encoding") > 1:
        raise NotStrictError("framed twice")
    given = dict(fields)
    coding, length = given.get(b"transfer-encoding"), given.get(b"content-length")
    if coding is not None and (coding.lower() != b"chunked" or length is not None or version != b"1.1"):
        raise NotStrictError("coded in another way")
    if length is not None and not _LENGTH.fullmatch(length):
        raise NotStrictError("a length that is no number")
    return coding, length


def end_to_end(fields: Fields) -> Fields:
    """What of a client's fields must arrive, unchanged and in this order."""
    options = b",".join(value for name, value in fields if name == b"connection").lower().split(b",")
    nominated = {option.strip() for option in options}
    return [field for field in fields if field[0] not in nominated and not _is_ours(field[0])]


def _is_ours(name: bytes) -> bool:
    plain = name.replace(b"_", b"-").replace(b".", b"-")
    return plain in _ONE_HOP or plain in _WRITTEN or plain.startswith(_WRITTEN_BEGINNING)


def is_forwarded(message: Message, sent: Message) -> bool:
    """Whether an origin's ``message`` is the client's request ``sent``, and nothing more and nothing less.

    A "?" without a query behind it may go missing; it names the same resource.
    """
    return (
        (message.method, message.body) == (sent.method, sent.body)
        and message.target == sent.target.removesuffix(b"?" if sent.target.count(b"?") == 1 else b"")
        and [message.value(b"host")] == sent.values(b"host")
        and end_to_end(message.fields) == end_to_end(sent.fields)
    )
