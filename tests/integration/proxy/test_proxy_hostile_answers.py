"""Answers meant to confuse, on a connection that has served before; and what a stalled reader may cost in memory."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from contextlib import contextmanager

import psutil
import pytest

from gateway.domain.upstreams import Target, Upstream, UpstreamTls
from tests.certificates import Authority
from tests.integration.proxy.scripted_origin import PATIENT, Peer, Proxy, RecordingSink, answering, ok, proxied

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\n"

REFUSED = {
    "length and chunked": HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "a list of lengths": HEAD + b"content-length: 3, 3\r\n\r\nabc",
    "a signed length": HEAD + b"content-length: +3\r\n\r\nabc",
    "a length in hex": HEAD + b"content-length: 0x3\r\n\r\nabc",
    "a length beyond 64 bits": HEAD + b"content-length: 99999999999999999999\r\n\r\nabc",
    "a folded length": HEAD + b"content-length:\r\n 3\r\n\r\nabc",
    "a length after a fold": HEAD + b"a: b\r\n\tc\r\ncontent-length: 3\r\n\r\nabc",
    "a blank before the colon": HEAD + b"content-length : 3\r\n\r\nabc",
    "a field without a name": HEAD + b": b\r\ncontent-length: 3\r\n\r\nabc",
    "NUL in a value": HEAD + b"a: b\0\r\ncontent-length: 3\r\n\r\nabc",
    "NUL in a name": HEAD + b"a\0: b\r\ncontent-length: 3\r\n\r\nabc",
    "a bare CR": HEAD + b"a: b\rcontent-length: 9\r\ncontent-length: 3\r\n\r\nabc",
    "bare line feeds": HEAD.replace(b"\r", b"") + b"content-length: 3\n\nabc",
    "chunked twice": HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding that hides chunked": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 3\r\n\r\nabc",
    "a status below 100": b"HTTP/1.1 099 No\r\ncontent-length: 3\r\n\r\nabc",
    "another protocol": b"ICY 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    "an upgrade nobody asked for": b"HTTP/1.1 101 Up\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nxx",
    "an upgrade to itself": b"HTTP/1.1 101 Up\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
    "a head without end": HEAD + b"a: b\r\n" * 20_000,
}


@pytest.mark.parametrize("pieces", [1, 2], ids=["one read", "cut"])
@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
async def test_a_hostile_answer_after_good_ones_is_a_502_and_ends_its_connection(answer, pieces):
    cut = [] if pieces == 1 else [len(answer) // 2]

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(ok())
        await peer.request()
        await peer.send(answer, sizes=cut)
        await peer.reader.read()

    async with proxied(script) as (proxy, origin):
        assert [bytes((await proxy.ask()).received) for _ in range(2)] == [b"fine", b"fine"]
        sink = await proxy.ask()
        assert (sink.status, sink.kind, sink.failure.status) == (0, "upstream_protocol", 502)
        assert sink.attempts[0][2] is True  # the very connection that had served
        origin.script = answering(ok())
        assert bytes((await proxy.ask()).received) == b"fine"
    assert origin.accepted == 2


async def test_an_answer_sent_before_it_was_asked_for_is_nobodys():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await asyncio.sleep(0.05)
        await peer.send(ok(b"for whom?"))
        await peer.reader.read()

    async with proxied(script) as (proxy, origin):
        await proxy.ask()
        await asyncio.sleep(0.15)
        origin.script = answering(ok(b"mine"))
        assert bytes((await proxy.ask()).received) == b"mine"
    assert origin.accepted == 2


# --- memory ---

READERS = 24
BODY_BYTES = 4 * 1024 * 1024
WINDOW_BYTES = 256 * 1024  # what event loops read at once, and TLS holds at most


@contextmanager
def flooding(context: ssl.SSLContext | None):
    """An origin in threads, which keeps nothing itself: what grows is the proxy's."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=READERS)
    piece = bytes(64 * 1024)
    threads: list[threading.Thread] = []

    def flood(raw: socket.socket) -> None:
        try:
            with context.wrap_socket(raw, server_side=True) if context else raw as peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BODY_BYTES)
                for _ in range(BODY_BYTES // len(piece)):
                    peer.sendall(piece)
                peer.recv(1)
        except OSError:
            pass

    def accept() -> None:
        for _ in range(READERS):
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=flood, args=(raw,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_stalled_readers_cost_two_windows_each_at_most(tls, tmp_path):
    authority = Authority(tmp_path)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.files("orders"))
    settings = UpstreamTls(ca_file=str(authority.file))
    with flooding(context) as port:
        target = Target(f"127.0.0.1:{port}", "127.0.0.1", port, tls=tls)
        proxy = Proxy(Upstream("orders", (target,), PATIENT, max_connections=READERS, tls=settings))
        sinks = [RecordingSink() for _ in range(READERS)]
        gc.collect()
        before = psutil.Process().memory_info().rss
        for sink in sinks:
            call, _ = proxy.send(sink=sink)
            sink.on_head = sink.on_body = call.pause_reading
        for sink in sinks:
            await asyncio.wait_for(sink.answered.wait(), 10)
        await asyncio.sleep(0.5)  # for whatever would still come
        grown = psutil.Process().memory_info().rss - before
        passed = max(len(sink.received) for sink in sinks)
        await proxy.forwarder.close()
    assert passed <= 2 * WINDOW_BYTES
    # asyncio's TLS holds a buffer of 256 KiB for each connection, idle or not; workers run on uvloop.
    fixed = WINDOW_BYTES if tls and "uvloop" not in type(asyncio.get_running_loop()).__module__ else 0
    assert grown <= READERS * (2 * WINDOW_BYTES + fixed)
    assert not any(sink.ended for sink in sinks)
