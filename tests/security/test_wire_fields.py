"""Fields that tell an origin who calls, from where and for which host: only the gateway's word gets there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.access import AuthMode
from gateway.domain.snapshot import EdgePolicy
from tests.integration.edge.edge_world import Wire
from tests.security.strict_messages import end_to_end
from tests.security.wire_world import HOST, bearer, bounded, gateway
from tests.unit.edge.edge_values import route

GET = b"GET /first HTTP/1.1\r\n"
IDENTITY = (b"x-sentinel-subject", b"x-sentinel-tenant", b"x-sentinel-roles", b"x-sentinel-scopes")


@pytest.fixture(scope="module")
def shared_known(driver):
    routes = [route(name="known", path="/known/*", auth=AuthMode.JWT), route(name="open", path="/*")]
    with gateway(driver, *routes) as made:
        yield made


@pytest.fixture
def known(shared_known):
    """A gateway that knows its callers below /known."""
    shared_known.clear()
    return shared_known


@pytest.fixture(scope="module")
def shared_behind(driver):
    policy = EdgePolicy(trusted_proxies=("127.0.0.0/8", "10.0.0.0/8", "fd00::/8"))
    with gateway(driver, route(path="/*"), policy=policy) as made:
        yield made


@pytest.fixture
def behind(shared_behind):
    """A gateway behind proxies it trusts."""
    shared_behind.clear()
    return shared_behind


def plain(name: bytes) -> bytes:
    return name.replace(b"_", b"-").replace(b".", b"-")


@pytest.mark.parametrize(
    "name",
    [
        *(
            b"X-Sentinel-Subject",
            b"x-sentinel-tenant",
            b"X_Sentinel_Subject",
            b"X.Sentinel.Tenant",
            b"x_sentinel-roles",
        ),
        *(b"X-SENTINEL_SCOPES", b"x.sentinel_subject", b"X-Sentinel-Anything", b"x-sentinel-"),
    ],
)
def test_nobody_says_themselves_who_they_are_under_any_spelling(known, name):
    assert known.ask(GET + HOST + name + b": root\r\n")[0] == 200
    assert known.ask(b"GET /known HTTP/1.1\r\n" + HOST + bearer() + name + b": root\r\n")[0] == 200
    stranger, ana = known.messages
    assert not [field for field, _ in stranger.fields if plain(field).startswith(b"x-sentinel")]
    assert ana.value(b"x-sentinel-subject") == b"ana"
    assert ana.value(b"x-sentinel-tenant") == b"acme"
    assert b"root" not in ana.raw


@pytest.mark.parametrize(
    "nominated",
    [
        b"x-sentinel-subject, x-sentinel-tenant",
        b"close, X-Sentinel-Subject",
        b"keep-alive\r\nConnection: x-sentinel-subject\r\nConnection: x-sentinel-tenant",
        b"host, content-length, x-forwarded-for, x-forwarded-host, x-request-id, traceparent",
        b"transfer-encoding, authorization",
        b" , ,,x-sentinel-subject;q=1,\tx-sentinel-tenant\t",
    ],
)
def test_a_connection_field_takes_nothing_away_that_the_gateway_says(known, nominated):
    head = b"POST /known HTTP/1.1\r\n" + HOST + bearer() + b"content-length: 5\r\nconnection: " + nominated + b"\r\n"
    assert known.ask(head, b"hello")[0] == 200
    message = known.only()
    assert (message.value(b"x-sentinel-subject"), message.value(b"x-sentinel-tenant")) == (b"ana", b"acme")
    assert (message.value(b"host"), message.body) == (b"shop.example", b"hello")
    assert message.value(b"x-forwarded-for") == b"127.0.0.1"
    assert message.value(b"connection") is None
    assert message.value(b"x-request-id")


def test_a_connection_field_takes_away_what_the_client_nominates_and_only_that(known):
    fields = b"connection: X-Private, te\r\nx-private: 1\r\nX-PRIVATE: 2\r\nte: trailers\r\nx-public: 3\r\n"
    assert known.ask(GET + HOST + fields)[0] == 200
    message = known.only()
    assert message.values(b"x-private") == []
    assert message.value(b"te") is None
    assert message.value(b"x-public") == b"3"


def test_a_token_that_stands_twice_is_refused_and_a_bearer_of_two_names_too(known):
    head = b"GET /known HTTP/1.1\r\n" + HOST
    assert known.refuses(head + bearer() + bearer("eve") + b"\r\n")
    assert known.ask(head + b"Authorization_: x\r\nauthorization: Bearer a, Bearer b\r\n")[0] == 401
    assert known.messages == [message for message in known.messages if message.target == b"/settled"]


@pytest.mark.parametrize(
    "fields",
    [
        b"x-forwarded-for: 10.9.9.9\r\n",
        b"x-forwarded-for: 10.9.9.9\r\nx-forwarded-for: 10.8.8.8\r\n",
        b"X_Forwarded_For: 10.9.9.9\r\nx-forwarded.for: 10.9.9.9\r\n",
        b"forwarded: for=10.9.9.9\r\nx-real-ip: 10.9.9.9\r\n",
        b"x-forwarded-host: evil.example\r\nx-forwarded-proto: https\r\nx-forwarded-port: 1\r\n",
    ],
)
def test_a_stranger_forwards_for_nobody(front, fields):
    assert front.ask(GET + HOST + fields)[0] == 200
    message = front.only()
    assert message.value(b"x-forwarded-for") == b"127.0.0.1"
    assert message.value(b"x-forwarded-host") == b"shop.example"
    assert message.value(b"x-forwarded-proto") == b"http"
    assert b"10.9.9.9" not in message.raw
    assert b"evil" not in message.raw
    assert {plain(name) for name, _ in message.fields} & {b"forwarded", b"x-real-ip", b"x-forwarded-port"} == set()
    assert front.records()[-1].client == "127.0.0.1"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"203.0.113.7", "203.0.113.7"),
        (b"198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (b"198.51.100.1, 203.0.113.7, 10.0.0.5", "203.0.113.7"),
        (b"127.0.0.1, 203.0.113.7, 10.0.0.5, 10.0.0.6", "203.0.113.7"),
        (b"203.0.113.7, garbage, 10.0.0.5", "10.0.0.5"),
        (b"203.0.113.7, , 10.0.0.5", "10.0.0.5"),
        (b"203.0.113.7, 10.0.0.300", "127.0.0.1"),
        (b"203.0.113.7:443", "203.0.113.7"),
        (b"[2001:db8::7]:443, fd00::1", "2001:db8::7"),
        (b"::ffff:203.0.113.7", "203.0.113.7"),
        (b"10.1.1.1, 10.0.0.5", "10.1.1.1"),
        (b"", "127.0.0.1"),
        (b"203.0.113.7\xa0", "203.0.113.7"),
        (b"0x7f000001", "127.0.0.1"),
        (b"203.0.113.07", "127.0.0.1"),
    ],
)
def test_a_chain_of_proxies_is_walked_from_the_right_as_far_as_they_are_trusted(behind, chain, client):
    assert behind.ask(GET + HOST + b"x-forwarded-for: " + chain + b"\r\n")[0] == 200
    assert behind.records()[-1].client == client
    last = behind.only().value(b"x-forwarded-for").split(b", ")[-1]
    assert last == client.encode()


def test_several_chains_are_one_in_the_order_they_came(behind):
    lines = b"x-forwarded-for: 198.51.100.1\r\nx-a: b\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.5\r\n"
    assert behind.ask(GET + HOST + lines)[0] == 200
    assert behind.records()[-1].client == "203.0.113.7"
    got = behind.only().value(b"x-forwarded-for")
    assert got == b"198.51.100.1, 203.0.113.7, 10.0.0.5, 203.0.113.7"


@pytest.mark.parametrize(
    "hosts",
    [
        *(b"", b"host: a\r\nhost: a\r\n", b"host: a\r\nHost: evil.example\r\n", b"host:\r\n", b"host: a b\r\n"),
        *(
            b"host: a/b\r\n",
            b"host: a@b\r\n",
            b"host: a:b\r\n",
            b"host: a:80:80\r\n",
            b"host: a,b\r\n",
            b"host: a?b\r\n",
        ),
        *(b"host: a#b\r\n", b"host: [::1\r\n", b"host: ::1\r\n", b"host: a:123456\r\n", b"host: \xe9.example\r\n"),
        *(
            b"host: a%2eexample\r\n",
            b"host: <a>\r\n",
            b"host: 'a'\r\n",
            b"host: a\\b\r\n",
            b"host: " + b"a" * 300 + b"\r\n",
        ),
        *(b"hosts: a\r\n", b"host : a\r\n", b"host\r\n", b"host: a\r\n b\r\n"),
    ],
)
def test_a_host_that_is_missing_double_or_none_is_refused(front, hosts):
    assert front.refuses(GET + hosts + b"\r\n")


@pytest.mark.parametrize(
    "host", [b"A.Example:8000", b"a.example.", b"[::1]:80", b"10.0.0.1", b"xn--caf-dma.example", b"a_b"]
)
def test_a_host_reaches_the_origin_as_it_was_sent(front, host):
    assert front.ask(GET + b"Host: " + host + b"\r\n")[0] == 200
    assert front.only().value(b"host") == host
    assert front.only().value(b"x-forwarded-host") == host


def test_more_fields_or_bytes_than_are_taken_are_431_and_reach_nobody(front):
    assert front.refuses(GET + HOST + b"x: y\r\n" * 200 + b"\r\n", status=431)
    front.clear()
    assert front.refuses(GET + HOST + b"x: " + b"y" * 17_000 + b"\r\n\r\n", status=431)
    front.clear()
    assert front.refuses(GET + HOST + b"x" * 17_000 + b": y\r\n\r\n", status=431)
    front.clear()
    assert front.refuses(b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", status=431)


def test_as_many_fields_as_are_taken_arrive_in_their_order(front):
    fields = [b"x-%d: %d\r\n" % (number % 7, number) for number in range(199)]
    assert front.ask(GET + HOST + b"".join(fields))[0] == 200
    got = [b"%b: %b\r\n" % field for field in end_to_end(front.only().fields)]
    assert got == fields


@pytest.mark.parametrize("value", [b"a\tb", b"x" * 300, b"\xff\xfe", b"a b", b"%0d%0ax: y", b"\\r\\n x: y", b"a, b"])
def test_a_request_id_or_a_trace_that_is_not_one_word_of_ascii_is_replaced(front, value):
    status, fields, _ = front.ask(GET + HOST + b"x-request-id: " + value + b"\r\ntraceparent: " + value + b"\r\n")
    message = front.only()
    assert status == 200
    assert fields[b"x-request-id"] == message.value(b"x-request-id")
    assert message.value(b"x-request-id").isalnum()
    assert len(message.value(b"traceparent")) == 55


NAMES = st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)


def is_harmless(name: bytes) -> bool:
    """Whether the gateway takes it for just any field."""
    low = plain(name.lower())
    known = (b"content-", b"transfer-", b"host", b"authorization", b"x-api-key", b"expect", b"upgrade", b"connection")
    return not low.startswith(known)


@given(fields=st.lists(st.tuples(NAMES.filter(is_harmless), VALUES), max_size=20))
@bounded(60)
def test_fields_between_both_ends_arrive_unchanged_and_in_order(front, fields):
    front.origin.messages.clear()
    wire = Wire(front.port)
    wire.send(GET + HOST + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n")
    assert wire.answer()[0] == 200
    wire.close()
    expected = end_to_end([(name.lower(), value) for name, value in fields])
    got = end_to_end(front.only().fields)
    assert got == expected
