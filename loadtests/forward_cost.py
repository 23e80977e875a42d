"""Processor time the proxy spends per forwarded request, without any server in front.

    python loadtests/forward_cost.py [--requests 20000] [--connections 32] [--answer-bytes 200] [--body-bytes 0]

The origin is a bare protocol class in a process of its own, so only the forwarder's own time is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
import time

import uvloop

from gateway.domain.forwarding import Headers, Outbound, UpstreamFailure
from gateway.domain.identity import Principal
from gateway.domain.routing import Route
from gateway.domain.upstreams import Target, Upstream
from gateway.metrics import WorkerCounters
from gateway.proxy.forward import UpstreamForwarder

HEADERS: Headers = [
    (b"host", b"api.example"),
    (b"user-agent", b"bench/1.0"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"authorization", b"Bearer " + b"x" * 180),
    (b"connection", b"keep-alive"),
]
PRINCIPAL = Principal(kind="jwt", subject="user-1", tenant="acme", scopes=frozenset({"orders:read"}))


# ruff: noqa: D102, D103 - the callbacks are domain.forwarding.Sink's and asyncio.Protocol's, described there


class BareOrigin(asyncio.Protocol):
    """Answers each request whose end it sees; bodies are counted by Content-Length."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.left = 0

    def data_received(self, data: bytes) -> None:
        if self.left == 0:
            head, _, body = data.partition(b"\r\n\r\n")
            _, found, length = head.partition(b"content-length: ")
            self.left = (int(length.split(b"\r\n", 1)[0]) if found else 0) - len(body)
        else:
            self.left -= len(data)
        if self.left == 0:
            self.transport.write(self.answer)


async def origin(port_to: int, answer_bytes: int) -> None:
    BareOrigin.answer = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
        b"content-length: %d\r\n\r\n%b" % (answer_bytes, b"x" * answer_bytes)
    )
    server = await asyncio.get_running_loop().create_server(BareOrigin, "127.0.0.1", port_to)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Client:
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def connected(self, target: str, *, attempt: int, reused: bool) -> None:
        pass

    def head(self, status: int, headers: Headers) -> None:
        pass

    def body(self, chunk: bytes) -> None:
        pass

    def end(self) -> None:
        self.bench.next(self)

    def failed(self, failure: UpstreamFailure) -> None:
        self.bench.done.set_exception(RuntimeError(failure.detail))

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class Bench:
    """A number of requests over a number of clients."""

    def __init__(self, port: int, body: bytes) -> None:
        self.upstream = Upstream("orders", (Target(f"127.0.0.1:{port}", "127.0.0.1", port),))
        self.route = Route(name="orders", path="/orders/*", upstream="orders")
        self.forwarder = UpstreamForwarder(WorkerCounters())
        self.forwarder.apply((self.upstream,), (), time.time())
        self.request_body = body
        self.left = 0
        self.pending = 0
        self.done: asyncio.Future[None]

    async def run(self, requests: int, connections: int) -> float:
        """Processor seconds."""
        self.done = asyncio.get_running_loop().create_future()
        self.left, self.pending = requests, requests
        began = time.process_time()
        for _ in range(connections):
            self.send(Client(self))
        await self.done
        return time.process_time() - began

    def next(self, client: Client) -> None:
        self.pending -= 1
        if self.pending == 0:
            self.done.set_result(None)
        elif self.left > 0:
            self.send(client)

    def send(self, client: Client) -> None:
        self.left -= 1
        outbound = Outbound(
            method=b"POST" if self.request_body else b"GET",
            path=b"/orders/%d" % self.left,
            query=b"page=1",
            headers=HEADERS,
            content_length=len(self.request_body),
            route=self.route,
            upstream=self.upstream,
            host=b"api.example",
            client=b"192.0.2.7",
            principal=PRINCIPAL,
            request_id=b"01J9Z3QK8Y7M2N4P6R8T0V2W4X",
            traceparent=b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        call = self.forwarder.forward(outbound, client)
        if self.request_body:
            call.write(self.request_body)
            call.finish()


async def measure(port: int, requests: int, connections: int, body: bytes) -> None:
    bench = Bench(port, body)
    await bench.run(min(requests, 2000), connections)  # warm
    gc.collect()
    gc.freeze()
    costs = [await bench.run(requests, connections) / requests * 1e6 for _ in range(3)]
    await bench.forwarder.close()
    shown = ", ".join(f"{cost:.1f}" for cost in costs)
    print(f"processor µs per forwarded request at {connections} connections: {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--answer-bytes", type=int, default=200)
    parser.add_argument("--body-bytes", type=int, default=0)
    parser.add_argument("--origin", action="store_true", help="be the origin (started by the script itself)")
    options = parser.parse_args()
    if options.origin:
        uvloop.run(origin(0, options.answer_bytes))
        return
    command = [sys.executable, __file__, "--origin", "--answer-bytes", str(options.answer_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as peer:
        try:
            port = int(peer.stdout.readline()) if peer.stdout else 0
            uvloop.run(measure(port, options.requests, options.connections, b"b" * options.body_bytes))
        finally:
            peer.terminate()


if __name__ == "__main__":
    main()
