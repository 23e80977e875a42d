"""A server that takes events as control does, and can be told to be slow, full, broken or away."""

from __future__ import annotations

import http.server
import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.ingest.event_reading import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.domain.event import Event


class Sink(http.server.ThreadingHTTPServer):
    """Keeps each event once. ``script`` holds (status, headers, body) for the next requests; then it takes them."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.script: list[tuple[int, dict[str, str], bytes]] = []
        self.batches: list[int] = []
        self.tokens: set[str] = set()
        self.events: dict[str, Event] = {}
        self.times = 0
        self.gate = threading.Event()  # while it is closed, nothing is answered
        self.gate.set()
        self.most_events = 1000

    def messages(self) -> list[str]:
        return [event.message for event in self.events.values()]

    def wait(self, true: Any, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, (self.batches, self.times)
            time.sleep(0.01)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        sink = self.server
        sink.times += 1
        sink.gate.wait(60)
        status, fields, answer = sink.script.pop(0) if sink.script else (0, {}, b"")
        if not status:
            batch = read(body, tenant="", now=time.time())
            if len(batch.events) + len(batch.refused) > sink.most_events:
                status, answer = 413, b"{}"
            else:
                sink.batches.append(len(batch.events))
                sink.tokens.add(self.headers["authorization"])
                sink.events |= {event.id: event for event in batch.events}
                refused = [{"index": one.index, "field": one.field, "detail": one.detail} for one in batch.refused]
                status, answer = 200, json.dumps({"stored": len(batch.events), "refused": refused}).encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def sink(port: int = 0) -> Iterator[Sink]:
    """A sink in threads of this process."""
    with Sink(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)
