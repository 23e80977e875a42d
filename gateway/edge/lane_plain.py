"""The requests on a client's connection that need no parser: a plain head with its whole body in one read."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from gateway.edge import plain_head
from gateway.edge.clock import NEVER
from gateway.edge.exchange import Exchange
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
        end = data.find(b"\r\n") + 2
        line = plain_head.request_line(data[: end - 2])
        if line is None or self.transport.is_closing() or self.flow.write_paused:
            return None
        method, path, query, target, judged, with_body = line
        runtime = self.steps.runtime
        if self.admin is not None and runtime.is_admin(path):
            return None
        body = b""
        if with_body:
            ends = data.find(b"\r\n\r\n", end - 2) + 4
            if ends < end:  # the head is not whole
                return None
            fields = plain_head.fields(data[end:ends], True)
            body = data[ends:]
        else:
            fields = plain_head.fields(data[end:])
        if fields is None or fields.content_length != len(body):  # more of the body is to come, or another request
            return None
        headers, gathered, length = fields
        self._in_head = False
        self.deadline = NEVER
        # By position: most requests come by here, and Python takes twice as long to call by keyword.
        exchange = Exchange(
            method, path, query, headers, runtime, self._peer, self._scheme, "1.1", 0, target, self.certificate
        )
        exchange.gathered = gathered
        exchange.target_judged = judged
        exchange.content_length = exchange.bytes_in = length
        if not (body or self.draining):
            return LaneRequest(self, exchange)
        return LaneRequest(self, exchange, keep_alive=not self.draining, body=body)


def _send_heads(held: list[LaneAnswer]) -> None:
    answers = held.copy()
    held.clear()
    for answer in answers:
        answer.send_head()
