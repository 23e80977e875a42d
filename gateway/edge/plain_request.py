"""The exchange that one read of a connection is, where that is one whole, plain request and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge import plain_head
from gateway.edge.exchange import Exchange

if TYPE_CHECKING:
    from gateway.edge.runtime import Runtime


def whole(
    data: bytes,
    runtime: Runtime,
    peer: str,
    scheme: bytes,
    certificate: bytes,
    keeps_admin: bool,  # noqa: FBT001 - by position, for every request
) -> tuple[Exchange, bytes] | None:
    """The exchange and its body, or None where a parser must have the bytes.

    Args:
        data: what was read.
        runtime: of this request.
        peer: the client's address.
        scheme: ``b"http"`` or ``b"https"``.
        certificate: of the client, DER; empty when it showed none.
        keeps_admin: whether control's own paths are answered here, which is for ASGI.
    """
    end = data.find(b"\r\n") + 2
    line = plain_head.request_line(data[: end - 2])
    if line is None:
        return None
    method, path, query, target, judged, with_body = line
    if keeps_admin and runtime.is_admin(path):
        return None
    body = b""
    if with_body:
        ends = data.find(b"\r\n\r\n", end - 2) + 4
        if ends < end:  # the head is not whole
            return None
        fields = plain_head.fields(data[end:ends], True)
        body = data[ends:]
    else:
        fields = plain_head.fields(data[end:])
    if fields is None or fields.content_length != len(body):  # more of the body is to come, or another request
        return None
    headers, gathered, length = fields
    # By position: most requests come by here, and Python takes twice as long to call by keyword.
    exchange = Exchange(method, path, query, headers, runtime, peer, scheme, "1.1", 0, target, certificate)
    exchange.gathered = gathered
    exchange.target_judged = judged
    exchange.content_length = exchange.bytes_in = length
    return exchange, body
