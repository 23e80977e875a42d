"""Any answer, cut anywhere, with any end: the sink hears exactly one ending and nothing leaks."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.upstreams import Timeouts
from tests.integration.proxy.scripted_origin import Peer, proxied

pytestmark = pytest.mark.anyio

HASTY = Timeouts(connect_s=0.5, header_s=0.05, idle_s=0.05)
PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.1 103 Hint\r\n\r\n",
    b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"\r\n",
    b"5\r\nhello\r\n",
    b"hello",
    b"0\r\n\r\n",
    b"\0",
    b"x" * 3000,
]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.lists(st.sampled_from(PIECES), max_size=8),
    cut=st.integers(0, 80),
    ending=st.sampled_from(["close", "reset", "more"]),
    method=st.sampled_from([b"GET", b"HEAD", b"POST"]),
    cancel_after=st.sampled_from([None, 0, 1, 3]),
)
async def test_every_exchange_ends_once_and_frees_its_slot(answer, cut, ending, method, cancel_after):
    whole = b"".join(answer)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole, sizes=[cut])
        if ending == "reset":
            peer.reset()
        elif ending == "more":
            await peer.request()  # a second one, or the proxy closes

    async with proxied(script, timeouts=HASTY, max_connections=2) as (proxy, _):
        pool = proxy.forwarder._services["orders"]._pools
        sinks = []
        for _ in range(2):
            call, sink = proxy.send(method, 4 if method == b"POST" else 0)
            if method == b"POST":
                call.write(b"body")
                call.finish()
            if cancel_after is not None:
                for _ in range(cancel_after):
                    await asyncio.sleep(0)
                call.cancel()
                heard = (sink.ended, sink.failure)
                await asyncio.sleep(0.01)
                assert (sink.ended, sink.failure) == heard  # nothing after the cancellation
            else:
                await sink.wait()
                sinks.append(sink)
        for sink in sinks:
            assert sink.ended == (sink.failure is None)
        await asyncio.sleep(0.02)
        (connections,) = pool.values()
        assert connections.waiting == 0
        assert connections.size == connections.idle
