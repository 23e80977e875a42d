"""Access lists against the plain reading of their networks, and where in the steps they are asked."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import ErrorKind
from gateway.edge import client_address
from gateway.edge.access_list import AccessList, Networks, access_list
from gateway.edge.client_address import ClientAddresses
from tests.unit.edge.edge_values import exchange, route, snapshot, steps


def admitted(client, *, allow=(), deny=()):
    return AccessList(allow, deny).judge(client) is None


def test_what_is_denied_is_refused_even_when_it_is_allowed():
    assert not admitted("10.1.2.3", allow=("10.0.0.0/8",), deny=("10.1.0.0/16",))
    assert admitted("10.2.2.3", allow=("10.0.0.0/8",), deny=("10.1.0.0/16",))


def test_with_an_allow_list_nobody_else_passes():
    assert not admitted("192.0.2.1", allow=("10.0.0.0/8",))
    assert not admitted("2001:db8::1", allow=("10.0.0.0/8",))


def test_without_an_allow_list_everyone_not_denied_passes():
    assert admitted("192.0.2.1", deny=("10.0.0.0/8",))
    assert not admitted("10.0.0.1", deny=("10.0.0.0/8",))


def test_no_lists_at_all_are_none():
    assert access_list((), ()) is None


def test_ipv4_in_ipv6_is_ipv4_on_both_sides():
    assert not admitted("::ffff:10.0.0.1", deny=("10.0.0.0/8",))
    assert not admitted("10.0.0.1", deny=("::ffff:10.0.0.0/104",))
    assert not admitted("::ffff:a00:1", deny=("10.0.0.1",))


def test_a_whole_version_can_be_named():
    assert not admitted("203.0.113.9", deny=("0.0.0.0/0",)) and admitted("2001:db8::1", deny=("0.0.0.0/0",))
    assert not admitted("2001:db8::1", deny=("::/0",)) and admitted("203.0.113.9", deny=("::/0",))


def test_a_peer_without_an_address_passes_unless_some_are_named():
    assert admitted("", deny=("0.0.0.0/0", "::/0"))
    assert not admitted("", allow=("0.0.0.0/0", "::/0"))


def test_an_address_with_a_zone_is_its_address():
    assert not admitted("fe80::1%eth0", deny=("fe80::/10",))


_v4 = st.integers(0, 2**32 - 1).map(lambda number: str(ip_address(number)))
_v6 = st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))
_networks = st.one_of(
    st.tuples(_v4, st.integers(0, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(_v6, st.integers(0, 128)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_networks, max_size=6), st.data())
def test_membership_is_that_of_the_networks(cidrs, data):
    networks = [ip_network(cidr, strict=False) for cidr in cidrs]
    inside = [str(network[data.draw(st.integers(0, min(network.num_addresses - 1, 2**64)))]) for network in networks]
    client = data.draw(st.one_of(_v4, _v6, *([st.sampled_from(inside)] if inside else [])))
    address = ip_address(client)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    expected = any(address in network for network in networks)
    assert (client in Networks(cidrs)) == expected


def test_addresses_that_clients_make_up_do_not_pile_up():
    for number in range(client_address.MAX_FIELD_BYTES * 8):
        client_address.parse(str(ip_address(number)))
    assert len(client_address._parsed) <= client_address.MEMO_ENTRIES


def judged(wired, **changes):
    return wired.admit(exchange(wired, **changes), lambda outcome: None)


def test_the_policys_list_is_asked_before_the_route():
    wired = steps(snapshot(policy=EdgePolicy(deny=("192.0.2.0/24",))))
    refusal = judged(wired, path=b"/nowhere")
    assert (refusal.status, refusal.kind) == (403, ErrorKind.FORBIDDEN)
    assert judged(wired, peer="198.51.100.1") is None


def test_a_routes_list_is_asked_for_that_route_only():
    wired = steps(snapshot(route(deny=("192.0.2.0/24",)), route(name="open", path="/open")))
    assert judged(wired).status == 403
    assert judged(wired, path=b"/open") is None


def test_the_caller_behind_a_trusted_proxy_is_judged_not_the_proxy():
    policy = EdgePolicy(trusted_proxies=("10.0.0.0/8",), allow=("203.0.113.0/24",))
    wired = steps(snapshot(policy=policy))
    forwarded = [(b"x-forwarded-for", b"192.0.2.9, 203.0.113.7")]
    assert judged(wired, peer="10.0.0.1", extra=forwarded) is None
    assert judged(wired, peer="10.0.0.1", extra=[(b"x-forwarded-for", b"203.0.113.7, 192.0.2.9")]).status == 403
    assert judged(wired, peer="192.0.2.9", extra=forwarded).status == 403


def test_a_directive_keeps_the_compiled_lists_and_a_changed_route_does_not():
    wired = steps(snapshot(route(deny=("192.0.2.0/24",))))
    before = wired.runtime.route_access
    wired.apply(snapshot(route(deny=("192.0.2.0/24",)), revision=2))
    assert wired.runtime.route_access is before
    wired.apply(snapshot(route(), revision=3))
    assert not wired.runtime.route_access and judged(wired) is None


@pytest.mark.parametrize(
    ("field", "client"),
    [
        (b"203.0.113.7:4711", "203.0.113.7"),
        (b"[2001:db8::7]:4711", "2001:db8::7"),
        (b"2001:db8::7", "2001:db8::7"),
        (b"::ffff:203.0.113.7", "203.0.113.7"),
        (b"192.0.2.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (b"203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        (b"", "10.0.0.1"),
    ],
)
def test_the_chain_is_walked_from_the_right(field, client):
    addresses = ClientAddresses(("10.0.0.0/8", "fd00::/8"))
    assert addresses.resolve("10.0.0.1", field or None) == (client, True)


@pytest.mark.parametrize("dropped", range(6))
def test_a_chain_that_is_cut_begins_with_a_whole_address(dropped):
    # Cut in the middle of "110.0.0.9" the rest could read "10.0.0.9", a trusted proxy that nobody named.
    chain = b", ".join([b"110.0.0.9", *[b"10.0.0.2"] * 102]).replace(b", ", b",", dropped)
    assert ClientAddresses(("10.0.0.0/8",)).resolve("10.0.0.1", chain)[0] in {"110.0.0.9", "10.0.0.2"}
