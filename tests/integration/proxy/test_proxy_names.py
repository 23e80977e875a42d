"""Targets that are names: looked up in the background, all addresses used, moves followed."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from gateway.domain.upstreams import Target, Timeouts, Upstream
from gateway.proxy.dial import Dialer
from gateway.proxy.resolve import Name, Resolver, interleaved, is_name, system_lookup
from tests.integration.proxy.scripted_origin import PATIENT, QUICK, Origin, Peer, Proxy, ok
from tests.servers import free_port

pytestmark = pytest.mark.anyio


class Zone:
    """A name server of one name; ``addresses`` empty means that it fails."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        self.waits: asyncio.Event | None = None

    async def lookup(self, host: str, port: int) -> tuple[str, ...]:
        assert host == "orders.internal"
        assert port
        self.asked += 1
        if self.waits is not None:
            await self.waits.wait()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.addresses


@asynccontextmanager
async def named(zone: Zone, port: int, *, timeouts: Timeouts = PATIENT, resolve_s: float = 0.05):
    target = Target(f"orders.internal:{port}", "orders.internal", port)
    upstream = Upstream("orders", (target,), timeouts, resolve_s=resolve_s)
    proxy = Proxy(upstream, dialer=Dialer(Resolver(zone.lookup, chance=lambda: 0.0)))
    try:
        yield proxy
    finally:
        await proxy.forwarder.close()


@asynccontextmanager
async def two_origins(**given):
    """The same port at two addresses; each answers with its own."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(peer.writer.get_extra_info("sockname")[0].encode(), **given))

    async with (
        Origin(script).listening() as one,
        Origin(script).listening(host="127.0.0.2", port=one.target.port) as two,
    ):
        yield one, two


CLOSING = {"extra": b"connection: close\r\n"}


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
def logged(monkeypatch):
    said: list[tuple[str, dict[str, object]]] = []

    class Log:
        def warning(self, event, **fields):
            said.append((event, fields))

        info = warning

    monkeypatch.setattr("gateway.proxy.resolve._log", Log())
    return said


async def test_all_addresses_of_a_name_get_connections_in_turn():
    async with two_origins(**CLOSING) as (one, _), named(Zone("127.0.0.1", "127.0.0.2"), one.target.port) as proxy:
        answers = [bytes((await proxy.ask()).received) for _ in range(6)]
    assert sorted(answers) == [b"127.0.0.1"] * 3 + [b"127.0.0.2"] * 3


async def test_an_address_that_refuses_is_passed_over_and_tried_last_afterwards():
    async with two_origins(**CLOSING) as (one, _), named(Zone("127.0.0.3", "127.0.0.2"), one.target.port) as proxy:
        sinks = [await proxy.ask() for _ in range(5)]
        (way,) = (pool._way for pool in proxy.forwarder._services["orders"]._pools.values())
        assert (await way._name.addresses())[0] == "127.0.0.2"
        assert (await way._name.addresses())[0] == "127.0.0.2"
    assert {bytes(sink.received) for sink in sinks} == {b"127.0.0.2"}
    assert {sink.attempts[0][1] for sink in sinks} == {1}  # one attempt as far as the request is concerned


async def test_an_address_that_is_silent_costs_a_quarter_of_a_second_and_not_the_request():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.3", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
        script = _answering_once
        # The turn begins with the second address.
        async with (
            Origin(script).listening(port=port),
            named(Zone("127.0.0.1", "127.0.0.3"), port, timeouts=PATIENT) as proxy,
        ):
            sink = await proxy.ask()
        for filler in fillers:
            filler.close()
    assert bytes(sink.received) == b"fine"


async def _answering_once(peer: Peer) -> None:
    await peer.request()
    await peer.send(ok())


async def test_when_no_address_answers_it_is_a_502_that_names_none_of_them():
    async with named(Zone("127.0.0.3", "127.0.0.4"), free_port()) as proxy:
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.detail) == ("upstream_unavailable", "no connection: Connection refused")


async def test_a_name_that_moves_takes_its_connections_along(logged):
    zone = Zone("127.0.0.1")
    async with two_origins() as (one, two), named(zone, one.target.port) as proxy:
        assert bytes((await proxy.ask()).received) == b"127.0.0.1"
        zone.addresses = ("127.0.0.2",)
        await until(lambda: logged)
        assert bytes((await proxy.ask()).received) == b"127.0.0.2"
        assert bytes((await proxy.ask()).received) == b"127.0.0.2"
        assert (one.accepted, two.accepted) == (1, 1)
    assert logged == [("name.moved", {"host": "orders.internal", "addresses": 1, "gone": 1})]


async def test_an_exchange_under_way_ends_at_the_old_address_and_its_connection_is_not_used_again(logged):
    zone = Zone("127.0.0.1")
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await go_on.wait()
            await peer.send(ok(b"old"))

    async def new(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"new"))

    async with (
        Origin(slow).listening() as old,
        Origin(new).listening(host="127.0.0.2", port=old.target.port),
        named(zone, old.target.port) as proxy,
    ):
        _, under_way = proxy.send()
        await until(lambda: under_way.attempts)
        zone.addresses = ("127.0.0.2",)
        await until(lambda: logged)
        go_on.set()
        await under_way.wait()
        after = await proxy.ask()
    assert (bytes(under_way.received), bytes(after.received)) == (b"old", b"new")


async def test_a_failed_lookup_keeps_the_last_addresses_and_is_said_once(logged, monkeypatch):
    monkeypatch.setattr("gateway.proxy.resolve.RETRY_S", 0.02)
    zone = Zone("127.0.0.1")
    async with two_origins(**CLOSING) as (one, _), named(zone, one.target.port, resolve_s=0.02) as proxy:
        await proxy.ask()
        zone.addresses = ()
        asked = zone.asked
        await until(lambda: zone.asked > asked + 3)
        assert (await proxy.ask()).ended
        zone.addresses = ("127.0.0.1",)
        await until(lambda: len(logged) == 2)
    (first, said), (second, _) = logged
    assert (first, said["kept"], second) == ("name.unresolved", 1, "name.resolved")


async def test_a_worker_starts_with_a_name_that_does_not_resolve_yet_and_serves_it_when_it_does(monkeypatch):
    monkeypatch.setattr("gateway.proxy.resolve.RETRY_S", 0.02)
    zone = Zone()
    async with two_origins() as (one, _), named(zone, one.target.port) as proxy:
        sink = await proxy.ask()
        zone.addresses = ("127.0.0.1",)
        await asyncio.sleep(0.05)
        assert (await proxy.ask()).ended
    assert (sink.kind, sink.failure.detail) == ("upstream_unavailable", "no connection: the name does not resolve")


async def test_many_requests_for_a_name_that_does_not_resolve_are_one_lookup():
    zone = Zone()
    async with named(zone, free_port(), resolve_s=30) as proxy:
        for _ in range(20):
            assert (await proxy.ask()).kind == "upstream_unavailable"
    assert zone.asked <= 2


async def test_a_lookup_that_hangs_costs_the_connect_timeout_and_no_more():
    zone = Zone("127.0.0.1")
    zone.waits = asyncio.Event()
    async with two_origins() as (one, _), named(zone, one.target.port, timeouts=QUICK) as proxy:
        sinks = [proxy.send()[1] for _ in range(5)]
        for sink in sinks:
            await sink.wait()
        assert {sink.failure.detail for sink in sinks} == {"no connection within 0.5 s"}
        zone.waits.set()
        assert (await proxy.ask()).ended
    assert zone.asked <= 2


async def test_lookups_are_counted_and_end_with_their_upstream():
    zone = Zone("127.0.0.1")
    async with two_origins() as (one, _), named(zone, one.target.port) as proxy:
        await proxy.ask()
        await until(lambda: zone.asked > 1)
        proxy.forwarder.apply((), (), 0)
        assert proxy.counters.take()["sentinel_name_lookups_total|resolved"] >= 1
        asked = zone.asked
        await asyncio.sleep(0.15)
        assert zone.asked == asked


async def test_a_lookup_that_failed_is_counted():
    async with named(Zone(), free_port(), resolve_s=30) as proxy:
        await proxy.ask()
        proxy.forwarder._hand_over()
        assert proxy.counters.take()["sentinel_name_lookups_total|failed"] == 1


async def test_a_name_is_looked_up_again_as_often_as_the_newest_configuration_says():
    zone = Zone("127.0.0.1")
    async with two_origins() as (one, _), named(zone, one.target.port, resolve_s=0.03) as proxy:
        await proxy.ask()
        proxy.forwarder.apply((Upstream("orders", proxy.upstream.targets, resolve_s=30),), (), 0)
        await asyncio.sleep(0.06)
        asked = zone.asked
        await asyncio.sleep(0.12)
        assert zone.asked == asked


async def test_only_a_few_names_are_looked_up_at_once():
    at_once: list[int] = [0, 0]

    async def lookup(_host: str, _port: int) -> tuple[str, ...]:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0.01)
        at_once[0] -= 1
        return ("127.0.0.1",)

    resolver = Resolver(lookup)
    names = [Name(resolver, f"n{number}.internal", 80, 30, lambda: None) for number in range(20)]
    assert [await name.addresses() for name in names] == [("127.0.0.1",)] * 20
    for name in names:
        name.close()
    assert at_once[1] == 4


async def test_the_systems_resolver_is_asked_off_the_loop():
    assert "127.0.0.1" in await system_lookup("localhost", 80)


def test_addresses_and_sockets_are_no_names():
    hosts = ["127.0.0.1", "::1", "fe80::1%eth0", "unix:/run/a.sock", "localhost", "orders.internal", "1.2.3.4.5"]
    assert [is_name(host) for host in hosts] == [False] * 4 + [True] * 3


def test_families_take_turns_beginning_with_the_systems_choice():
    assert interleaved(("::1", "::2", "::1", "1.1.1.1")) == ("::1", "1.1.1.1", "::2")
    assert interleaved(("1.1.1.1", "1.1.1.2", "::1")) == ("1.1.1.1", "::1", "1.1.1.2")
    assert len(interleaved(tuple(f"10.0.0.{n}" for n in range(200)))) == 64
