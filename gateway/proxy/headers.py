"""What is written to the upstream for a request, and what of an answer goes on to the client.

Names are judged once and remembered in a bounded table, because the same few names come with every request. Order
matters in one place: fields that the client's Connection header nominates are removed *before* the gateway adds its
own, so nobody can have the gateway's own fields removed (RFC 9110 §7.6.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from gateway.domain.forwarding import RepeatedHeaders, VariedHeaders
from gateway.domain.path_template import AmbiguousPathError
from gateway.errors import SentinelError
from gateway.proxy.rewriting import HOP_BY_HOP, UNCHANGED, VISIBLE, plain_name, rewriting

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, Outbound
    from gateway.domain.identity import Principal
    from gateway.proxy.rewriting import Rewriting

_PASS, _DROP, _CONNECTION, _SPECIAL, _REFUSE, _LENGTH, _CODING = range(7)

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")

# Written by us, or (Expect) answered by our own server.
_OURS = frozenset({b"host", b"content-length", b"expect", b"x-request-id", b"sec-websocket-key"})
_CHAIN, _PROTO, _HOST, _PARENT, _STATE = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"traceparent",
    b"tracestate",
)
_OWN_LINES = (
    b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\nx-request-id: %b\r\ntraceparent: %b"
)
_REPEATED_HEAD = (
    b"%b %b HTTP/1.1\r\nhost: %b%b\r\nx-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\n"
    b"x-request-id: %b\r\ntraceparent: %b%b\r\n\r\n"
)
_CR, _LF, _NUL = b"\r\n\0"
_SPLIT = "a header value holds CR, LF or NUL"
_DECIDED_APART = frozenset({_CHAIN, _PARENT, _STATE})
_ORDINARY = frozenset({b"keep-alive", b"close", b""})  # connection options that nominate no field
_USUAL_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})  # RFC 9110 §8.6: these say "content-length: 0" when empty
_WITHOUT_LENGTH = frozenset({204, 304})  # 204 must not carry one; on 304 it only invites mistakes in framing

MAX_REMEMBERED = 1024  # entries before a table is started afresh
MAX_REMEMBERED_BYTES = 256  # of one entry: what is longer is judged anew each time

_request_names: dict[bytes, int] = {}
_answer_names: dict[bytes, tuple[bytes, int]] = {}
_identities: dict[Principal, _Lines] = {}


class _Lines(NamedTuple):
    """Header lines as they are written: ``text`` has a line end before each of them."""

    text: bytes
    lines: list[bytes]
    special: Headers


class UnforwardableError(SentinelError):
    """A request holds bytes that cannot be put into one unambiguous message."""

    status = 400


class BadAnswerError(SentinelError):
    """An upstream's head breaks the protocol in a way the parser lets through."""

    status = 502


class AnswerHead(NamedTuple):
    """An answer's end-to-end headers and how its body is framed."""

    headers: Headers
    length: int  # of the body: announced, or -1 for chunked and for "until the connection closes"
    chunked: bool
    close: bool  # the upstream said that it closes


def request_head(outbound: Outbound) -> bytes:
    """The request line and headers for the upstream, up to and including the empty line.

    Raises:
        UnforwardableError: a name or value could end a line early, the target is not in origin form, or the route's
            rewrite would make an ambiguous path of it.
    """
    rewrite = rewriting(outbound.route)
    if rewrite is UNCHANGED and outbound.content_length >= 0:
        headers = outbound.headers
        repeated = headers.repeated if type(headers) is VariedHeaders else headers
        if type(repeated) is RepeatedHeaders and (head := _repeated_head(outbound, repeated)):
            return head
    target = _target(outbound, rewrite)
    lines, special = _passed(outbound.headers)
    if len(special) == 1 and special[0][0] != _STATE and not outbound.trusted_peer:
        special = []  # a stranger's claim of where it comes from, or the parent that Outbound names already
    host, merged = outbound.host, 0
    if rewrite.changes is not None:
        lines[1:] = rewrite.changes.applied(lines[1:] + _own_lines(outbound, special), outbound)
        host = rewrite.changes.host(outbound)
    elif special or not (host and outbound.client and outbound.request_id and outbound.traceparent):
        lines += _own_lines(outbound, special)
    else:  # the usual case in one go
        lines.append(_OWN_LINES % (outbound.client, outbound.scheme, host, outbound.request_id, outbound.traceparent))
        merged = 4
    lines[0] = b"%b %b HTTP/1.1\r\nhost: %b" % (outbound.method, target, host)
    if outbound.principal.kind:
        lines += _identity(outbound.principal).lines
    if outbound.websocket_key:
        lines += [b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-key: " + outbound.websocket_key]
    length = outbound.content_length
    if length:
        lines.append(b"content-length: %d" % length if length > 0 else b"transfer-encoding: chunked")
    elif outbound.method in _BODY_EXPECTED:
        lines.append(b"content-length: 0")
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    _judge_lines(head, len(lines) + 1 + merged)  # the first entry is two lines
    return head


def _repeated_head(outbound: Outbound, headers: RepeatedHeaders) -> bytes:
    """The head of a request whose fields came before and pass as they did then; empty where they may not.

    Raises:
        UnforwardableError: as for any other head.
    """
    passed: _Lines | None = headers.derived
    if passed is None:
        lines, special = _passed(headers)
        passed = _Lines(b"\r\n".join(lines), lines, special)
        _judge_lines(passed.text, len(lines) - 1)
        headers.derived = passed
    if (
        (passed.special and (outbound.trusted_peer or len(passed.special) > 1 or passed.special[0][0] == _STATE))
        or outbound.websocket_key
        or not (outbound.host and outbound.client and outbound.request_id and outbound.traceparent)
    ):
        return b""
    method, host, client, scheme = outbound.method, outbound.host, outbound.client, outbound.scheme
    path = outbound.path
    target = b"%b?%b" % (path, outbound.query) if outbound.query else path
    if method not in _USUAL_METHODS or path[:1] != b"/" or _NOT_IN_TARGET.search(target):
        return b""  # the long way says why not, if so
    request_id, trace = outbound.request_id, outbound.traceparent
    # What is not judged yet. Numbers, because ``in`` looks for one byte several times as fast as for bytes.
    new = b"".join((method, host, client, scheme, request_id, trace))
    if _CR in new or _LF in new or _NUL in new:
        raise UnforwardableError(_SPLIT)
    principal = outbound.principal
    who = (_identities.get(principal) or _identity(principal)).text if principal.kind else b""
    if outbound.content_length or method in _BODY_EXPECTED:
        who = b"%b\r\ncontent-length: %d" % (who, outbound.content_length)
    return _REPEATED_HEAD % (method, target, host, passed.text, client, scheme, host, request_id, trace, who)


def _judge_lines(head: bytes, ends: int) -> None:
    """More line ends than lines means that some value carries its own: three scans in C for the whole head."""
    if head.count(b"\r") != ends or head.count(b"\n") != ends or _NUL in head:
        raise UnforwardableError(_SPLIT)


def _target(outbound: Outbound, rewrite: Rewriting) -> bytes:
    """The request target in origin form (RFC 9112 §3.2.1), or "*"; a URL or CONNECT would make us an open proxy."""
    target, method = outbound.path, outbound.method
    if method not in _USUAL_METHODS and (method == b"CONNECT" or not _TOKEN.fullmatch(method)):
        raise UnforwardableError("the method is not one that can be forwarded")
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        raise UnforwardableError("the path does not begin with a slash")
    if rewrite is not UNCHANGED:
        try:
            target = rewrite.path(target)
        except AmbiguousPathError as error:
            raise UnforwardableError(str(error)) from error
    if outbound.query:
        target = b"%b?%b" % (target, outbound.query)
    if _NOT_IN_TARGET.search(target):
        raise UnforwardableError("the path holds a blank or a control character")
    return target


def answer_head(raw: Headers, status: int) -> AnswerHead:
    """Judge an upstream's header fields as the parser gave them, values free of CR, LF and NUL.

    Raises:
        BadAnswerError: a transfer coding other than a single "chunked".
    """
    headers: Headers = []
    length, chunked, nominated = -1, False, set[bytes]()
    for name, value in raw:
        low, kind = _answer_names.get(name) or _judge_answer_name(name)
        if kind == _PASS:
            headers.append((low, value))
        elif kind == _LENGTH:
            length = int(value)
            if status not in _WITHOUT_LENGTH:
                headers.append((low, value))
        elif kind == _CONNECTION:
            nominated.update(_options(value))
        elif kind == _CODING:
            if chunked or value.strip().lower() != b"chunked":
                raise BadAnswerError("the answer uses a transfer coding other than one chunked")
            chunked = True
    if nominated - _ORDINARY:
        # Content-Length frames the body, so it cannot be hop-by-hop whatever the upstream says.
        headers = [field for field in headers if field[0] not in nominated or field[0] == b"content-length"]
    return AnswerHead(headers, length, chunked, b"close" in nominated)


def _passed(headers: Headers) -> tuple[list[bytes], Headers]:
    """Lines that pass unchanged, after a free first place for the request line; and fields to be decided on."""
    lines, special, connection = [b""], [], b""
    known = _request_names
    for field in headers:
        kind = known.get(field[0])
        if kind is None:
            kind = _judge_request_name(field[0])
        if not kind:  # _PASS, nearly always
            lines.append(b": ".join(field))
        elif kind == _SPECIAL:
            special.append(field)
        elif kind == _CONNECTION:
            connection += b"," + field[1]
        elif kind == _REFUSE:
            raise UnforwardableError("a header name is not a token")
    if connection:
        nominated = {*_options(connection)} - _ORDINARY
        if nominated:
            return _passed([field for field in headers if field[0] != b"connection" and field[0] not in nominated])
    return lines, special


def _own_lines(outbound: Outbound, special: Headers) -> list[bytes]:
    """What the gateway says of the request: the X-Forwarded family, begun or continued, its number, and the trace."""
    lines: list[bytes] = []
    chain, given = outbound.client, set[bytes]()
    if special and outbound.trusted_peer:
        chain = b", ".join([value for name, value in special if name == _CHAIN and value] + [chain] * bool(chain))
        others = [field for field in special if field[0] not in _DECIDED_APART]
        lines += [b"%b: %b" % field for field in others]
        given = {name for name, _ in others}
    if chain:
        lines.append(b"x-forwarded-for: " + chain)
    if _PROTO not in given:
        lines.append(b"x-forwarded-proto: " + outbound.scheme)
    if outbound.host and _HOST not in given:
        lines.append(b"x-forwarded-host: " + outbound.host)
    if outbound.request_id:
        lines.append(b"x-request-id: " + outbound.request_id)
    if outbound.traceparent:
        lines += _trace(special, outbound.traceparent)
    return lines


def _trace(special: Headers, traceparent: bytes) -> list[bytes]:
    """Our span as parent; tracestate only while the trace is still the caller's (W3C Trace Context §3.3)."""
    lines = [b"traceparent: " + traceparent]
    if special:
        parents = [value for name, value in special if name == _PARENT]
        if len(parents) == 1 and parents[0][3:35] == traceparent[3:35]:
            lines += [b"%b: %b" % field for field in special if field[0] == _STATE]
    return lines


def _identity(principal: Principal) -> _Lines:
    """The lines that tell the upstream who calls; text that is not visible ASCII is percent-encoded."""
    known = _identities.get(principal)
    if known is None:
        fields = (
            ("x-sentinel-subject", quote(principal.subject, safe=VISIBLE)),
            ("x-sentinel-tenant", quote(principal.tenant, safe=VISIBLE)),
            ("x-sentinel-scopes", " ".join(quote(scope, safe=VISIBLE) for scope in sorted(principal.scopes))),
            ("x-sentinel-roles", " ".join(quote(role, safe=VISIBLE) for role in sorted(principal.roles))),
        )
        lines = [f"{name}: {value}".encode("ascii") for name, value in fields if value]
        known = _Lines(b"".join([b"\r\n" + line for line in lines]), lines, [])
        if len(known.text) <= MAX_REMEMBERED_BYTES:
            if len(_identities) >= MAX_REMEMBERED:
                _identities.clear()
            _identities[principal] = known
    return known


def _options(value: bytes) -> list[bytes]:
    return [option.strip() for option in value.lower().split(b",")]


def _judge_request_name(name: bytes) -> int:
    kind = _request_kind(name)
    if len(name) <= MAX_REMEMBERED_BYTES:
        if len(_request_names) >= MAX_REMEMBERED:
            _request_names.clear()
        _request_names[name] = kind
    return kind


def _request_kind(name: bytes) -> int:
    low = name.lower()
    # Many backends read X_Forwarded_For and X.Forwarded.For as X-Forwarded-For: an alias of ours is never passed on.
    plain = plain_name(name)
    if not _TOKEN.fullmatch(name):
        return _REFUSE
    if low == b"connection":
        return _CONNECTION
    if plain in HOP_BY_HOP or plain in _OURS or plain.startswith((b"x-sentinel-", b"proxy-")):
        return _DROP
    if plain in {b"forwarded", b"x-real-ip", _PARENT, _STATE} or plain.startswith(b"x-forwarded-"):
        return _SPECIAL if plain == name else _DROP
    return _PASS


def _judge_answer_name(name: bytes) -> tuple[bytes, int]:
    low = name.lower()
    if low == b"content-length":
        kind = _LENGTH
    elif low == b"transfer-encoding":
        kind = _CODING
    elif low == b"connection":
        kind = _CONNECTION
    elif low in HOP_BY_HOP or low.startswith(b"proxy-"):
        kind = _DROP
    else:
        kind = _PASS
    if len(name) <= MAX_REMEMBERED_BYTES:
        if len(_answer_names) >= MAX_REMEMBERED:
            _answer_names.clear()
        _answer_names[name] = low, kind
    return low, kind
