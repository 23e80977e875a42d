"""What a request must look like before anything else is asked of it. Pure: bytes in, a Refusal or None out.

The aim is that the path that is authorised, the path that is routed and the path that is forwarded are the same bytes,
and that nobody behind us can read another message out of the one we read (RFC 9112 sections 3.2, 6.3 and 11.2).
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.traffic import ErrorKind
from gateway.edge import websocket_handshake
from gateway.edge.exchange import Refusal

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.domain.snapshot import EdgePolicy
    from gateway.edge.exchange import Exchange

MAX_HEADER_COUNT = 200  # browsers send about 20; 16 KiB would hold 4,000 tiny ones, each of which costs us time
FIELD_BYTES = 4  # of a field beside name and value: ": " and CRLF
MAX_HOST_BYTES = 261  # a DNS name of 255 and a port

# Host fields found good, and the host each one names: a gateway serves few hosts, and whoever makes some up only has
# the table begun anew.
MAX_REMEMBERED_HOSTS = 1024
_hosts: dict[bytes, str] = {}

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

# Paths that two programs may read differently. In order: bytes that do not belong in a target; backslash and fragment;
# empty segments; percent-encoded control bytes, "/", "\" and unreserved characters (RFC 3986 section 6.2.2.2 makes the
# encoded and the plain form the same resource, so "/%61dmin" would reach /admin past its route); broken encodings;
# overlong UTF-8, which careless decoders take for the plain character ("%c0%af" for "/"); "." and ".." segments, also
# with a path parameter, which some servers cut off first ("/..;/").
_AMBIGUOUS = re.compile(
    rb"[^!-~]|[\\#]|//"
    rb"|%(?:[01][0-9a-f]|2[def]|3[0-9]|4[1-9a-f]|5[0-9acf]|6[1-9a-f]|7[0-9aef])"
    rb"|%(?![0-9a-f]{2})"
    rb"|%(?:c[01]%[89ab]|e0%[89]|f0%8)"
    rb"|/\.{1,2}(?=[/;]|$)",
    re.IGNORECASE,
)
_BAD_QUERY = re.compile(rb"[^!-~\x80-\xff]|#")

# Fields a step reads. Of the first group a second one is refused: two programs would choose differently.
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
# llhttp reads these like HTTP/1.1, which they are not. Servers that do speak HTTP/2 name it "2" over ASGI.
_FALSE_VERSIONS = frozenset({"0.9", "2.0"})
_WANTED = _ONCE | {b"x-request-id", b"traceparent", b"x-forwarded-for", b"user-agent", b"upgrade"}


class Gathered(NamedTuple):
    """What the rules read from header fields, whatever the rest of the request is. Shared: not to be changed."""

    facts: dict[bytes, bytes]
    size: int  # of the fields as they are sent
    twice: bytes  # a field that may be sent only once and was not, or empty
    host: str  # empty when there is none that can be accepted


def gather(headers: Headers) -> Gathered:
    """The facts of a head that is judged more than once."""
    facts: dict[bytes, bytes] = {}
    size, twice = _gather(headers, facts)
    return Gathered(facts, size, twice, _host_named(facts.get(b"host", b"")))


def has_plain_target(method: bytes, path: bytes, query: bytes) -> bool:
    """Whether there is nothing to say against a target whose bytes are visible ASCII."""
    if not (b"/." in path or b"//" in path or b"%" in path or b"\\" in path or b"#" in path or b"#" in query):
        return _judge_method(method) is None  # nothing of what makes a path ambiguous is there
    return _judge_method(method) is None and _judge_path(path, query) is None


def judge(exchange: Exchange, policy: EdgePolicy) -> Refusal | None:
    """Read the head of a request into ``exchange`` (facts, host, content_length) or say why it is refused."""
    gathered = exchange.gathered
    if gathered is not None and gathered.host and not gathered.twice and exchange.target_judged:
        exchange.facts = gathered.facts
        exchange.host = gathered.host
        size = gathered.size + len(exchange.path) + len(exchange.query)
        if size > policy.max_header_bytes or len(exchange.headers) > MAX_HEADER_COUNT:
            return _judge_size(size, len(exchange.headers), policy.max_header_bytes)
        if exchange.content_length > exchange.max_body_bytes:
            return body_too_large(exchange.max_body_bytes)
        return None
    return (
        _judge_headers(exchange, policy.max_header_bytes)
        or _judge_target(exchange)
        or _judge_host(exchange)
        or (_judge_framing(exchange, exchange.max_body_bytes) if not _FRAMING.isdisjoint(exchange.facts) else None)
        or (_judge_upgrade(exchange) if b"upgrade" in exchange.facts else None)
    )


def body_too_large(limit: int) -> Refusal:
    """The refusal of a body over ``limit`` bytes, whether announced or found while reading."""
    return Refusal(413, ErrorKind.BODY_TOO_LARGE, f"The request body is over {limit} bytes.", close=True)


def _bad(detail: str) -> Refusal:
    return Refusal(400, ErrorKind.BAD_REQUEST, detail, close=True)


def _gather(headers: Headers, facts: dict[bytes, bytes]) -> tuple[int, bytes]:
    """Note the fields that a step reads; the size of all of them, and one that came twice and must not."""
    wanted = _WANTED
    twice = b""
    for name, value in headers:
        if name in wanted:
            if name not in facts:
                facts[name] = value
            elif name == b"x-forwarded-for":
                facts[name] += b", " + value
            elif name in _ONCE:
                twice = name
            elif name == b"traceparent":
                facts[name] = b""  # the specification restarts the trace when there are several
    return FIELD_BYTES * len(headers) + sum(map(len, chain.from_iterable(headers))), twice


def _judge_headers(exchange: Exchange, limit: int) -> Refusal | None:
    size, twice = _gather(exchange.headers, exchange.facts)
    why = _judge_size(size + len(exchange.path) + len(exchange.query), len(exchange.headers), limit)
    if why is None and twice:
        return _bad(f"The header field {twice.decode('ascii')} may be sent only once.")
    return why


def _judge_size(size: int, count: int, limit: int) -> Refusal | None:
    if size > limit or count > MAX_HEADER_COUNT:
        detail = f"The request line and header fields are over {limit} bytes or {MAX_HEADER_COUNT} fields."
        return Refusal(431, ErrorKind.HEADERS_TOO_LARGE, detail, close=True)
    return None


def _judge_target(exchange: Exchange) -> Refusal | None:
    why = _judge_method(exchange.method)
    if why is not None:
        return why
    if exchange.version in _FALSE_VERSIONS:
        return _bad("The HTTP version must be 1.1 or 1.0.")
    form = exchange.target_form
    path = exchange.path
    if path[:1] != b"/" or (form is not None and form[:1] != b"/"):
        return _bad("The request target must be a path that begins with a slash.")
    if form is not None and b"#" in form:
        return _bad("The request target must not contain a fragment.")
    return _judge_path(path, exchange.query)


def _judge_method(method: bytes) -> Refusal | None:
    if method == b"CONNECT" or _METHOD.fullmatch(method) is None:
        return _bad("The method is not accepted.")
    return None


def _judge_path(path: bytes, query: bytes) -> Refusal | None:
    if _AMBIGUOUS.search(path):
        return _bad(
            "The path is ambiguous: dot segments, empty segments, backslashes, control bytes and percent-encoded "
            "slashes, letters or digits are not accepted."
        )
    if query and _BAD_QUERY.search(query):
        return _bad("The query contains control bytes, blanks or a fragment.")
    return None


def _judge_host(exchange: Exchange) -> Refusal | None:
    value = exchange.facts.get(b"host")
    if value is None:
        return _bad("The header field host is missing.")
    host = _host_named(value)
    if not host:
        return _bad("The header field host is not a host name with an optional port.")
    exchange.host = host
    return None


def _host_named(value: bytes) -> str:
    """The host a Host field names, in lower case and without port; empty when it names none."""
    known = _hosts.get(value)
    if known is not None:
        return known
    if len(value) > MAX_HOST_BYTES or _HOST.fullmatch(value) is None:
        return ""
    host = value.decode("ascii").lower()
    if host[-1] != "]":  # an IPv6 literal without a port ends so
        host = host.rpartition(":")[0] or host
    host = host.removesuffix(".")  # "a.example." is "a.example" to every resolver
    if len(_hosts) >= MAX_REMEMBERED_HOSTS:
        _hosts.clear()
    _hosts[value] = host
    return host


def _judge_framing(exchange: Exchange, limit: int) -> Refusal | None:
    facts = exchange.facts
    length = facts.get(b"content-length")
    coding = facts.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            return _bad("Content-Length and Transfer-Encoding must not be sent together.")
        if coding.lower() != b"chunked" or exchange.version != "1.1":
            return _bad("The only transfer coding accepted is chunked, in HTTP/1.1.")
        exchange.content_length = -1
    elif length is not None:
        if _LENGTH.fullmatch(length) is None:
            return _bad("The header field content-length is not a number.")
        exchange.content_length = int(length)
        if exchange.content_length > limit:
            return body_too_large(limit)
    return None


def _judge_upgrade(exchange: Exchange) -> Refusal | None:
    """A WebSocket must be begun as it should; any other upgrade is ignored, as RFC 9110 section 7.8 allows.

    With a body it is not: parsers disagree about what a body is once an upgrade was asked for.
    """
    if exchange.is_websocket:
        return None if exchange.is_judged else websocket_handshake.judge(exchange)
    if exchange.facts.get(b"upgrade", b"").strip().lower() == b"websocket":
        return Refusal(501, ErrorKind.BAD_REQUEST, "WebSocket is not served here.", close=True)
    if exchange.content_length and websocket_handshake.asks_to_upgrade(exchange.headers):
        return Refusal(501, ErrorKind.BAD_REQUEST, "An upgrade is not served with a request body.", close=True)
    return None
