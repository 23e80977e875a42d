"""The requests on a client's connection that need no parser: a plain head with its whole body in one read."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from gateway.edge import plain_request
from gateway.edge.clock import NEVER
from gateway.edge.lane_request import LaneRequest
from gateway.edge.server_protocol import StrictHttpProtocol

if TYPE_CHECKING:
    import asyncio

    from gateway.domain.forwarding import Forwarder
    from gateway.domain.upstreams import Upstream
    from gateway.edge.lane_answer import LaneAnswer


class PlainRequests(StrictHttpProtocol):
    """What of a connection such a request needs."""

    forwarder: Forwarder
    admin: Upstream | None
    held_heads: list[LaneAnswer]  # of the whole worker: heads of answers that wait for their body until the tick ends

    _peer = ""
    _scheme = b"http"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected."""
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self._scheme = (self.scheme or "http").encode("ascii")

    @property
    def write_paused(self) -> bool:
        """Whether the client takes less than it is sent."""
        return self.flow.write_paused

    @abstractmethod
    def go_on(self) -> None:
        """The request takes more of its body: read on."""

    def pause_body(self) -> None:
        """The request takes no more of its body for now."""
        self.flow.pause_reading()

    def hold_head(self, answer: LaneAnswer) -> None:
        """Send a head when this turn of the loop is over, unless its body took it along."""
        held = self.held_heads
        if not held:
            self.loop.call_soon(_send_heads, held)
        held.append(answer)

    def plain_request(self, data: bytes) -> LaneRequest | None:
        """The request that ``data`` is, if it is one whole, plain request and nothing else."""
        if self.transport.is_closing() or self.flow.write_paused:
            return None
        found = plain_request.whole(
            data, self.steps.runtime, self._peer, self._scheme, self.certificate, self.admin is not None
        )
        if found is None:
            return None
        exchange, body = found
        self._in_head = False
        self.deadline = NEVER
        if not (body or self.draining):
            return LaneRequest(self, exchange)
        return LaneRequest(self, exchange, keep_alive=not self.draining, body=body)


def _send_heads(held: list[LaneAnswer]) -> None:
    answers = held.copy()
    held.clear()
    for answer in answers:
        answer.send_head()
