"""The server's protocol for the ASGI driver: requests sent ahead of their turn wait, and what waits is bounded.

uvicorn makes an object of every request in a read at once and reads on whenever an answer is whole or an application
receives. A client that pipelines and takes no answers would fill the memory with requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.edge.clock import Sweep
from gateway.edge.server_protocol import StrictHttpProtocol

if TYPE_CHECKING:
    import asyncio

    from gateway.edge.server_cycle import Cycle
    from gateway.edge.steps import Steps

# The parser gets this much at a time: every request in it becomes an object that waits, a hundred times the size of its
# bytes. What follows is not read before those are answered. Within a body larger pieces save time.
SLICE_BYTES, BODY_SLICE_BYTES = 4 * 1024, 16 * 1024


def strict_http(steps: Steps) -> type[StrictHttpProtocol]:
    """The protocol class of one worker: ``uvicorn.Config(app, http=strict_http(steps))``."""
    return type("WorkerHttpProtocol", (QueueingHttpProtocol,), {"steps": steps, "sweep": Sweep()})


class _Flow(FlowControl):
    """Flow control that reads nothing more while requests wait, whoever asks for it.

    An answer's end and an application that receives both resume reading. Were that all, a client that never reads could
    have ever more requests wait for their turn.
    """

    waits = False

    def resume_reading(self) -> None:
        """Read on, if nothing waits."""
        if not self.waits:
            super().resume_reading()


class QueueingHttpProtocol(StrictHttpProtocol):
    """Requests sent ahead of their turn wait as objects, but few of them; the others wait as bytes, and then unread."""

    flow: _Flow
    _held = b""  # what has been read and was not given to the parser yet
    _active: Cycle | None = None  # whose answer is due; uvicorn knows only the one it parsed last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected."""
        super().connection_made(transport)
        self.flow = _Flow(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, and with it what was under way on it."""
        self._held = b""
        active, self._active = self._active, None
        if active is not None and not active.response_complete:
            active.disconnected = True
            active.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._held:
            self._held += data
        elif len(data) <= SLICE_BYTES and not self.pipeline:
            super().data_received(data)
        else:
            self._feed(data)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        super().on_headers_complete()
        if self.pipeline:
            self.flow.waits = True

    def on_response_complete(self) -> None:
        """An answer is whole."""
        self._active = None
        self.flow.waits = len(self.pipeline) > 1 or bool(self._held)
        super().on_response_complete()
        if self._held and not self.pipeline:
            self.loop.call_soon(self._go_on)

    def unread(self) -> bytes:
        """What has come behind a WebSocket's handshake."""
        behind, self._held = super().unread() + self._held, b""
        self.flow.waits = False
        return behind

    def _start(self, cycle: Cycle, app: Any) -> None:
        self._active = cycle
        super()._start(cycle, app)

    def _go_on(self) -> None:
        held, self._held = self._held, b""
        if held and not self.transport.is_closing():
            self.flow.waits = False
            self._feed(held)
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self.pipeline and not self.transport.is_closing():
            cycle = self._cycle
            size = BODY_SLICE_BYTES if cycle is not None and cycle.more_body else SLICE_BYTES
            super().data_received(data[at : at + size])
            at += size
        if at < len(data) and not self.transport.is_closing():
            self._held = data[at:]
            self.flow.waits = True
            self.flow.pause_reading()
