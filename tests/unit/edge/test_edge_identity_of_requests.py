"""Request ids, trace context and the caller's address."""

from __future__ import annotations

import re

import pytest

from gateway.edge.client_address import MEMO_ENTRIES, ClientAddresses
from gateway.edge.identifiers import Identifiers
from tests.unit.edge.edge_values import exchange

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"


def identified(**facts: bytes):
    made = exchange()
    made.facts.update({name.replace("_", "-").encode(): value for name, value in facts.items()})
    Identifiers().assign(made)
    return made


def test_a_well_formed_request_id_is_kept():
    assert identified(x_request_id=b"abc-123/4~").request_id == "abc-123/4~"


@pytest.mark.parametrize("given", [b"", b"a b", b"a\x1b[31m", b"\xc3\xa9", b"x" * 129])
def test_an_ill_formed_request_id_is_replaced(given):
    assert re.fullmatch(r"[0-9a-f]{24}", identified(x_request_id=given).request_id)


def test_made_request_ids_differ():
    source = Identifiers()
    made = [exchange() for _ in range(100)]
    for one in made:
        source.assign(one)
    assert len({one.request_id for one in made}) == 100
    assert len({one.span_id for one in made}) == 100


def test_a_trace_is_continued_with_a_span_of_our_own():
    made = identified(traceparent=b"00-%s-%s-00" % (TRACE, SPAN))
    assert made.trace_id.encode() == TRACE
    assert made.parent_id.encode() == SPAN
    assert made.span_id not in {"", made.parent_id}
    assert made.traceparent == b"00-%s-%s-00" % (TRACE, made.span_id.encode())


def test_a_later_version_with_more_fields_is_continued():
    assert identified(traceparent=b"01-%s-%s-01-more" % (TRACE, SPAN)).trace_id.encode() == TRACE


@pytest.mark.parametrize(
    "given",
    [
        b"", b"00-%s-%s" % (TRACE, SPAN), b"ff-%s-%s-01" % (TRACE, SPAN), b"00-%s-%s-01-x" % (TRACE, SPAN),
        b"00-%s-%s-01" % (b"0" * 32, SPAN), b"00-%s-%s-01" % (TRACE, b"0" * 16), b"00-%s-%s-01" % (TRACE.upper(), SPAN),
    ],
)  # fmt: skip
def test_an_ill_formed_trace_is_begun_anew(given):
    made = identified(traceparent=given)
    assert made.trace_id.encode() not in {TRACE, b"0" * 32}
    assert made.parent_id == ""
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", made.traceparent)


TRUSTED = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "field", "client", "trusted"),
    [
        ("192.0.2.9", b"1.1.1.1", "192.0.2.9", False),
        ("10.0.0.1", None, "10.0.0.1", True),
        ("10.0.0.1", b"1.1.1.1", "1.1.1.1", True),
        ("10.0.0.1", b"6.6.6.6, 1.1.1.1", "1.1.1.1", True),
        ("10.0.0.1", b"6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1", True),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3", True),
        ("10.0.0.1", b"1.1.1.1, nonsense, 10.0.0.2", "10.0.0.2", True),
        ("10.0.0.1", b"nonsense", "10.0.0.1", True),
        ("10.0.0.1", b"1.1.1.1:8080", "1.1.1.1", True),
        ("10.0.0.1", b"[2001:dead::1]:8080", "2001:dead::1", True),
        ("2001:db8::1", b"::ffff:10.0.0.2, ::ffff:1.1.1.1", "1.1.1.1", True),
        ("", b"1.1.1.1", "", False),
    ],
)
def test_forwarded_for_is_walked_from_the_right_and_only_behind_trusted_proxies(peer, field, client, trusted):
    assert ClientAddresses(TRUSTED).resolve(peer, field) == (client, trusted)


def test_without_trusted_proxies_the_peer_is_the_client():
    assert ClientAddresses(()).resolve("10.0.0.1", b"1.1.1.1") == ("10.0.0.1", False)


def test_a_million_claims_do_not_grow_the_memo_past_its_bound():
    addresses = ClientAddresses(TRUSTED)
    for number in range(MEMO_ENTRIES + 10):
        addresses.resolve("10.0.0.1", b"x%d" % number)
    assert len(addresses._memo) <= MEMO_ENTRIES
