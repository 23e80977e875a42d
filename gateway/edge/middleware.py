"""Driver 1: the steps of a request as pure ASGI, under any ASGI server; uvicorn is what it is measured on.

:class:`EdgeApp` forwards to upstreams. :class:`SentinelMiddleware` guards an application of somebody's own: routes
to the upstream "app:", or to none, go to that application, all others are forwarded.
"""

from __future__ import annotations

import asyncio
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway import logs
from gateway.domain.traffic import ErrorKind
from gateway.edge import answer
from gateway.edge.asgi_forward import STOPPING, AsgiForward, send_own
from gateway.edge.exchange import Exchange, Refusal, WebSocketExchange
from gateway.edge.guard import GuardedApp, for_app
from gateway.edge.steps import Waiting
from gateway.edge.websocket_forward import WebSocketForward
from gateway.edge.websocket_guard import guard_websocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.forwarding import Forwarder
    from gateway.domain.upstreams import Upstream
    from gateway.edge.asgi_forward import Receive, Send
    from gateway.edge.exchange import Outcome
    from gateway.edge.steps import Steps

_KEPT = object()  # in place of what takes a connection over: the server keeps it

SWEEP_S = 0.25  # how often exchanges under way begin to be watched for their client's leaving

Scope = dict[str, Any]

log = logs.get("edge")


class _Verdict:
    """Takes the limiter's late outcome to where it is waited for."""

    __slots__ = ("take",)

    def __init__(self) -> None:
        self.take: Callable[[Outcome], None] | None = None

    def __call__(self, outcome: Outcome) -> None:
        if self.take is not None:
            self.take(outcome)

    async def wait(self) -> Outcome:
        """The outcome, when it comes."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.take = lambda outcome: None if future.done() else future.set_result(outcome)
        return await future


class _Sweep:
    """Watches the clients of exchanges that take long, so that short ones need no second task and no timer."""

    def __init__(self) -> None:
        self._under_way: dict[AsgiForward, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, forward: AsgiForward, loop: asyncio.AbstractEventLoop) -> None:
        self._under_way[forward] = None
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._look)

    def remove(self, forward: AsgiForward) -> None:
        del self._under_way[forward]

    def _look(self) -> None:
        self._timer = None
        for forward in self._under_way:
            forward.watch_client()
        if self._under_way:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._look)


class _Driver:
    """What both applications share: from scope to exchange, through the steps, to an answer and a record."""

    def __init__(self, steps: Steps, forwarder: Forwarder | None, admin: Upstream | None) -> None:
        self._steps = steps
        self._forwarder = forwarder
        self._admin = admin
        self._sweep = _Sweep()

    async def _http(self, scope: Scope, receive: Receive, send: Send, app: Any = None) -> None:
        exchange = self._exchange(scope)
        try:
            if self._admin is not None and exchange.runtime.is_admin(exchange.path):
                await self._ask_control(exchange, self._admin, receive, send)
                return
            verdict = _Verdict()
            outcome = self._steps.admit(exchange, verdict)
            if outcome is Waiting.LIMITER:
                upstream = self._upstream_of(exchange)
                if upstream is not None and exchange.content_length == 0:
                    # The verdict itself sends the request on: the task wakes once, when the answer is there.
                    await self._forward(exchange, upstream, receive, send, verdict)
                    return
                outcome = await verdict.wait()
            if outcome is not None:
                await send_own(exchange, outcome, send)
            else:
                await self._carry(exchange, scope, receive, send, app)
        except asyncio.CancelledError:  # the server is stopping and has waited as long as it was told to
            exchange.error = exchange.error or ErrorKind.INTERNAL
            if exchange.status:
                raise
            exchange.status = STOPPING.status
            await send_own(exchange, STOPPING, send)
            raise
        except Exception as error:
            log.exception("exchange.crashed", request_id=exchange.request_id, reason=type(error).__name__)
            exchange.error = exchange.error or ErrorKind.INTERNAL
            if exchange.status:  # an answer has begun: only the server can abort it now
                raise
            await send_own(exchange, _crashed(exchange), send)
        finally:
            self._steps.finish(exchange)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, app: Any = None) -> None:
        secure = scope.get("scheme") == "wss"
        as_request = {**scope, "method": "GET", "scheme": "https" if secure else "http", "sentinel.websocket": _KEPT}
        await guard_websocket(self._steps, self._exchange(as_request), app, scope, receive, send)

    async def _ask_control(self, exchange: Exchange, control: Upstream, receive: Receive, send: Send) -> None:
        refusal = self._steps.admit_admin(exchange)
        if refusal is not None:
            await send_own(exchange, refusal, send)
        else:
            await self._forward(exchange, control, receive, send)

    async def _carry(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send, app: Any) -> None:
        upstream = self._upstream_of(exchange)
        if app is not None and for_app(exchange):
            await GuardedApp(exchange, receive, send).run(app, scope)
        elif upstream is not None:
            await self._forward(exchange, upstream, receive, send)
        else:
            why = Refusal(503, ErrorKind.UPSTREAM_UNAVAILABLE, "Nothing is set up to answer this route.")
            await send_own(exchange, why, send)

    def _upstream_of(self, exchange: Exchange) -> Upstream | None:
        """The upstream that was chosen for the exchange, if there is one and something to reach it by."""
        if exchange.route is None or self._forwarder is None:
            return None
        upstream = exchange.runtime.upstreams.get(exchange.upstream)
        return None if upstream is None or upstream.is_app else upstream

    async def _forward(
        self, exchange: Exchange, upstream: Upstream, receive: Receive, send: Send, verdict: _Verdict | None = None
    ) -> None:
        """Forward an admitted exchange, or with ``verdict`` one that is admitted when that says so."""
        forwarder, route = self._forwarder, exchange.route
        if forwarder is None or route is None:
            return
        loop = asyncio.get_running_loop()
        if isinstance(exchange, WebSocketExchange):
            forward: AsgiForward = WebSocketForward(exchange, receive, loop, self._steps.websockets)
        else:
            forward = AsgiForward(exchange, receive, loop)
        self._sweep.add(forward, loop)
        try:
            if verdict is None:
                await forward.run(forwarder, answer.outbound(exchange, route, upstream), send)
            else:
                verdict.take = lambda outcome: forward.admitted(outcome, forwarder, route, upstream)
                await forward.run_when_admitted(send)
        finally:
            self._sweep.remove(forward)

    def _exchange(self, scope: Scope) -> Exchange:
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        client = scope.get("client")
        take_over = scope.pop("sentinel.websocket", None)  # taken out, since it holds what holds the scope
        exchange = (Exchange if take_over is None else WebSocketExchange)(
            method=scope["method"].encode("latin-1"),
            path=raw_path,
            query=scope["query_string"],
            # A copy: uvicorn appends the trailers of a chunked body to this list while the body is read.
            headers=list(scope["headers"]),
            runtime=self._steps.runtime,
            peer=client[0] if client else "",
            scheme=scope.get("scheme", "http").encode("ascii"),
            version=scope.get("http_version", "1.1"),
            started_at=scope.get("sentinel.started_at", 0),
            target_form=scope.get("sentinel.target"),
            certificate=scope.get("sentinel.certificate") or (_certificate(scope) if "extensions" in scope else b""),
        )
        if isinstance(exchange, WebSocketExchange):
            exchange.take_over = None if take_over is _KEPT else take_over
        return exchange


class EdgeApp(_Driver):
    """The gateway itself as an ASGI application.

    Args:
        steps: the steps of a request, shared with every other driver of this worker.
        forwarder: the proxy.
        admin: control as an upstream (its Unix socket), for the policy's admin prefixes in shared mode.
    """

    def __init__(self, steps: Steps, forwarder: Forwarder, *, admin: Upstream | None = None) -> None:
        super().__init__(steps, forwarder, admin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)


class SentinelMiddleware(_Driver):
    """The same steps around an application of your own: ``app = SentinelMiddleware(app, steps)``.

    A request that matches no route is answered 404: what the configuration does not name is not reachable.
    :class:`gateway.embed.Sentinel` puts everything together from a sentinel.toml.

    Args:
        app: gets the requests of routes whose upstream is the application ("app:") or empty, and the lifespan events.
        steps: the steps of a request.
        forwarder: the proxy, where some routes have upstreams.
    """

    def __init__(self, app: Any, steps: Steps, forwarder: Forwarder | None = None) -> None:
        super().__init__(steps, forwarder, None)
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send, self._app)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send, self._app)
        else:
            await self._app(scope, receive, send)


def _crashed(exchange: Exchange) -> Refusal:
    """The answer where there was none yet; the one of an application says so, since it is no fault of ours."""
    if exchange.error == ErrorKind.APP_FAILED:
        return Refusal(500, ErrorKind.APP_FAILED, "The application failed.", close=True)
    return Refusal(500, ErrorKind.INTERNAL, "The gateway failed.", close=True)


def _certificate(scope: Scope) -> bytes:
    """DER of the client's certificate by ASGI's TLS extension, if the server verified it; empty when there is none."""
    tls = scope["extensions"].get("tls")
    if not tls or tls.get("client_cert_error") or not tls.get("client_cert_chain"):
        return b""
    return PEM_cert_to_DER_cert(tls["client_cert_chain"][0])


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
