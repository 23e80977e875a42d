"""Processor time of the lane's Python per request: everything on, but the sockets, the kernel and Redis left out.

    python -m loadtests.lane_cost [--connections 32] [--rounds 200] [--hard | --upload 10k] [--chunked] [--local]

What reads and writes sockets is replaced by a list, and Redis by an answer at once, so a busy machine disturbs the
figure little: the least of many repeats is printed. The rest of what a request costs is the event loop's and the
kernel's (four system calls).
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from uvicorn.server import ServerState

from gateway.collect.spool import SpoolWriter
from gateway.domain.access import AuthMode, JwtPolicy
from gateway.domain.limits import Limit, Scope
from gateway.domain.routing import Route
from gateway.domain.snapshot import EdgePolicy, Snapshot
from gateway.domain.upstreams import Target, Upstream
from gateway.edge import collector
from gateway.edge.lane import lane_http
from gateway.edge.middleware import EdgeApp
from gateway.edge.rate_limit import RateLimiter
from gateway.edge.script_calls import ScriptCalls
from gateway.edge.steps import Steps
from gateway.metrics import WorkerCounters
from gateway.proxy import dial
from gateway.proxy.forward import UpstreamForwarder
from gateway.proxy.router import Router
from loadtests import lab
from loadtests.load import size_of

if TYPE_CHECKING:
    from collections.abc import Callable

SUBJECTS = 1000
PAUSE_S = 0.002  # for connections to be "opened", which takes a task
BODY = b"hello, world\n"
ANSWER = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nContent-Type: text/plain\r\n"
BROWSER = tuple(b"X-Browser-%d: what a browser adds to a request, field %d of fifteen" % (n, n) for n in range(15))


class Wire:
    """A transport that remembers what was written."""

    def __init__(self, peer: tuple[str, int] = ("127.0.0.1", 9000)) -> None:
        self.written: list[bytes] = []
        self.protocol: Any = None
        self._known = {"sockname": ("127.0.0.1", 8000), "peername": peer}
        self.pause_reading = self.resume_reading = self.close = self.abort = lambda: None

    def write(self, data: bytes) -> None:
        """To the other side."""
        self.written.append(data)

    def get_extra_info(self, name: str) -> object:
        """Addresses."""
        return self._known.get(name)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        """There is no buffer."""
        return 0


class ReadyRedis:
    """A link whose replies are there by the next turn of the loop: everybody has tokens, nobody gets a lease."""

    ready, generation, name, sha = True, 1, "nowhere", b"0" * 40

    def __init__(self) -> None:
        self.on_up: Callable[[], None] = lambda: None

    def calls(self, counters: WorkerCounters, budget_s: float, live_workers: Callable[[], int]) -> ScriptCalls:
        """As a real link has it."""
        return ScriptCalls(counters, self, budget_s, live_workers)  # type: ignore[arg-type]  # as much as is used

    def send(self, data: bytes, handler: Callable[[object], None]) -> None:
        """Three integers per key."""
        keys = int(data.split(b"\r\n", 7)[6])
        asyncio.get_running_loop().call_soon(handler, [99, 0, 8_000_000] * keys)

    async def close(self) -> None:
        """Nothing is open."""


class Lane:
    """One worker's lane with so many clients, and an upstream that answers as soon as it is asked to."""

    def __init__(self, given: argparse.Namespace, spool: SpoolWriter, counters: WorkerCounters) -> None:
        self.answer = ANSWER + (
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
            if given.chunked
            else b"Content-Length: %d\r\n\r\n%b"
        ) % (len(BODY), BODY)
        self.upstreams: list[Wire] = []
        upstream = Upstream(name="api", targets=(Target(name="127.0.0.1:9000", host="127.0.0.1", port=9000),))
        limit = Limit(name="api", rate=1e6, burst=100, scope=Scope.SUBJECT)  # too small a burst to be leased
        snapshot = Snapshot(
            revision=1,
            created_at=0.0,
            routes=(Route(name="api", path="/*", upstream="api", auth=AuthMode.JWT, limits=(limit,)),),
            upstreams=(upstream,),
            jwt=(JwtPolicy(algorithms=("HS256",), secret_env="ANY"),),  # noqa: S106 - the name of a variable
            policy=EdgePolicy(redis=not given.local, limiter_budget_s=60.0),  # a busy machine is late, not Redis
        )
        steps = Steps(
            snapshot=snapshot,
            make_router=Router,
            secret=lambda _name: lab.SECRET,
            limiter=RateLimiter(counters, link=None if given.local else ReadyRedis()),  # type: ignore[arg-type]
            records=spool,
            counters=counters,
        )
        forwarder = UpstreamForwarder(counters)
        forwarder.apply((upstream,), (), time.time())
        dial.Way.open = self._open  # type: ignore[method-assign,assignment]  # the only way to a connection
        config = uvicorn.Config(
            EdgeApp(steps, forwarder), http=lane_http(steps, forwarder), ws="none", lifespan="off", log_config=None
        )
        config.load()
        protocol: Any = config.http_protocol_class
        self.clients: list[Wire] = []
        for number in range(given.connections):
            wire = Wire(("127.0.0.1", 10_000 + number))
            wire.protocol = protocol(config=config, server_state=ServerState(), app_state={})
            wire.protocol.connection_made(wire)
            self.clients.append(wire)

    async def _open(self, make: Callable[[], Any]) -> tuple[Wire, Any, str]:
        wire = Wire()
        wire.protocol = make()
        wire.protocol.connection_made(wire)
        self.upstreams.append(wire)
        return wire, wire.protocol, ""

    async def carry(self, requests: list[bytes]) -> None:
        """One request of each client, and its answer."""
        for client, request in zip(self.clients, requests, strict=True):
            client.protocol.data_received(request)
        asked: list[Wire] = []
        while len(asked) < len(requests):
            await asyncio.sleep(PAUSE_S if len(self.upstreams) < len(requests) else 0)
            asked = [wire for wire in self.upstreams if wire.written]
        for wire in asked:
            wire.written.clear()
            wire.protocol.data_received(self.answer)
        for client in self.clients:
            if not client.written or not client.written[0].startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"not the answer of the upstream: {client.written}")
            client.written.clear()


def request(number: int, tokens: list[bytes], given: argparse.Namespace) -> bytes:
    """What a client sends: with ``--hard`` nothing repeats but the tokens and what a browser adds."""
    fields = [b"Host: 127.0.0.1:8000", b"Authorization: Bearer " + tokens[number % len(tokens)]]
    line, body = b"GET /api/items?x=1 HTTP/1.1", b""
    if given.hard:
        line = b"GET /api/items?x=1&n=%d HTTP/1.1" % number
        fields += [*BROWSER, b"Traceparent: 00-%032x-%016x-01" % (number + 1, number + 1)]
    elif given.upload:
        line, body = b"POST /upload HTTP/1.1", bytes(given.upload)
        fields += [b"Content-Type: text/plain", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([line, *fields, b"", body])


async def measure(given: argparse.Namespace, folder: Path) -> list[float]:
    """Processor µs per request, by rounds."""
    counters = WorkerCounters()
    spool = SpoolWriter(folder, node="n", worker=1, counters=counters)
    await spool.start()
    lane = Lane(given, spool, counters)
    tokens = [lab.token(subject).encode() for subject in range(SUBJECTS)]
    at_once, sent = given.connections, 0
    costs = []
    warm = 3 * SUBJECTS // at_once + 1  # every token seen three times: what can be remembered is
    for rounds in (warm, *[10] * given.rounds):
        batches = []
        for _ in range(rounds):
            batches.append([request(sent + number, tokens, given) for number in range(at_once)])
            sent += at_once
        before = time.process_time()
        for batch in batches:
            await lane.carry(batch)
        costs.append((time.process_time() - before) / (rounds * at_once) * 1e6)
        if len(costs) == 1:
            collector.settle()
    await spool.close()
    return sorted(costs[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=200, help="of ten requests per connection")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--hard", action="store_true", help="a URL and a trace of its own for each request, 18 fields")
    kind.add_argument("--upload", type=size_of, default=0, metavar="SIZE", help="POST so much with each request: 10k")
    parser.add_argument("--chunked", action="store_true", help="the upstream does not say how long its answers are")
    parser.add_argument("--local", action="store_true", help="keep the buckets in the process")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        costs = uvloop.run(measure(given, Path(folder)))
    print(f"processor µs per request: least {costs[0]:.1f}, median {costs[len(costs) // 2]:.1f}")


if __name__ == "__main__":
    main()
