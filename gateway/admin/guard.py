"""What surrounds every answer of the admin plane: security headers, a time limit, a size limit, and no stack traces."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from gateway import logs
from gateway.admin import problems
from gateway.errors import SentinelError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024  # the largest honest body is a configuration of some hundred kilobytes
TIMEOUT_S = 30.0  # until the answer begins; a live stream may then go on
_NONCE_KEY = "sentinel.nonce"
_log = logs.get("admin")


class BodyTooLargeError(SentinelError):
    """The body exceeds MAX_BODY_BYTES."""

    status = 413


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, timeout_s: float = TIMEOUT_S, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer for what was not answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._max_body_bytes)
        try:
            async with asyncio.timeout(self._timeout_s) as timer:
                exchange.timer = timer
                exchange.check_announced()
                await self._app(scope, exchange.receive, exchange.send)
        except SentinelError as error:
            await exchange.answer(problems.of_error(error))
        except TimeoutError:
            if not timer.expired():
                raise
            _log.warning("admin.timed_out", path=scope["path"], method=scope["method"])
            await exchange.answer(
                problems.problem(503, f"no answer within {self._timeout_s:g} s", headers={"Retry-After": "5"})
            )
        except Exception:  # noqa: BLE001 - the border of a request: logged, answered, and the server goes on
            _log.exception("admin.crashed", path=scope["path"], method=scope["method"])
            await exchange.answer(problems.of_crash())


class _Exchange:
    """One request: counts what comes in, dresses what goes out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self.scope = scope
        self.timer: asyncio.Timeout | None = None
        self.started = False
        self._receive = receive
        self._send = send
        self._limit = self._left = max_body_bytes
        scope[_NONCE_KEY] = self._nonce = secrets.token_urlsafe(16)

    def check_announced(self) -> None:
        """Refuse by Content-Length before reading anything."""
        announced = Headers(scope=self.scope).get("content-length", "0")
        if not announced.isdecimal() or len(announced) > 18 or int(announced) > self._limit:  # noqa: PLR2004 - 64 bits
            raise _too_large(self._limit)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(self._limit)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            if self.timer is not None and not self.timer.expired():
                self.timer.reschedule(None)
            _dress(MutableHeaders(scope=message), self.scope, self._nonce)
        await self._send(message)

    async def answer(self, response: ASGIApp) -> None:
        """Answer in place of the application; cut the connection if it had already begun to."""
        self.timer = None  # it is over, and a timer that is over cannot be put off
        if self.started:
            raise ConnectionAbortedError
        await response(self.scope, self._receive, self.send)


def route_path(scope: Scope) -> str:
    """The path as routes know it, without the prefix that shared mode may put before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def nonce(request: Request) -> str:
    """What ``<script nonce=…>`` and ``<style nonce=…>`` of this answer must carry."""
    value: str = request.scope[_NONCE_KEY]
    return value


def _too_large(limit_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than {limit_bytes // 1024} KiB", remedy="Send it in parts.")


def _dress(headers: MutableHeaders, scope: Scope, nonce_value: str) -> None:
    """Security headers; what an endpoint has set itself stays."""
    is_page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Content-Security-Policy", _page_policy(nonce_value) if is_page else _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")  # for browsers older than frame-ancestors
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if not route_path(scope).startswith("/dashboard/static/"):
        headers.setdefault("Cache-Control", "no-store")
    if scope["scheme"] == "https":
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def _page_policy(nonce_value: str) -> str:
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce_value}'; style-src 'self' 'nonce-{nonce_value}'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
