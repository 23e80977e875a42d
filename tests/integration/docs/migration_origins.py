"""What stands behind a gateway when a service as such will not do: one that is slow, raw, silent, or behind TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests import running
from tests.integration.edge.websocket_world import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Authority
    from tests.integration.docs.migration_world import Services
    from tests.integration.edge.edge_world import Wire


@contextmanager
def raw_origin(services: Services) -> Iterator[Origin]:
    """10.0.0.5 as a service of which tests decide every byte."""
    origin = Origin()
    services.lead("10.0.0.5:9000", f"127.0.0.1:{origin.port}")
    try:
        yield origin
    finally:
        origin.clear()


@contextmanager
def held(*origins: running.Origin) -> Iterator[None]:
    """Services that answer nothing until the end."""
    leave = threading.Event()
    for origin in origins:
        origin.answer = lambda *_: (200 if leave.wait(10) else 500, b"")
    try:
        yield
    finally:
        leave.set()


@contextmanager
def tls_origin(services: Services, authority: Authority, *names: str, asks: bool = False) -> Iterator[list[Any]]:
    """10.0.0.5:9443; gives the names that clients asked for by SNI."""
    asked: list[Any] = []
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*authority.files("orders", ("CN", "orders"), dns=names))
    made.sni_callback = lambda _socket, name, _context: asked.append(name)
    if asks:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(str(services.authority.file))
    with running.origin() as origin:
        origin.socket = made.wrap_socket(origin.socket, server_side=True)
        services.lead("10.0.0.5:9443", f"127.0.0.1:{origin.port}")
        yield asked


@contextmanager
def unreachable_origin(services: Services) -> Iterator[None]:
    """10.0.0.5 as an address where a connection neither comes about nor is refused."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for taken in (first, second):  # the backlog is full now, and the system answers nobody else
            taken.setblocking(False)
            taken.connect_ex(full.getsockname())
        services.lead("10.0.0.5:9000", f"127.0.0.1:{full.getsockname()[1]}")
        yield


def send_until_refused(client: Wire, size: int) -> None:
    """A body, or as much of it as is taken."""
    try:
        client.send(b"x" * size)
    except OSError:
        return


def client_context(services: Services, *shown: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(services.authority.file))
    if shown:
        made.load_cert_chain(*shown)
    return made
