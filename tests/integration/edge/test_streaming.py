"""Answers that last: server-sent events and long downloads, by both drivers, with real proxying."""

from __future__ import annotations

import time

from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import RequestRecord
from tests.integration.edge.edge_world import Wire, wait_for
from tests.integration.edge.websocket_world import flood, world
from tests.unit.edge.edge_values import ORDERS, route, snapshot

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def event(number: int) -> bytes:
    return b"id: %d\ndata: something\n\n" % number


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stream:
    """A client that has asked for events, and the origin that sends them."""

    def __init__(self, gateway, *, framing: bytes = b"transfer-encoding: chunked\r\n\r\n", fields: bytes = b"") -> None:
        self.wire = Wire(gateway.port)
        gateway.wires.append(self.wire)
        self.wire.send(b"GET /orders/events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n" + fields + b"\r\n")
        self.origin = gateway.origin.connection()
        self.origin.request()
        self.origin.send(HEAD + framing)
        self.status, self.fields = self.wire.head()

    def pass_on(self, number: int) -> None:
        """Send one event, and have it arrive before there is another."""
        self.origin.send(chunk(event(number)))
        assert self.wire.body(len(chunk(event(number)))) == chunk(event(number))


def record(gateway) -> RequestRecord:
    wait_for(lambda: gateway.rows.rows)
    return RequestRecord(*gateway.rows.rows[0])


def test_events_arrive_one_by_one(driver):
    with world(driver) as gateway:
        stream = Stream(gateway)
        assert (stream.status, stream.fields[b"content-type"]) == (200, b"text/event-stream")
        for number in range(5):
            stream.pass_on(number)
        stream.origin.send(b"0\r\n\r\n")
        assert stream.wire.body(5) == b"0\r\n\r\n"
        finished = record(gateway)
    assert (finished.status, finished.error) == (200, "")
    assert finished.bytes_out == sum(len(event(number)) for number in range(5))


def test_events_are_not_held_back_to_be_compressed(driver):
    policy = EdgePolicy(compress_min_bytes=1)
    with world(driver, route={"compress": True}, snapshot={"policy": policy}) as gateway:
        stream = Stream(gateway, fields=b"accept-encoding: gzip\r\n")
        assert b"content-encoding" not in stream.fields
        stream.pass_on(1)
        stream.pass_on(2)


def test_events_of_an_origin_that_ends_them_by_closing_arrive_as_they_come(driver):
    with world(driver) as gateway:
        stream = Stream(gateway, framing=b"connection: close\r\n\r\n")
        for number in range(3):
            stream.origin.send(event(number))
            assert stream.wire.body(len(chunk(event(number)))) == chunk(event(number))
        stream.origin.close()
        assert stream.wire.body(5) == b"0\r\n\r\n"


def test_a_client_that_leaves_ends_the_origins_exchange_within_a_second(driver):
    with world(driver) as gateway:
        stream = Stream(gateway)
        stream.pass_on(1)
        stream.wire.close()
        left_at = time.monotonic()
        assert stream.origin.until_closed() == b""
        assert time.monotonic() - left_at < 1
        finished = record(gateway)
    assert (finished.status, finished.error) == (499, "client_gone")


def test_a_stream_that_stands_still_for_the_idle_timeout_is_cut_off_and_not_ended(driver):
    with world(driver, idle_s=0.3) as gateway:
        stream = Stream(gateway)
        for number in range(4):  # longer than the timeout in all
            stream.pass_on(number)
            time.sleep(0.15)
        assert b"0\r\n\r\n" not in stream.wire.until_closed()
        assert record(gateway).error == "upstream_truncated"


def test_a_stream_outlives_its_route_and_its_upstream(driver):
    with world(driver) as gateway:
        stream = Stream(gateway)
        stream.pass_on(1)
        gateway.steps.apply(snapshot(route(path="/other/*"), upstreams=(ORDERS,)))
        gateway.forwarder.apply(ORDERS)
        for number in range(2, 5):
            stream.pass_on(number)


def test_a_client_that_reads_nothing_holds_the_origin_back(driver):
    with world(driver) as gateway:
        stream = Stream(gateway)
        taken = flood(stream.origin, chunk(b"x" * 60_000))
        assert taken < 20_000_000
        left = int(taken * 0.99)  # the gateway cuts chunks of its own
        while left:
            left -= len(stream.wire.body(min(left, 65_536)))
        stream.wire.close()
        assert record(gateway).error == "client_gone"
