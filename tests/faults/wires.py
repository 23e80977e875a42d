"""Gateways whose clients and upstreams are raw sockets, so that a test decides about every byte and every close.

Each upstream of the configuration has an :class:`~tests.integration.edge.websocket_world.Origin` of its own, and tests
take their own upstream each: what one leaves behind is not met by the next.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests import running
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.integration.edge.edge_world import Wire
from tests.integration.edge.websocket_world import Origin, ServerWire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

DRIVERS = ["asgi", "lane"]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine"

_AT_ONCE = struct.pack("ii", 1, 0)

# Records are to be seen at once: what is tested is what stands in them, not how long they are gathered.
_PROMPT = """
if ROLE == "edge":
    from gateway.collect import spool
    spool.FLUSH_S = 0.02
elif ROLE == "control":
    from gateway.collect import ship
    ship.POLL_S = 0.02
    ship.Shipper.__init__.__kwdefaults__["ship_s"] = 0.02
"""


def site(folder: Path, code: str) -> dict[str, str]:
    """Environment by which every process of a gateway runs ``code`` before anything of ours: how a test reaches into
    the running program. ``ROLE`` is what the process is: "edge", "control" or ""."""
    place = folder / "site"
    place.mkdir()
    role = 'import sys\nROLE = next((one for one in ("edge", "control") if one in sys.orig_argv), "")\n'
    (place / "sitecustomize.py").write_text(role + code)
    return {"PYTHONPATH": os.pathsep.join((str(place), *filter(None, [os.environ.get("PYTHONPATH")])))}


class Place:
    """A running gateway and what is around it."""

    def __init__(
        self, gateway: running.Gateway, origins: dict[str, Origin], networks: dict[str, FaultProxy], driver: str
    ) -> None:
        self.gateway = gateway
        self.origins = origins
        self.networks = networks
        self.driver = driver
        self.wires: list[Wire] = []

    @property
    def port(self) -> int:
        return self.gateway.port

    def wire(self) -> Wire:
        """A client's connection."""
        wire = Wire(self.port)
        self.wires.append(wire)
        return wire

    def ask(self, path: str, *, method: str = "GET", fields: str = "", body: bytes = b"") -> Wire:
        """Send a request on a connection of its own."""
        wire = self.wire()
        if body:
            fields += f"content-length: {len(body)}\r\n"
        wire.send(f"{method} {path} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n".encode() + body)
        return wire

    def status(self, path: str, **asking: Any) -> int:
        """What a whole request is answered with."""
        wire = self.ask(path, **asking)
        status, _, _ = wire.answer()
        wire.close()
        return status

    def serve(self, name: str, answer: bytes = OK) -> ServerWire:
        """Take the next connection of that upstream, read a request and answer it."""
        upstream = self.origins[name].connection()
        upstream.request()
        upstream.send(answer)
        return upstream

    def works(self, path: str, name: str) -> None:
        """A request comes through: nothing is left of what was before."""
        wire = self.ask(path)
        self.serve(name)
        status, _, body = wire.answer()
        assert (status, body) == (200, b"fine")
        wire.close()

    def record(self, path: str) -> dict[str, Any]:
        """The one record of that path."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [record for record in self.gateway.records() if record["path"] == path]
            return bool(found)

        self.gateway.wait(there, 10, f"{path} is recorded")
        assert len(found) == 1, found
        return found[0]

    def clear(self) -> None:
        for wire in self.wires:
            wire.close()
        self.wires.clear()


@contextmanager
def place(
    folder: Path,
    driver: str,
    upstreams: Mapping[str, str],
    *,
    behind: Sequence[str] = (),
    server: str = "",
    routes: Mapping[str, str] | None = None,
    more: str = "",
    before: str = "",
    **environ: str,
) -> Iterator[Place]:
    """A gateway with these upstreams (name → further keys) and a route of the same name to each (``routes``: further
    keys). In ``upstreams`` TARGET_NAME stands for where that upstream's origin listens, which is its only target unless
    it names others; those in ``behind`` are behind a bad network. ``before`` runs in each process: see :func:`site`."""
    origins = {name: Origin() for name in upstreams}
    with contextlib.ExitStack() as stack:
        for origin in origins.values():
            stack.callback(origin.clear)
        networks = {name: stack.enter_context(fault_proxy(origins[name].port)) for name in behind}
        ports = {name: (networks.get(name) or origin).port for name, origin in origins.items()}
        text = _config(driver, upstreams, ports, server, routes or {})
        environ |= site(folder, _PROMPT + before)
        with running.gateway(folder, text + more, **environ) as gateway:
            made = Place(gateway, origins, networks, driver)
            try:
                yield made
            finally:
                made.clear()
            log = gateway.log.read_text()
            assert "Traceback" not in log, log[-6000:]
            assert "exchange.crashed" not in log, log[-6000:]


def _config(
    driver: str, upstreams: Mapping[str, str], ports: Mapping[str, int], server: str, routes: Mapping[str, str]
) -> str:
    text = f"""
[server]
port = PORT
run_dir = "RUN"
driver = "{driver}"
{server}

[admin]
bind = "127.0.0.1:ADMIN"

[store]
url = "sqlite:///RUN/sentinel.db"
"""
    for name, keys in upstreams.items():
        targets = "" if "targets" in keys else f'targets = ["http://127.0.0.1:{ports[name]}"]'
        further = keys
        for other, port in ports.items():
            further = further.replace(f"TARGET_{other.upper()}", f"127.0.0.1:{port}")
        text += f"""
[[upstreams]]
name = "{name}"
{targets}
{further}

[[routes]]
name = "{name}"
match = {{ path = "/{name}/*" }}
upstream = "{name}"
{routes.get(name, "")}
"""
    return text


def rest(wire: Wire, within_s: float = 5.0) -> tuple[bytes, str]:
    """What comes until the connection ends, and how it ends: "closed" in order, or "reset"."""
    wire.socket.settimeout(within_s)
    data = bytearray(wire.rest)
    end = "closed"
    try:
        while chunk := wire.socket.recv(65536):
            data += chunk
    except ConnectionResetError:
        end = "reset"
    wire.socket.close()
    return bytes(data), end


def is_over(wire: Wire, within_s: float) -> bool:
    """Whether the other side ends the connection within that time, whatever it sends before."""
    deadline = time.monotonic() + within_s
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            wire.socket.settimeout(left_s)
            if not wire.socket.recv(65536):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False


def reset(wire: Wire) -> None:
    """Leave by RST."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    wire.socket.close()


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port that neither takes connections nor refuses them."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):  # more than the kernel keeps in such a backlog
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
        yield port


def until(true: Callable[[], object], within_s: float, what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(0.01)
