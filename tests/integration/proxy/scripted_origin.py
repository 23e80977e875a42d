"""An upstream whose every byte a test decides, and a sink that writes down what it hears."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.domain.forwarding import Headers, Outbound, UpstreamFailure
from gateway.domain.routing import Route
from gateway.domain.upstreams import Target, Timeouts, Upstream
from gateway.metrics import WorkerCounters
from gateway.proxy.forward import UpstreamForwarder

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.proxy.dial import Dialer

QUICK = Timeouts(connect_s=0.5, header_s=0.4, idle_s=0.4)
PATIENT = Timeouts(connect_s=5, header_s=5, idle_s=5)


class Peer:
    """The origin's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number  # 0 for the first connection accepted

    async def request(self) -> tuple[bytes, bytes]:
        """One request: its head, and its body with the chunked coding removed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if b"content-length" in fields:
            return head, await self.reader.readexactly(int(fields[b"content-length"]))
        body = b""
        while fields.get(b"transfer-encoding") == b"chunked":
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            if size == 0:
                break
        return head, body

    async def send(self, data: bytes, *, sizes: list[int] | None = None) -> None:
        """Send, in pieces of these sizes if given; each piece arrives by itself."""
        for size in sizes or []:
            piece, data = data[:size], data[size:]
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = "Callable[[Peer], Awaitable[None]]"


class Origin:
    """A listening origin that runs ``script`` for each connection."""

    def __init__(self, script: Callable[[Peer], Awaitable[None]]) -> None:
        self.script = script
        self.accepted = 0
        self.target = Target("", "", 0)
        self._tasks: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, self.accepted)
        self.accepted += 1
        try:
            await self.script(peer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    @asynccontextmanager
    async def listening(
        self, path: str = "", *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Origin]:
        if path:
            server: asyncio.Server = await asyncio.start_unix_server(self._serve, path, ssl=tls)
            self.target = Target("unix", f"unix:{path}", 0, tls=tls is not None)
        else:
            server = await asyncio.start_server(self._serve, host, port, ssl=tls)
            port = server.sockets[0].getsockname()[1]
            self.target = Target(f"{host}:{port}", host, port, tls=tls is not None)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.sleep(0.01)


class RecordingSink:
    """Everything a driver would hear."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, int, bool]] = []
        self.status = 0
        self.headers: Headers = []
        self.received = bytearray()
        self.failure: UpstreamFailure | None = None
        self.ended = False
        self.pauses = 0
        self.resumes = 0
        self.over = asyncio.Event()
        self.answered = asyncio.Event()
        self.on_head: Callable[[], None] = lambda: None
        self.on_body: Callable[[], None] = lambda: None

    def connected(self, target: str, *, attempt: int, reused: bool) -> None:
        self.attempts.append((target, attempt, reused))

    def head(self, status: int, headers: Headers) -> None:
        assert self.status == 0, "head came twice"
        self.status, self.headers = status, headers
        self.answered.set()
        self.on_head()

    def body(self, chunk: bytes) -> None:
        assert self.status and not self.over.is_set(), "body came out of order"
        self.received += chunk
        self.on_body()

    def end(self) -> None:
        assert self.status and not self.over.is_set(), "end came out of order"
        self.ended = True
        self.over.set()

    def failed(self, failure: UpstreamFailure) -> None:
        assert not self.over.is_set(), "failed came after the end"
        self.failure = failure
        self.over.set()

    def pause(self) -> None:
        self.pauses += 1

    def resume(self) -> None:
        self.resumes += 1

    async def wait(self) -> RecordingSink:
        await asyncio.wait_for(self.over.wait(), 10)
        return self

    @property
    def kind(self) -> str:
        return "" if self.failure is None else str(self.failure.kind)


class WholeRecordingSink(RecordingSink):
    """One that takes whole answers in one piece, as both drivers do."""

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        self.head(status, headers)
        if body:
            self.body(body)
        self.end()


class Proxy:
    """A forwarder before some origins."""

    make_sink: type[RecordingSink] = RecordingSink

    def __init__(self, upstream: Upstream, dialer: Dialer | None = None) -> None:
        self.upstream = upstream
        self.route = Route(name="all", path="/*", upstream=upstream.name)
        self.counters = WorkerCounters()
        self.forwarder = UpstreamForwarder(self.counters, dialer)
        self.forwarder.apply((upstream,), (), 0)

    def send(
        self,
        method: bytes = b"GET",
        length: int = 0,
        sink: RecordingSink | None = None,
        path: bytes = b"/",
        whole: bytes = b"",
    ):
        sink = sink or self.make_sink()
        outbound = Outbound(
            method=method,
            path=path,
            query=b"",
            headers=[(b"accept", b"*/*")],
            content_length=length,
            route=self.route,
            upstream=self.upstream,
            host=b"api.example",
            client=b"192.0.2.7",
            request_id=b"r-1",
            body=whole,
        )
        return self.forwarder.forward(outbound, sink), sink

    async def ask(self, method: bytes = b"GET", body: bytes = b"", path: bytes = b"/") -> RecordingSink:
        call, sink = self.send(method, len(body), path=path)
        if body:
            call.write(body)
            call.finish()
        return await sink.wait()

    def counted(self, outcome: str) -> float:
        return self.count_of("sentinel_upstream_connections_total", self.upstream.name, outcome)

    def count_of(self, *name_and_labels: str) -> float:
        self.forwarder._hand_over()
        counts = self.counters.take()
        self.counters._amounts = dict(counts)
        return counts.get("|".join(name_and_labels), 0)


@asynccontextmanager
async def proxy_to(
    *targets: Target, timeouts: Timeouts = PATIENT, max_connections: int = 16, queue: int = 256
) -> AsyncIterator[Proxy]:
    proxy = Proxy(Upstream("orders", targets, timeouts, max_connections=max_connections, queue=queue))
    try:
        yield proxy
    finally:
        await proxy.forwarder.close()


@asynccontextmanager
async def proxied(
    script: Callable[[Peer], Awaitable[None]],
    *,
    timeouts: Timeouts = PATIENT,
    max_connections: int = 16,
    queue: int = 256,
) -> AsyncIterator[tuple[Proxy, Origin]]:
    """One origin that follows ``script``, and a proxy before it."""
    async with (
        Origin(script).listening() as origin,
        proxy_to(origin.target, timeouts=timeouts, max_connections=max_connections, queue=queue) as proxy,
    ):
        yield proxy, origin


def answering(*answers: bytes, close: bool = False) -> Callable[[Peer], Awaitable[None]]:
    """A script: read a request, send the next of ``answers`` (the last one again and again)."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(left.pop(0) if len(left) > 1 else left[0])
            if close:
                return

    return script


def ok(body: bytes = b"fine", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (extra, len(body), body)
