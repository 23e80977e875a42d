"""WebSockets of an application behind the middleware, under any ASGI server: the steps, the application, the record.

The server keeps the connection here, so messages are what is seen, not bytes. Routes with an upstream need the
gateway's own server (:mod:`gateway.edge.websocket_upgrade`); without it their handshakes are answered 501.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from gateway import logs
from gateway.domain.traffic import ErrorKind
from gateway.edge import answer
from gateway.edge.exchange import Refusal, now_us
from gateway.edge.guard import for_app, without_identity
from gateway.edge.steps import Waiting

if TYPE_CHECKING:
    from gateway.edge.asgi_forward import Receive, Send
    from gateway.edge.exchange import Exchange, Outcome, Reply
    from gateway.edge.open_websockets import OpenWebSockets
    from gateway.edge.steps import Steps

_SWITCHING, _FORBIDDEN = 101, 403
_TOO_BIG, _POLICY_VIOLATION, _ABNORMAL = 1009, 1008, 1006  # RFC 6455 section 7.4.1
_NOT_HERE = Refusal(501, ErrorKind.BAD_REQUEST, "This server does not proxy WebSockets; `sentinel serve` does.")

_log = logs.get("edge")


async def guard_websocket(
    steps: Steps, exchange: Exchange, app: Any, scope: dict[str, Any], receive: Receive, send: Send
) -> None:
    """Carry one WebSocket from its handshake to its record; ``app`` None where there is none behind."""
    try:
        if (await receive())["type"] != "websocket.connect":
            return
        outcome = await _admitted(steps, exchange)
        if outcome is None and (app is None or not for_app(exchange)):
            outcome = _NOT_HERE
        if outcome is None:
            await GuardedWebSocket(exchange, receive, send, steps.websockets).run(app, scope)
        else:
            await _refuse(exchange, outcome, scope, send)
    except asyncio.CancelledError:  # the server is stopping and has waited as long as it was told to
        exchange.status = exchange.status or 503
        exchange.error = exchange.error or ErrorKind.INTERNAL
        raise
    except Exception as error:
        _log.exception("exchange.crashed", request_id=exchange.request_id, reason=type(error).__name__)
        exchange.status = exchange.status or 500
        exchange.error = exchange.error or ErrorKind.INTERNAL
        raise
    finally:
        steps.finish(exchange)


async def _admitted(steps: Steps, exchange: Exchange) -> Outcome:
    verdict: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    outcome = steps.admit(exchange, lambda late: None if verdict.done() else verdict.set_result(late))
    return await verdict if outcome is Waiting.LIMITER else outcome


async def _refuse(exchange: Exchange, what: Refusal | Reply, scope: dict[str, Any], send: Send) -> None:
    """Answer the handshake, where the server can say what; else it says 403 for us."""
    status, headers, body = answer.own(exchange, what)
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
        exchange.bytes_out = len(body)
    else:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


class GuardedWebSocket:
    """One admitted WebSocket carried by the inner app."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, open_ones: OpenWebSockets) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._open = open_ones
        self._while_open = ExitStack()
        self._connected = False
        self._closed = False

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Call the app; the exchange knows afterwards how it ended."""
        exchange = self._exchange
        exchange.connected_at = now_us()
        inner = dict(scope)
        inner["headers"] = without_identity(exchange.headers)
        inner["state"] = {
            **scope.get("state", {}),
            "principal": exchange.principal,
            "tenant": exchange.principal.tenant,
            "request_id": exchange.request_id,
        }
        try:
            with self._while_open:
                await app(inner, self._read, self._write)
        except Exception:
            exchange.error = exchange.error or ErrorKind.APP_FAILED
            raise
        if not exchange.status:  # it returned without a word: what servers answer then
            exchange.status = 500
            exchange.error = ErrorKind.APP_FAILED

    async def _read(self) -> Any:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        message = await self._receive()
        exchange = self._exchange
        if message["type"] == "websocket.receive":
            size = _size(message)
            exchange.bytes_in += size
            if size > exchange.max_body_bytes:
                exchange.error = ErrorKind.BAD_REQUEST
                await self._write({"type": "websocket.close", "code": _TOO_BIG, "reason": "message too big"})
                return {"type": "websocket.disconnect", "code": _TOO_BIG, "reason": "message too big"}
        elif message["type"] == "websocket.disconnect":
            if not self._closed and message.get("code", _ABNORMAL) == _ABNORMAL:
                exchange.error = exchange.error or ErrorKind.CLIENT_GONE
            self._closed = True
            self._while_open.close()
        return message

    async def _write(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        exchange = self._exchange
        if kind == "websocket.accept":
            exchange.first_byte_at = now_us()
            if exchange.status != _SWITCHING:
                self._while_open.enter_context(self._open.one(exchange))
            exchange.status = _SWITCHING
            headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            message = {**message, "headers": answer.relayed(exchange, _SWITCHING, headers)}
        elif kind == "websocket.send":
            if self._closed:  # by us
                return
            exchange.bytes_out += _size(message)
        elif kind == "websocket.close":
            if self._closed:
                return
            self._closed = True
            self._while_open.close()
            exchange.status = exchange.status or _FORBIDDEN  # what servers answer to a handshake that was not accepted
        elif kind == "websocket.http.response.start":
            exchange.status = message["status"]
        await self._send(message)


def _size(message: dict[str, Any]) -> int:
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode())
