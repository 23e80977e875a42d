"""What both drivers put on every answer: the request id, what is left of the limits, and the latency ledger."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from gateway.domain.forwarding import Outbound
from gateway.domain.traffic import ErrorKind
from gateway.edge import problem
from gateway.edge.exchange import Refusal, Reply, now_us

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, UpstreamFailure
    from gateway.domain.routing import Route
    from gateway.domain.upstreams import Upstream
    from gateway.edge.exchange import Exchange

# 204 and 304 have no body (RFC 9110 section 6.4.1). A 304 may announce the length that a 200 would have, but servers
# that count what they send take that for a broken promise.
BODILESS = frozenset({204, 304})


def own_fields(exchange: Exchange) -> Headers:
    """The header fields the gateway adds to an answer, whoever made it."""
    fields: Headers = [(b"x-request-id", exchange.request_id.encode("ascii"))]
    if exchange.verdict is not None:
        fields += exchange.verdict.fields()
    if exchange.runtime.policy.server_timing:
        fields.append((b"server-timing", _server_timing(exchange)))
    return fields


def relayed(exchange: Exchange, status: int, headers: Headers) -> Headers:
    """The upstream's header fields as the client gets them."""
    passed = kept(status, headers)
    rules = exchange.runtime.answers
    if rules is not None:
        passed = rules.of(exchange).relayed(exchange, status, passed)
    return passed + own_fields(exchange)


def kept(status: int, headers: Headers) -> Headers:
    """The upstream's header fields that every client gets: not its request id, nor the length of no body."""
    drop_length = status in BODILESS
    return [
        field
        for field in headers
        if field[0] != b"x-request-id" and not (drop_length and field[0] == b"content-length")
    ]


def own(exchange: Exchange, what: Refusal | Reply) -> tuple[int, Headers, bytes]:
    """Status, header fields and body of the gateway's own answer as they are sent; notes the outcome on the exchange.

    A HEAD request gets the fields alone. A refusal's ``close`` stands among the fields as ``connection: close``.
    """
    exchange.status = what.status
    if isinstance(what, Reply):
        body = what.body
        fields = _reply_fields(what)
    else:
        exchange.error = what.kind
        body = problem.body(what, exchange)
        fields = problem.headers(what, len(body))
    if exchange.method == b"HEAD":
        body = b""
    rules = exchange.runtime.answers
    if rules is not None:
        fields = rules.of(exchange).own(exchange, fields)
    return what.status, fields + own_fields(exchange), body


def failed(failure: UpstreamFailure) -> Refusal:
    """The gateway's own answer where the upstream gave none."""
    later = ((b"retry-after", b"%d" % failure.retry_after_s),) if failure.retry_after_s else ()
    return Refusal(failure.status, ErrorKind(failure.kind), failure.detail, headers=later)


def outbound(exchange: Exchange, route: Route, upstream: Upstream) -> Outbound:
    """The admitted request as the proxy takes it."""
    return Outbound(
        method=exchange.method,
        path=exchange.path,
        query=exchange.query,
        headers=exchange.headers,
        content_length=exchange.content_length,
        route=route,
        upstream=upstream,
        host=exchange.facts.get(b"host", b""),
        client=exchange.client.encode("latin-1", "replace"),
        scheme=exchange.scheme,
        principal=exchange.principal,
        request_id=exchange.request_id.encode("ascii"),
        traceparent=exchange.traceparent,
        trusted_peer=exchange.trusted_peer,
    )


def _reply_fields(reply: Reply) -> Headers:
    fields: Headers = [(b"date", problem.http_date(time())), *reply.headers]
    if reply.status not in BODILESS:
        fields.append((b"content-length", b"%d" % len(reply.body)))
    return fields


def _server_timing(exchange: Exchange) -> bytes:
    """The ledger up to now as Server-Timing (W3C), in milliseconds."""
    now = now_us()
    auth = exchange.auth_at or now
    limit = exchange.limit_at or now
    connected = exchange.connected_at or now
    first_byte = exchange.first_byte_at or now
    return (
        f"auth;dur={(auth - exchange.steps_at) / 1000:.3f}, limit;dur={(limit - auth) / 1000:.3f}, "
        f"connect;dur={(connected - limit - exchange.upload_us) / 1000:.3f}, "
        f"upstream;dur={(first_byte - connected) / 1000:.3f}"
    ).encode("ascii")
