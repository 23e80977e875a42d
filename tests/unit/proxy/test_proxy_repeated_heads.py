"""Heads written from fields that came before must be those that would be written without any memory."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.forwarding import Headers, Outbound, RepeatedHeaders, VariedHeaders
from gateway.domain.identity import Principal
from gateway.domain.routing import HeaderRules, Route
from gateway.domain.upstreams import Target, Upstream
from gateway.proxy.headers import UnforwardableError, request_head

UPSTREAM = Upstream(name="api", targets=(Target(name="a:1", host="a", port=1),))
ROUTE = Route(name="api", path="/*", upstream="api")
FIELDS = [(b"host", b"shop.example"), (b"accept", b"*/*"), (b"x-tenant", b"acme"), (b"connection", b"keep-alive")]
PLAIN = Outbound(
    method=b"GET",
    path=b"/orders",
    query=b"page=2",
    headers=FIELDS,
    content_length=0,
    route=ROUTE,
    upstream=UPSTREAM,
    host=b"shop.example",
    client=b"192.0.2.7",
    request_id=b"r-1",
    traceparent=b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
)
CHAIN = (b"x-forwarded-for", b"198.51.100.1")
STATE = (b"tracestate", b"a=1")
TRACE = (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"c" * 16 + b"-01")
ID = (b"x-request-id", b"r-1")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"query": b"", "principal": Principal(kind="jwt", subject="ana", scopes=frozenset({"b", "a"}))},
        {"headers": [*FIELDS, CHAIN]},
        {"headers": [*FIELDS, CHAIN], "trusted_peer": True},
        {"headers": [*FIELDS, STATE]},
        {"headers": [*FIELDS, (b"connection", b"x-tenant")]},
        {"headers": [*FIELDS, (b"x_sentinel_subject", b"root")]},
        {"headers": []},
        {"method": b"POST"},
        {"method": b"PUT", "content_length": 5},
        {"client": b""},
        {"route": Route(name="b", path="/*", upstream="api", request_headers=HeaderRules(set=(("x-a", "b"),)))},
    ],
)
def test_fields_that_come_again_make_the_same_head(changes: dict[str, object]) -> None:
    fresh = msgspec.structs.replace(PLAIN, **changes)
    again = msgspec.structs.replace(fresh, headers=RepeatedHeaders(fresh.headers))
    assert request_head(again) == request_head(again) == request_head(fresh)


@pytest.mark.parametrize("more", [{}, {"trusted_peer": True}, {"method": b"POST", "content_length": 7}])
@pytest.mark.parametrize("last", [[TRACE], [ID], [(b"content-length", b"7"), TRACE, ID]])
@pytest.mark.parametrize("first", [[], [STATE], [CHAIN]])
def test_fields_of_which_the_last_are_new_make_the_same_head(
    first: Headers, last: Headers, more: dict[str, object]
) -> None:
    repeated = RepeatedHeaders([*FIELDS, *first])
    varied = VariedHeaders([*repeated, *last])
    varied.repeated = repeated
    fresh = msgspec.structs.replace(PLAIN, headers=list(varied), **more)
    again = msgspec.structs.replace(fresh, headers=varied)
    assert request_head(again) == request_head(again) == request_head(fresh)


@pytest.mark.parametrize("place", ["host", "client", "request_id", "traceparent", "scheme"])
@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0"])
def test_what_is_new_of_a_head_cannot_end_a_line(place: str, byte: bytes) -> None:
    known = RepeatedHeaders(FIELDS)
    request_head(msgspec.structs.replace(PLAIN, headers=known))
    with pytest.raises(UnforwardableError):
        request_head(msgspec.structs.replace(PLAIN, headers=known, **{place: b"a" + byte + b"b"}))
