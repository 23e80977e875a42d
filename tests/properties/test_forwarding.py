"""What one gateway forwards, a second one behind it forwards again without changing it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forwarding import Headers, Outbound
from gateway.domain.identity import ANONYMOUS, Principal
from gateway.domain.routing import Route
from gateway.domain.upstreams import Upstream
from gateway.proxy.headers import request_head
from tests.security.strict_messages import Message, at_origin, end_to_end
from tests.security.wire_world import bounded

NAMES = st.one_of(
    st.from_regex(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,10}", fullmatch=True),
    st.sampled_from(
        [
            *(b"connection", b"te", b"keep-alive", b"x-forwarded-for", b"x_forwarded_for", b"x-sentinel-subject"),
            *(b"x.sentinel.tenant", b"forwarded", b"traceparent", b"tracestate", b"cookie", b"accept", b"expect"),
            *(b"proxy-authorization", b"upgrade", b"x-request-id", b"content_length", b"content-type"),
        ]
    ),
)
VALUES = st.one_of(
    st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,12}[!-~\x80-\xff])?)?", fullmatch=True),
    st.sampled_from([b"close", b"x-a, cookie", b"10.0.0.1", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"]),
)
LENGTHS = st.sampled_from([0, 3, -1])
PRINCIPALS = st.sampled_from([ANONYMOUS, Principal(kind="jwt", subject="an\u00e4 %", tenant="acme")])


def forwarded(headers: Headers, length: int, principal: Principal, *, trusted: bool) -> Message:
    body = b"" if not length else b"abc" if length > 0 else b"3\r\nabc\r\n0\r\n\r\n"
    head = request_head(
        Outbound(
            method=b"POST",
            path=b"/a",
            query=b"b",
            headers=headers,
            content_length=length,
            route=Route(name="r", path="/*", upstream="u"),
            upstream=Upstream("u", ()),
            host=b"shop.example",
            client=b"192.0.2.7",
            principal=principal,
            request_id=b"r-1",
            traceparent=b"00-" + b"a" * 32 + b"-" + b"c" * 16 + b"-01",
            trusted_peer=trusted,
        )
    )
    message, rest = at_origin(head + body)
    assert message is not None
    assert rest == b""
    return message


@given(
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=12), length=LENGTHS, principal=PRINCIPALS, trusted=st.booleans()
)
@bounded(300)
def test_a_forwarded_request_is_forwarded_unchanged(fields, length, principal, trusted):
    first = forwarded(fields, length, principal, trusted=trusted)
    second = forwarded(first.fields, length, principal, trusted=trusted)
    third = forwarded(second.fields, length, principal, trusted=trusted)
    assert end_to_end(first.fields) == end_to_end(fields)
    assert end_to_end(second.fields) == end_to_end(first.fields)
    assert {name for name, _ in third.fields} == {name for name, _ in second.fields}
    assert third.body == first.body
