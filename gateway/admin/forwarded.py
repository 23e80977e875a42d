"""Shared mode: requests that workers pass on to control over a Unix socket, seen as their client sent them.

A worker drops what strangers say in X-Forwarded-*, resolves the client through the trusted proxies, and appends it as
the last entry; so on this socket, which only workers can open, the last entry is to be believed. Without it every
client of the data port would share one address, and one guesser could make everybody wait to sign in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_SCHEMES = frozenset({"http", "https"})
_LONGEST_ADDRESS = 64


class FromWorkers:
    """ASGI wrapper for the socket workers forward admin paths to. It trusts an address, and nobody's identity."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put client and scheme where they belong. A TCP listener has a port: there nothing is believed."""
        server = scope.get("server")
        if scope["type"] == "http" and server is not None and server[1] is None:
            scope = {**scope, **_seen(Headers(scope=scope))}
        await self._app(scope, receive, send)


def _seen(headers: Headers) -> dict[str, object]:
    found: dict[str, object] = {}
    address = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if address:
        found["client"] = (address[:_LONGEST_ADDRESS], 0)
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    if scheme in _SCHEMES:
        found["scheme"] = scheme
    return found
