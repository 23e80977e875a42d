"""TLS in front of a server's protocol: the handshake is made here, and only what passed it becomes a connection.

The event loop's own TLS servers hold handshakes that nobody finishes for a minute, without a bound, and keep their
context for ever. Here a handshake has ten seconds, a worker has so many of them at once (the oldest gives way, so a
flood of silent connections cannot keep honest clients out), and each takes the context then in force.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gateway.edge.certificates import Certificates
    from gateway.metrics import WorkerCounters

HANDSHAKE_S = 10.0
SHUTDOWN_S = 2.0  # for the client to say goodbye in turn; nothing of the answer hangs on it
MAX_HANDSHAKES = 512  # under way at once in a worker; each holds two buffers of OpenSSL, about 40 KB


def over_tls(
    http: Callable[..., asyncio.Protocol],
    certificates: Certificates,
    counters: WorkerCounters,
    *,
    max_handshakes: int = MAX_HANDSHAKES,
) -> Callable[..., asyncio.Protocol]:
    """``http`` behind TLS while ``certificates`` has a context, bare while not; for ``serving.server(http=…)``."""
    waiting: dict[TlsGate, None] = {}  # in the order they came

    def protocol(**given: Any) -> asyncio.Protocol:
        context = certificates.current
        if context is None:
            return http(**given)
        if len(waiting) >= max_handshakes:
            next(iter(waiting)).give_up("crowded_out")
        return TlsGate(context, lambda: http(**given), given["server_state"].connections, waiting, counters)

    return protocol


class TlsGate(asyncio.Protocol):
    """One client until its handshake is done; then the HTTP protocol has the connection and this is gone.

    The server's plain transport is given up before anything is read from it, and the socket goes to a transport with
    TLS: to put TLS onto the plain one would lose what the client has sent by then.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        connections: set[Any],
        waiting: dict[TlsGate, None],
        counters: WorkerCounters,
    ) -> None:
        self._context = context
        self._make = make
        self._connections = connections  # uvicorn's: whoever is in it is told when the server stops
        self._waiting = waiting
        self._counters = counters
        self._task: asyncio.Task[None] | None = None
        self._outcome = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected: begin the handshake."""
        connected = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        connected.setblocking(False)
        transport.abort()  # closes its own descriptor only
        self._waiting[self] = None
        self._connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._handshake(connected))

    def shutdown(self) -> None:
        """The server stops (uvicorn's word for it)."""
        self.give_up("stopped")

    def give_up(self, outcome: str) -> None:
        """End the handshake and the connection."""
        self._outcome = outcome
        self._leave()
        if self._task is not None:
            self._task.cancel()

    def _leave(self) -> None:
        self._waiting.pop(self, None)
        self._connections.discard(self)

    async def _handshake(self, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        outcome = "ok"
        try:
            await loop.connect_accepted_socket(
                self._make,
                connected,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except asyncio.CancelledError:
            outcome = self._outcome or "stopped"
            connected.close()
        except OSError as error:  # SSLError and ConnectionError are
            outcome = "timeout" if isinstance(error, ConnectionAbortedError) else "failed"
            connected.close()
        finally:
            self._leave()
            self._task = None
            self._counters.count("sentinel_tls_handshakes_total", outcome)
