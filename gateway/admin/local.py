"""The command line's way in: the same application on a private Unix socket, where every request is an administrator.

The mark is an object of this module, set on the ASGI scope by the wrapper alone. Nothing a client sends can make it:
headers, cookies and paths are bytes, the mark is compared by identity, and the application behind the TCP listener (or
behind the data port) is simply not wrapped. Whoever may open the socket file (0600 in the 0700 run folder) may already
read the store and the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.identity import Actor, Role

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "sentinel.local"
_MARK = object()
_NAME_HEADER = "x-sentinel-operator"  # the command line's own word for who runs it; only ever read on this socket
_LONGEST_NAME = 64


class LocalSocket:
    """ASGI wrapper that marks requests as local; give it to the server on the private socket, and to no other."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Mark and pass on. A TCP listener has a port, so a wrapper put there by mistake marks nothing."""
        server = scope.get("server")
        if scope["type"] == "http" and server is not None and server[1] is None:
            scope = {**scope, _KEY: _MARK}
        await self._app(scope, receive, send)


def local_actor(request: Request) -> Actor | None:
    """The command line, if the request came over the private socket."""
    if request.scope.get(_KEY) is not _MARK:
        return None
    given = request.headers.get(_NAME_HEADER, "")
    name = "".join(char for char in given[:_LONGEST_NAME] if char.isalnum() or char in "._-@")
    return Actor(kind="cli", name=name or "local", role=Role.ADMIN)
