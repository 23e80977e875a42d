"""How a client's connection stops being HTTP: the part of the server's protocol class that WebSockets need.

A handshake is a request to the ASGI application, which finds ``sentinel.websocket`` in its scope: by calling that it
takes the connection over. Bytes behind a handshake are never parsed. They belong to the WebSocket, or, where it is
refused, to nobody, and the connection is closed after the answer: no request can hide behind an upgrade.

Any other upgrade is ignored, as RFC 9110 section 7.8 allows, and what follows is the next request. Not with a body,
though: httptools takes none from a request with an upgrade, so its bytes would be read as requests.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.edge.websocket_handshake import asks_for_websocket

if TYPE_CHECKING:
    from gateway.edge.server_cycle import Cycle
    from gateway.edge.websocket_tunnel import Tunnel


_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class UpgradingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with upgrades of our own."""

    _behind: bytes | None = None  # what came behind a handshake, None until there was one
    _stops = False

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        while data and not self._keeps(data):
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("")
                return
            else:
                return

    def shutdown(self) -> None:
        """The server stops."""
        self._stops = True
        super().shutdown()

    def offer(self, scope: dict[str, Any], cycle: Cycle) -> None:
        """A request with an upgrade: if it is to WebSocket, the application may have the connection."""
        is_handshake = asks_for_websocket(self.headers)
        if not is_handshake and scope["method"] != "CONNECT" and not any(name in _FRAMING for name, _ in self.headers):
            return
        self._behind = b""
        cycle.keep_alive = False
        if is_handshake:
            scope["sentinel.websocket"] = partial(self._give, cycle)

    def unread(self) -> bytes:
        """What has come behind the handshake."""
        behind, self._behind = self._behind or b"", b""
        return behind

    def let_go(self) -> None:
        """The connection is no longer this object's: watch it no more."""
        self.parser = None  # type: ignore[assignment]  # as uvicorn does when a connection is lost

    def _keeps(self, data: bytes) -> bool:
        """Whether bytes are behind a handshake, and if so keep them."""
        if self._behind is None:
            return False
        self._behind += data
        return True

    def _give(self, cycle: Cycle, tunnel: Tunnel) -> bytes | None:
        """Make ``tunnel`` the connection's; what came behind the handshake, or None when the client has left."""
        transport, connections = self.transport, self.connections
        if transport.is_closing() or cycle.disconnected:
            return None
        cycle.switched()
        self.let_go()
        connections.discard(self)
        connections.add(tunnel)  # type: ignore[arg-type]  # it has what the server asks of one: shutdown()
        tunnel.on_closed = partial(connections.discard, tunnel)
        tunnel.drain_s = float(self.config.timeout_graceful_shutdown or 0)
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)
        if self.flow.write_paused:  # of an answer before it
            tunnel.pause_writing()
        if self._stops:
            tunnel.shutdown()
        behind = self.unread()
        self.flow.resume_reading()
        return behind
