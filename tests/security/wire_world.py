"""The gateway between a raw client and a strict origin: every byte on both sides is known.

The origin reads by :mod:`tests.security.strict_messages`, keeps what it got as it came, and answers each whole request.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jwt
from hypothesis import HealthCheck, settings

from gateway.domain.access import JwtPolicy
from gateway.domain.traffic import RequestRecord
from gateway.domain.upstreams import Target, Upstream
from gateway.proxy.router import Router
from tests.integration.edge.edge_world import Wire
from tests.integration.edge.websocket_world import RealForwarder
from tests.security.strict_messages import Message, NotStrictError, at_origin
from tests.unit.edge.edge_values import SECRET, Rows, route, snapshot, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HOST = b"host: shop.example\r\n"


def bounded(examples: int) -> settings:
    """Settings of a property: the same examples each time in CI, ``PROPERTY_EXAMPLES`` times as many on demand."""
    return settings(
        max_examples=examples * int(os.environ.get("PROPERTY_EXAMPLES", "1")),
        deadline=None,
        derandomize=os.environ.get("CI") == "true",
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


class StrictOrigin:
    """Listens; ``messages`` are the whole requests it got, ``wrong`` what it got besides.

    Attributes:
        answer: the bytes for a request, sent before the connection is read again; None closes it.
        closes: whether the connection ends behind each answer.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.wrong: list[str] = []
        self.answer: Callable[[Message], bytes | None] = lambda _message: OK
        self.closes = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._accepted.append(accepted)
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        data = b""
        with accepted, contextlib.suppress(OSError):
            while read := accepted.recv(65536):
                data += read
                while data:
                    try:
                        message, data = at_origin(data)
                    except NotStrictError as error:
                        self.wrong.append(str(error))
                        return
                    if message is None:
                        break
                    self.messages.append(message)
                    answer = self.answer(message)
                    if answer is not None:
                        accepted.sendall(answer)
                    if answer is None or self.closes:
                        return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(5)
        self._listener.close()
        for accepted in self._accepted:
            with contextlib.suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)


class Gateway:
    """A running gateway and what is behind it."""

    def __init__(self, port: int, origin: StrictOrigin, rows: Rows, upstream: Upstream, steps: Any) -> None:
        self.port = port
        self.origin = origin
        self.upstream = upstream
        self.steps = steps
        self._rows = rows

    def clear(self) -> None:
        """Forget what was before; requests of a connection that was cut off may still be on their way."""
        self.origin.answer, self.origin.closes = lambda _message: OK, False
        self.ask(b"GET /settled HTTP/1.1\r\n" + HOST)
        self.origin.messages.clear()
        self.origin.wrong.clear()
        self._rows.rows.clear()

    @property
    def messages(self) -> list[Message]:
        """What reached the origin, which must have understood all of it."""
        assert self.origin.wrong == []
        return self.origin.messages

    def only(self) -> Message:
        """The one request that reached the origin."""
        messages = self.messages
        assert len(messages) == 1, messages
        return messages[0]

    def records(self, count: int = 1) -> list[RequestRecord]:
        """What was recorded, when there is that much."""
        deadline = time.monotonic() + 5
        while len(self._rows.rows) < count:
            assert time.monotonic() < deadline, self._rows.rows
            time.sleep(0.002)
        return [RequestRecord(*row) for row in self._rows.rows]

    def ask(self, head: bytes, body: bytes = b"") -> tuple[int, dict[bytes, bytes], bytes]:
        """One request without its empty line, and its answer."""
        wire = Wire(self.port)
        wire.send(head + b"\r\n" + body)
        try:
            return wire.answer()
        finally:
            wire.close()

    def told(self, *pieces: bytes, pause_s: float = 0.005) -> bytes:
        """Everything the gateway says on one connection until it closes it, or says nothing more for a while.

        Where the bytes are a whole request, the answer comes well before that; where they are refused, it closes.
        """
        wire = Wire(self.port)
        with contextlib.suppress(OSError):
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(pause_s)
                wire.send(piece)
        wire.socket.settimeout(0.25)
        said = b""
        with contextlib.suppress(OSError):
            while data := wire.socket.recv(65536):
                said += data
        wire.close()
        return said

    def refuses(self, *pieces: bytes, status: int = 400) -> bool:
        """Whether there is one answer of that status, the connection is closed, and nothing got through."""
        wire = Wire(self.port)
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.005)
            wire.send(piece)
        said = wire.until_closed()
        assert said.startswith(b"HTTP/1.1 %d " % status), said[:300]
        assert said.count(b"HTTP/1.1 ") == 1, said
        before = len(self.messages)
        self.ask(b"GET /settled HTTP/1.1\r\n" + HOST)  # what was on its way has arrived before this
        assert [message.target for message in self.messages[before:]] == [b"/settled"]
        return before == 0


@contextmanager
def gateway(driver: Any, *routes: Any, **changes: Any) -> Iterator[Gateway]:
    """Serve by ``driver`` with the real router and proxy; ``changes`` are of the snapshot."""
    origin = StrictOrigin()
    target = Target(name=f"127.0.0.1:{origin.port}", host="127.0.0.1", port=origin.port)
    upstream = Upstream(name="orders", targets=(target,))
    rows = Rows()
    given = {"upstreams": (upstream,), "jwt": (JwtPolicy(secret_env="JWT"),)} | changes
    judged = steps(snapshot(*(routes or (route(path="/*", name="all"),)), **given), records=rows, make_router=Router)
    forwarder = RealForwarder(upstream)
    try:
        with driver(judged, forwarder, proxy_headers=False) as port:
            try:
                yield Gateway(port, origin, rows, upstream, judged)
            finally:
                forwarder.close()
    finally:
        origin.close()


def bearer(subject: str = "ana", **claims: Any) -> bytes:
    """The Authorization field of a caller who proves it."""
    token = jwt.encode({"sub": subject, "tenant": "acme", "exp": time.time() + 600, **claims}, SECRET, "HS256")
    return b"authorization: Bearer " + token.encode() + b"\r\n"
