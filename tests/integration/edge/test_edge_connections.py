"""A client's connection over several requests: kept, queued, and closed when it stays idle."""

from __future__ import annotations

import time

from gateway.edge.middleware import EdgeApp
from tests.integration.edge.edge_world import FakeForwarder, Wire, serving
from tests.unit.edge.edge_values import steps

GET = b"GET /orders/1 HTTP/1.1\r\nhost: shop.example\r\n\r\n"


def answering(call) -> None:
    call.loop.call_soon(call.answer)


def test_an_idle_connection_is_closed_after_its_keep_alive_and_not_before():
    with serving(EdgeApp(steps(), FakeForwarder(answering)), timeout_keep_alive=1) as port:
        wire = Wire(port)
        for _ in range(3):
            wire.send(GET)
            assert wire.answer()[0] == 200
            time.sleep(0.4)  # each request begins the time anew
        began = time.monotonic()
        assert wire.until_closed() == b""
        assert time.monotonic() - began > 0.2


def test_a_connection_whose_answer_takes_longer_than_the_keep_alive_is_kept():
    forwarder = FakeForwarder(lambda call: call.loop.call_later(1.5, call.answer))
    with serving(EdgeApp(steps(), forwarder), timeout_keep_alive=1) as port:
        wire = Wire(port)
        wire.send(GET)
        assert wire.answer()[0] == 200
        wire.send(GET)
        assert wire.answer()[0] == 200
        wire.close()


def test_pipelined_requests_are_answered_in_their_order():
    def script(call):
        # The first takes longest: answers must wait for it all the same.
        wait_s = 0.2 if call.outbound.path.endswith(b"/1") else 0.0
        call.loop.call_later(wait_s, lambda: call.answer(call.outbound.path))

    with serving(EdgeApp(steps(), FakeForwarder(script))) as port:
        wire = Wire(port)
        wire.send(b"".join(GET.replace(b"/1 ", b"/%d " % number) for number in (1, 2, 3)))
        assert [wire.answer()[2] for _ in range(3)] == [b"/orders/1", b"/orders/2", b"/orders/3"]
        wire.close()
