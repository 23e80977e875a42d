"""Both ends of a WebSocket on raw sockets, so that tests decide about every byte; the gateway between them is real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.domain.upstreams import Target, Timeouts, Upstream
from gateway.domain.websocket import accept_of
from gateway.metrics import WorkerCounters
from gateway.proxy.forward import UpstreamForwarder
from tests.integration.edge.edge_world import Wire
from tests.unit.edge.edge_values import Rows, route, snapshot, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def frame(opcode: int, payload: bytes = b"", *, masked: bool, fin: bool = True) -> bytes:
    first = (0x80 if fin else 0) | opcode
    flag = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((first, flag | len(payload)))
    elif len(payload) < 1 << 16:
        head = bytes((first, flag | 126)) + len(payload).to_bytes(2, "big")
    else:
        head = bytes((first, flag | 127)) + len(payload).to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))


def closing(code: int, reason: bytes = b"", *, masked: bool) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason, masked=masked)


def flood(wire: Wire, message: bytes, *, at_most: int = 50_000_000) -> int:
    """Send a message again and again until nothing is taken for half a second; how many bytes were."""
    wire.socket.settimeout(0.5)
    taken = 0
    with contextlib.suppress(TimeoutError):
        while taken < at_most:
            taken += wire.socket.send(message[taken % len(message) :])
    wire.socket.settimeout(5)
    return taken


class Peer:
    """One end of a WebSocket: sends what it is told, and takes frames apart."""

    def __init__(self, wire: Any, *, masks: bool) -> None:
        self.wire = wire
        self.masks = masks
        self.last = b""  # the bytes of the last frame, as they came

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.wire.send(frame(opcode, payload, masked=self.masks, fin=fin))

    def close(self, code: int, reason: bytes = b"") -> None:
        self.wire.send(closing(code, reason, masked=self.masks))

    def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        head = self.wire.body(2)
        length = head[1] & 0x7F
        more = self.wire.body(2 if length == 126 else 8 if length == 127 else 0)
        if more:
            length = int.from_bytes(more, "big")
        mask = self.wire.body(4) if head[1] & 0x80 else b""
        assert bool(mask) is not self.masks, "a client masks, a server does not"
        payload = self.wire.body(length)
        self.last = head + more + mask + payload
        if mask:
            payload = bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))
        return head[0] & 0x0F, payload

    def closed_with(self) -> int:
        """The code of the close frame that comes next."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, (opcode, payload)
        return int.from_bytes(payload[:2], "big") if payload else 1005

    def is_cut_off(self) -> bool:
        """Whether the connection ends without anything more."""
        return self.wire.until_closed() == b""


class ServerWire(Wire):
    """An accepted connection, with the same verbs as a client's."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.settimeout(5)
        self.socket = accepted
        self.rest = b""

    def request(self) -> tuple[bytes, dict[bytes, bytes]]:
        """Request line and fields of the next request."""
        while b"\r\n\r\n" not in self.rest:
            data = self.socket.recv(65536)
            assert data, f"closed after {self.rest!r}"
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        return line, dict(field.split(b": ", 1) for field in lines)


class Origin:
    """Listens; tests take its connections one by one."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._accepted: queue.Queue[ServerWire] = queue.Queue()
        self._wires: list[ServerWire] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._wires.append(ServerWire(accepted))
            self._accepted.put(self._wires[-1])

    def connection(self) -> ServerWire:
        return self._accepted.get(timeout=5)

    def untouched(self) -> bool:
        return self._accepted.empty()

    def take(self, *, fields: bytes = b"") -> tuple[Peer, dict[bytes, bytes]]:
        """Accept the next handshake as a WebSocket server does."""
        wire = self.connection()
        _, headers = wire.request()
        accept = accept_of(headers[b"sec-websocket-key"])
        wire.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n" + fields + b"\r\n"
        )
        return Peer(wire, masks=False), headers

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(5)
        self._listener.close()

    def clear(self) -> None:
        self.close()
        for wire in self._wires:
            wire.close()


class RealForwarder:
    """The proxy itself; made on the loop that serves, at the first request."""

    def __init__(self, *upstreams: Upstream) -> None:
        self.upstreams = upstreams
        self.counters = WorkerCounters()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._forwarder: UpstreamForwarder | None = None

    def forward(self, outbound: Any, sink: Any) -> Any:
        if self._forwarder is None:
            self.loop = asyncio.get_running_loop()
            self._forwarder = UpstreamForwarder(self.counters)
            self._forwarder.apply(self.upstreams, (), time.time())
        return self._forwarder.forward(outbound, sink)

    def close(self) -> None:
        if self._forwarder is not None and self.loop is not None:
            asyncio.run_coroutine_threadsafe(self._forwarder.close(), self.loop).result(5)

    def apply(self, *upstreams: Upstream) -> None:
        """Put other upstreams in force, as a reload does."""
        forwarder, loop = self._forwarder, self.loop
        assert forwarder is not None
        assert loop is not None
        done = threading.Event()

        def swap() -> None:
            forwarder.apply(upstreams, (), time.time())
            done.set()

        loop.call_soon_threadsafe(swap)
        assert done.wait(5)


class World:
    """A gateway in front of an origin."""

    def __init__(self, port: int, origin: Origin, rows: Rows, steps: Any, forwarder: RealForwarder) -> None:
        self.port = port
        self.origin = origin
        self.rows = rows
        self.steps = steps
        self.forwarder = forwarder
        self.wires: list[Wire] = []

    def ask(self, *, path: str = "/orders/live", fields: str = "", key: bytes = KEY, behind: bytes = b"") -> Wire:
        """Send a handshake."""
        wire = Wire(self.port)
        self.wires.append(wire)
        wire.send(
            f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n{fields}\r\n".encode()
            + behind
        )
        return wire

    def open(self, **asking: Any) -> tuple[Peer, Peer]:
        """An open WebSocket: the client's end and the upstream's."""
        wire = self.ask(**asking)
        upstream, _ = self.origin.take()
        status, fields = wire.head()
        assert status == 101
        assert fields[b"sec-websocket-accept"] == accept_of(KEY)
        return Peer(wire, masks=True), upstream


@contextmanager
def world(
    driver: Any, *, idle_s: float = 30.0, upstream: dict[str, Any] | None = None, **changes: Any
) -> Iterator[World]:
    """Serve by ``driver`` with real proxying; ``changes`` are of the one route, or ``snapshot`` and server options."""
    origin = Origin()
    target = Target(name=f"127.0.0.1:{origin.port}", host="127.0.0.1", port=origin.port)
    orders = Upstream(name="orders", targets=(target,), timeout=Timeouts(idle_s=idle_s), **(upstream or {}))
    rows = Rows()
    options = changes.pop("server", {})
    given = snapshot(route(**changes.pop("route", {})), upstreams=(orders,), **changes.pop("snapshot", {}))
    judged = steps(given, records=rows, **changes)
    forwarder = RealForwarder(orders)
    try:
        with driver(judged, forwarder, **options) as port:
            made = World(port, origin, rows, judged, forwarder)
            try:
                yield made
            finally:
                for wire in made.wires:
                    wire.close()
                origin.clear()
                forwarder.close()
    finally:
        origin.clear()
