"""Errors of the gateway itself as problem documents (RFC 9457).

Nothing the caller sent is repeated, except the request id, which is visible ASCII and JSON-escaped.
"""

from __future__ import annotations

from http import HTTPStatus
from time import gmtime, strftime, time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.edge.exchange import Exchange, Refusal

_encode = msgspec.json.Encoder().encode


def body(refusal: Refusal, exchange: Exchange) -> bytes:
    """The JSON document: type, title, status, detail, request_id, and the route's open incident, if any."""
    document: dict[str, object] = {
        "type": f"urn:sentinel:problem:{refusal.kind}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "request_id": exchange.request_id,
    }
    if exchange.route is not None:
        incident = exchange.runtime.snapshot.open_incidents.get(exchange.route.name)
        if incident:
            document["incident"] = incident
    return _encode(document)


def headers(refusal: Refusal, length: int) -> Headers:
    """The fields of a problem answer, ``length`` being that of its body; the driver adds the request id."""
    fields: Headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % length),
        (b"cache-control", b"no-store"),
        (b"date", http_date(time())),
        *refusal.headers,
    ]
    if refusal.close:
        fields.append((b"connection", b"close"))
    return fields


def http_date(now: float) -> bytes:
    """``now`` (seconds since the epoch) as an IMF-fixdate; strftime's names are English because no locale is set."""
    return strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(now)).encode("ascii")
