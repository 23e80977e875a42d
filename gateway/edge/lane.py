"""Driver 2: the steps of a request inside the server's protocol class, without ASGI scope, task or coroutine.

One message at a time: what a client sends behind a request that is under way is not parsed before that is answered, so
pipelined requests are answered in order and cost no more than the bytes of one read. Upgrades, targets that are no
plain path, and control's own paths in shared mode go to the ASGI application as under the other driver, in the same
order.

What a request costs beyond its bytes is :class:`gateway.edge.lane_request.LaneRequest`; deadlines are the sweep's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from gateway.edge.clock import NEVER, Sweep
from gateway.edge.exchange import Exchange
from gateway.edge.lane_plain import PlainRequests
from gateway.edge.lane_request import STOPPED, LaneRequest
from gateway.edge.server_protocol import PLAIN_TARGET

if TYPE_CHECKING:
    from gateway.domain.forwarding import Forwarder
    from gateway.domain.upstreams import Upstream
    from gateway.edge.exchange import Refusal
    from gateway.edge.server_cycle import Cycle
    from gateway.edge.steps import Steps

# Of a chunked body the parser gets this much at a time, because what follows the body is only found by parsing it.
SLICE_BYTES = 16 * 1024
# Requests answered in one turn of the loop before other connections have theirs.
MAX_IN_A_ROW = 32


def lane_http(steps: Steps, forwarder: Forwarder, admin: Upstream | None = None) -> type[LaneProtocol]:
    """The protocol class of one worker: ``uvicorn.Config(app, http=lane_http(steps, forwarder))``.

    Args:
        steps: the steps of a request, shared with the ASGI application behind.
        forwarder: the proxy.
        admin: control as an upstream, as :class:`gateway.edge.middleware.EdgeApp` has it; its paths go there.
    """
    lane = {"steps": steps, "forwarder": forwarder, "admin": admin, "sweep": Sweep(), "held_heads": []}
    return type("WorkerLaneProtocol", (LaneProtocol,), lane)


class LaneProtocol(PlainRequests):
    """One client connection; made by :func:`lane_http`."""

    _active: LaneRequest | Cycle | None = None  # whose answer is due
    _unread = b""  # what the client sent that is not parsed yet
    _at = 0  # how much of it is
    _in_message = False
    _running = False

    # --- what the event loop calls ---

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        active = self._active
        if (
            (active is None or active.response_complete)
            and not (self._unread or self._in_message or self._running)
            and self._behind is None
            and (request := self.plain_request(data)) is not None
        ):
            self._active = self.cycle = request  # type: ignore[assignment]  # in place of uvicorn's own
            self._running = True
            request.start()
            self._running = False
            return
        if self._wrong is not None:
            return
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        if not self._running:
            self._run()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, and with it what was under way on it."""
        self._unread = b""
        active, self._active = self._active, None
        if isinstance(self._latest, LaneRequest):
            self._latest = None  # uvicorn would take it for one of its own
        super().connection_lost(exc)
        if isinstance(active, LaneRequest):
            active.client_gone()
        elif active is not None:
            active.disconnected = True
            active.message_event.set()

    def pause_writing(self) -> None:
        """The client does not take what it asked for."""
        super().pause_writing()
        if isinstance(self._active, LaneRequest):
            self._active.client_slow()

    def resume_writing(self) -> None:
        """The client takes it again."""
        super().resume_writing()
        active = self._active
        if isinstance(active, LaneRequest) and not active.response_complete:
            active.client_keeps_up()
        elif self._unread:
            self.go_on()

    def shutdown(self) -> None:
        """The server stops: finish what is under way, and what a connection at rest may still be sent."""
        self.draining = True
        active = self._active
        if active is None or active.response_complete:
            self._linger()
            return
        active.keep_alive = False
        if isinstance(active, LaneRequest):
            self._stand_for(active)

    def _stand_for(self, request: LaneRequest) -> None:
        """A task in the request's place: when the server has waited long enough, tasks are what it ends."""
        task = self.loop.create_task(_over(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        self._in_message = True

    def on_headers_complete(self) -> None:
        """The head is whole: the request is the lane's, if it is an ordinary one."""
        url, parser = self.url, self.parser
        path, _, query = url.partition(b"?")
        runtime = self.steps.runtime
        if (
            parser.should_upgrade()
            or PLAIN_TARGET.fullmatch(url) is None
            or (self.admin is not None and runtime.is_admin(path))
        ):
            super().on_headers_complete()
            return
        self._in_head = False
        self.deadline = NEVER
        version = parser.get_http_version()
        exchange = Exchange(
            method=parser.get_method(),
            path=path,
            query=query,
            headers=self.headers,
            runtime=runtime,
            peer=self._peer,
            scheme=self._scheme,
            version=version,
            started_at=self._begun_at,
            target_form=url,
            certificate=self.certificate,
        )
        request = LaneRequest(
            self,
            exchange,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not self.draining,
            expects_100=self.expect_100_continue,
            more_body=True,
        )
        self._latest = request
        self.pipeline.appendleft((request, None))  # type: ignore[arg-type]  # in place of uvicorn's own

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        request = self._latest
        if isinstance(request, LaneRequest):
            self._silent_bytes = -1
            if not request.response_complete:
                request.received(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._in_message = False
        request = self._latest
        if isinstance(request, LaneRequest):
            request.received_all()
        else:
            super().on_message_complete()

    def unread(self) -> bytes:
        """What has come behind a WebSocket's handshake: what the parser was given of it, and what it was not."""
        behind = super().unread() + self._unread[self._at :]
        self._unread, self._at = b"", 0
        return behind

    # --- what requests call ---

    def go_on(self) -> None:
        """The request takes more of its body."""
        if not self._running:
            self._run()

    def on_response_complete(self) -> None:
        """An answer is whole: the next request has its turn, or the connection is idle."""
        self.server_state.total_requests += 1
        active = self._active
        if active is not None and not active.more_body:  # an idle connection should cost no request's memory
            self._active = None
            latest: object = self.cycle
            if latest is active:
                self.cycle = None  # type: ignore[assignment]  # as before the first request
        self._rest()
        if self._unread or self.pipeline or self.flow.read_paused or self._wrong is not None:
            self.go_on()

    # --- the inside ---

    def _run(self) -> None:
        """Start what is queued, then parse what is unread, one message at a time, as far as it goes now."""
        self._running = True
        in_a_row = 0
        try:
            while not self.transport.is_closing():
                active = self._active
                if active is None or active.response_complete:
                    if self.pipeline:
                        if in_a_row == MAX_IN_A_ROW:
                            self.loop.call_soon(self._run_again)
                            break
                        in_a_row += 1
                        self._start(*self.pipeline.pop())  # type: ignore[arg-type]  # in place of uvicorn's own
                        continue
                    if self._wrong is not None:
                        self._cut(self._wrong)
                        break
                elif self._wrong is not None:
                    if active.more_body and not self.pipeline:
                        self._cut(self._wrong)
                    break
                elif not self._reads_on(active):
                    break
                if not self._unread or self.flow.write_paused:
                    break
                super().data_received(self._next_part())
        finally:
            self._running = False
        self._settle()

    def _reads_on(self, active: LaneRequest | Cycle) -> bool:
        """Whether what is unread belongs to the request whose answer is due, and can be taken by it now."""
        return (
            self._in_message
            and not self._in_head
            and self._latest is active
            and not (isinstance(active, LaneRequest) and active.held)
        )

    def _next_part(self) -> bytes:
        """What the parser gets next: a head with nothing behind it, or some of a body."""
        unread, at = self._unread, self._at
        if self._in_message and not self._in_head:
            request = self._latest
            left = 0
            if isinstance(request, LaneRequest) and not request.response_complete:
                left = request.exchange.content_length - request.exchange.bytes_in
            end = at + (left if left > 0 else SLICE_BYTES)
        else:
            end = unread.find(b"\r\n\r\n", at) + 4
        if end >= len(unread) or end < at + 4:
            self._unread, self._at = b"", 0
            return unread[at:] if at else unread
        self._at = end
        return unread[at:end]

    @property
    def _latest(self) -> LaneRequest | Cycle | None:
        """The request whose head was parsed last; uvicorn's own attribute, which knows only its own cycles."""
        return cast("LaneRequest | Cycle | None", self.cycle)

    @_latest.setter
    def _latest(self, request: LaneRequest | None) -> None:
        self.cycle = cast("Any", request)

    def _start(self, cycle: LaneRequest | Cycle, app: Any) -> None:
        self._active = cycle
        if isinstance(cycle, LaneRequest):
            if self.draining:
                self._stand_for(cycle)
            cycle.start()
        else:
            super()._start(cycle, app)

    def _run_again(self) -> None:
        if not self._running:
            self._run()

    def _settle(self) -> None:
        """Whether to read on, and how long to wait for what."""
        active = self._active
        if active is None or active.response_complete:
            if self._unread:  # the client takes no answers: it is not read on either
                self.flow.pause_reading()
            else:
                self.flow.resume_reading()
        elif self._unread or self._wrong is not None or (isinstance(active, LaneRequest) and active.held):
            self.flow.pause_reading()
        elif isinstance(active, LaneRequest):  # the ASGI application resumes reading by itself
            self.flow.resume_reading()

    def expired(self, now: int) -> None:
        """The deadline passed: of a body, or one of those every connection has."""
        active = self._active
        if isinstance(active, LaneRequest) and not active.response_complete and not self._in_head:
            self.deadline = NEVER
            active.refuse(STOPPED)
        else:
            super().expired(now)

    def _cut(self, why: Refusal) -> None:
        if len(self.pipeline) == 1 and (self._active is None or self._active.response_complete):
            # Its head was whole and what follows is not HTTP: the steps have their say, and give it an id and a record.
            self._start(*self.pipeline.pop())  # type: ignore[arg-type]  # in place of uvicorn's own
        active = self._active
        if isinstance(active, LaneRequest) and not active.response_complete:
            if active is self._latest and active.more_body:
                active.refuse(why)
            else:  # what is wrong stands behind it; an answer to that would land in the middle of its own
                self._unread, self._at = b"", 0
                self._refuse_later(why)
        else:
            super()._cut(why)


async def _over(request: LaneRequest) -> None:
    """Wait for the end of a request; cancelled by the server when it has waited long enough."""
    request.on_over = asyncio.get_running_loop().create_future()
    try:
        await request.on_over
    except asyncio.CancelledError:
        request.stop()
        raise
