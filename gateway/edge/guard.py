"""The inner application in place of an upstream: somebody's own ASGI app behind the same steps.

The app sees its request without client-sent ``X-Sentinel-*`` fields and finds ``principal``, ``tenant`` and
``request_id`` in ``scope["state"]`` (``request.state`` in Starlette and FastAPI).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.domain.traffic import ErrorKind
from gateway.edge import answer, request_rules
from gateway.edge.asgi_forward import CLIENT_GONE_STATUS, send_own
from gateway.edge.exchange import now_us

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.edge.asgi_forward import Receive, Send
    from gateway.edge.exchange import Encoder, Exchange, Refusal

APP_TARGET = "app"  # what records call it that answered
_ALIASES = bytes.maketrans(b"_.", b"--")  # what many frameworks fold into "-" when they name a header


def for_app(exchange: Exchange) -> bool:
    """Whether the request is the embedding application's to answer; notes it as the target."""
    upstream = exchange.runtime.upstreams.get(exchange.upstream)
    if exchange.route is None or (exchange.upstream and (upstream is None or not upstream.is_app)):
        return False
    exchange.target = APP_TARGET
    return True


class BodyTooLargeError(Exception):
    """Raised into the inner app when it reads past the limit; its own answer is replaced by the 413."""


class GuardedApp:
    """One exchange carried by the inner app."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._refusal: Refusal | None = None
        self._started = False
        self._ended = False

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Call the app; the exchange knows afterwards how it ended.

        Raises:
            Exception: whatever the app raised, for the driver to log and to end the exchange by.
        """
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
            await app(inner, self._read, self._write)
        except Exception:
            if self._refusal is None or self._started:
                exchange.error = exchange.error or ErrorKind.APP_FAILED
                raise
        if self._refusal is not None and not self._started:
            await send_own(exchange, self._refusal, self._send)
        elif not self._ended and not exchange.error:  # what the server answers to an app that answers nothing
            exchange.status = exchange.status or 500
            exchange.error = ErrorKind.APP_FAILED

    async def _read(self) -> Any:
        message = await self._receive()
        exchange = self._exchange
        if message["type"] == "http.disconnect":
            if not self._ended:
                exchange.status = CLIENT_GONE_STATUS
                exchange.error = ErrorKind.CLIENT_GONE
            return message
        exchange.bytes_in += len(message.get("body", b""))
        limit = exchange.max_body_bytes
        if exchange.bytes_in > limit:
            self._refusal = request_rules.body_too_large(limit)
            raise BodyTooLargeError
        return message

    async def _write(self, message: dict[str, Any]) -> None:
        if self._refusal is not None:
            return
        exchange = self._exchange
        if message["type"] == "http.response.start":
            self._started = True
            exchange.first_byte_at = now_us()
            exchange.status = exchange.status or message["status"]
            headers: Headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            message = {**message, "headers": answer.relayed(exchange, message["status"], headers)}
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
            if exchange.encoder is not None:
                message = {**message, "body": self._encoded(exchange.encoder, message.get("body", b""))}
            exchange.bytes_out += len(message.get("body", b""))
        await self._send(message)

    def _encoded(self, encoder: Encoder, body: bytes) -> bytes:
        data = encoder.feed(body)
        return data + encoder.end() if self._ended else data


def without_identity(headers: Headers) -> Headers:
    """The fields an application may believe: without what only the gateway says."""
    return [field for field in headers if not field[0].translate(_ALIASES).startswith(b"x-sentinel-")]
