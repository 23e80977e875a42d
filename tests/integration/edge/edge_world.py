"""A gateway on a real socket with a scripted proxy behind it, and a raw client in front."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from gateway.edge.lane import lane_http
from gateway.edge.middleware import EdgeApp
from gateway.edge.queued_requests import strict_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.domain.forwarding import Outbound, Sink


class FakeCall:
    """One forwarded request as the proxy's side sees it; tests read it from their own thread."""

    def __init__(self, outbound: Outbound, sink: Sink) -> None:
        self.outbound = outbound
        self.sink = sink
        self.loop = asyncio.get_running_loop()
        self.body = bytearray(outbound.body)
        self.finished = outbound.content_length == len(outbound.body)
        self.cancelled = False
        self.reading_paused = False
        self.pauses = 0
        self.on_write: Callable[[FakeCall], None] = lambda _call: None
        self.on_finish: Callable[[FakeCall], None] = lambda _call: None

    def write(self, chunk: bytes) -> None:
        assert not self.finished
        self.body += chunk
        self.on_write(self)

    def finish(self) -> None:
        assert not self.finished
        self.finished = True
        self.on_finish(self)

    def pause_reading(self) -> None:
        self.reading_paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.reading_paused = False

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, body: bytes = b"hello", status: int = 200, headers: list | None = None) -> None:
        """The whole answer in one read."""
        self.sink.connected("127.0.0.1:9000", attempt=1, reused=False)
        self.sink.head(status, [(b"content-length", b"%d" % len(body)), *(headers or [])])
        if body:
            self.sink.body(body)
        self.sink.end()


class FakeForwarder:
    """Implements domain.forwarding.Forwarder; ``script`` is called in the loop for every request."""

    def __init__(self, script: Callable[[FakeCall], None] = lambda call: call.loop.call_soon(call.answer)) -> None:
        self.script = script
        self.calls: list[FakeCall] = []

    def forward(self, outbound: Outbound, sink: Sink) -> FakeCall:
        call = FakeCall(outbound, sink)
        self.calls.append(call)
        whole = call.finished
        self.script(call)
        if whole:
            if call.body:
                call.on_write(call)
            call.on_finish(call)
        return call


running: dict[int, tuple[uvicorn.Server, threading.Thread]] = {}  # by port


@contextmanager
def serving(app: Any, wrap: Any = None, linger_s: float = 0.0, **changes: Any) -> Iterator[int]:
    """Run an ASGI app under uvicorn as the worker runs it, its protocol class inside ``wrap``; gives the port."""
    options: dict[str, Any] = {
        "http": strict_http(app._steps),
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "log_level": "critical",
        "server_header": False,
        "proxy_headers": False,
        "date_header": False,
    }
    options |= changes
    if isinstance(options["http"], type):
        options["http"].linger_s = linger_s  # tests end sooner without
    if wrap is not None:
        options["http"] = wrap(options["http"])
    server = uvicorn.Server(uvicorn.Config(app, **options))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        try:
            port = listener.getsockname()[1]
            running[port] = server, thread
            yield port
        finally:
            server.force_exit = server.should_exit = True
            thread.join(10)


def asgi(steps: Any, forwarder: FakeForwarder, admin: Any = None, **changes: Any):
    """Driver 1 on a socket."""
    return serving(EdgeApp(steps, forwarder, admin=admin), **changes)


def lane(steps: Any, forwarder: FakeForwarder, admin: Any = None, **changes: Any):
    """Driver 2 on a socket."""
    http = lane_http(steps, forwarder, admin)
    return serving(EdgeApp(steps, forwarder, admin=admin), http=http, **changes)


def wait_for(ready: Callable[[], bool], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Wire:
    """A raw connection to the gateway."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> tuple[int, dict[bytes, bytes]]:
        """Status and fields of the next answer."""
        while b"\r\n\r\n" not in self.rest:
            data = self.socket.recv(65536)
            assert data, f"closed after {self.rest!r}"
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines)
        return int(first.split()[1]), fields

    def body(self, length: int) -> bytes:
        while len(self.rest) < length:
            data = self.socket.recv(65536)
            assert data, "closed in the body"
            self.rest += data
        body, self.rest = self.rest[:length], self.rest[length:]
        return body

    def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        status, fields = self.head()
        return status, fields, self.body(int(fields.get(b"content-length", b"0")))

    def until_closed(self) -> bytes:
        data = bytearray(self.rest)
        try:
            while chunk := self.socket.recv(65536):
                data += chunk
        except ConnectionResetError:
            pass
        self.socket.close()
        return bytes(data)

    def close(self) -> None:
        self.socket.close()


def get(port: int, path: str = "/orders/1", fields: str = "", method: str = "GET") -> tuple[int, dict, bytes]:
    wire = Wire(port)
    wire.send(f"{method} {path} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n".encode())
    if method == "HEAD":
        status, headers = wire.head()
        wire.close()
        return status, headers, b""
    try:
        return wire.answer()
    finally:
        wire.close()
