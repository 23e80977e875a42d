"""Whether open WebSockets outlive a change of the configuration, and what each of them costs in memory.

    python -m loadtests.websockets [--connections 1000] [--driver lane] [--json FILE]

Starts `sentinel serve` with one worker before an echo server (uvicorn with wsproto, in this process), opens the
connections, has each of them echo, rewrites the configuration so that route and upstream are other ones, and has each
of them echo again. Prints the worker's resident memory per connection. Fails when one was dropped or answered wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.request import urlopen

import uvicorn
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from loadtests import lab

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 20.0
AT_ONCE = 64  # handshakes under way

CONFIG = """
[server]
port = {port}
run_dir = "{folder}/run"
driver = "{driver}"

[admin]
bind = "127.0.0.1:{admin_port}"

[store]
url = "sqlite:///{folder}/run/sentinel.db"

[[upstreams]]
name = "{name}"
targets = ["http://127.0.0.1:{upstream_port}"]
max_connections = 4096

[[routes]]
name = "{name}"
match = {{ path = "/{name}/*" }}
upstream = "{name}"
"""


class RefusedError(Exception):
    """A handshake was answered with something else than 101; ``status`` is what with."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake was answered {status}")
        self.status = status


class Client:
    """A WebSocket of wsproto over asyncio's streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._parts: list[str] = []

    @classmethod
    async def open(cls, port: int, path: str) -> Self:
        """Shake hands. Raises RefusedError."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client._send(Request(host=f"127.0.0.1:{port}", target=path))
        event = await client._event()
        if isinstance(event, RejectConnection):
            await client._end()
            raise RefusedError(event.status_code)
        if not isinstance(event, AcceptConnection):
            raise TypeError(f"a handshake ends in an answer, not in {event!r}")
        return client

    async def ask(self, text: str) -> str:
        """Send a message; the next one that comes."""
        self._send(Message(data=text))
        return await self.message()

    async def message(self) -> str:
        """The next message. Raises ConnectionError when the WebSocket is closed."""
        while True:
            event = await self._event()
            if isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                raise ConnectionError(f"closed with {event.code}")
            elif isinstance(event, TextMessage):
                self._parts.append(event.data)
                if event.message_finished:
                    text, self._parts = "".join(self._parts), []
                    return text

    async def closed_with(self) -> int:
        """Answer pings until the other side closes, and that; its code, 1006 when it just left."""
        while True:
            event = await self._event()
            if isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                if event.code != 1006:  # noqa: PLR2004 - RFC 6455: no close frame at all
                    self._send(event.response())
                    await self._reader.read()
                await self._end()
                return int(event.code)

    async def close(self, code: int = 1000) -> None:
        """Close in order."""
        self._send(CloseConnection(code=code))
        while not isinstance(await self._event(), CloseConnection):
            pass
        await self._end()

    async def _end(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Leave without a word."""
        self._writer.transport.abort()

    def _send(self, event: Event) -> None:
        self._writer.write(self._protocol.send(event))

    async def _event(self) -> Event:
        async with asyncio.timeout(WAIT_S):
            while True:
                for event in self._protocol.events():
                    return event
                data = await self._reader.read(65536)
                self._protocol.receive_data(data or None)


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that sends every message back."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


@contextmanager
def serving(app: Any = echo) -> Iterator[int]:
    """Serve in a thread, by uvicorn with wsproto; its port."""
    server = uvicorn.Server(
        uvicorn.Config(app, ws="wsproto", lifespan="off", log_level="critical", ws_ping_interval=None)
    )
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


async def open_many(port: int, path: str, count: int) -> list[Client]:
    """So many WebSockets, a few at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Client:
        async with gate:
            return await Client.open(port, path)

    return await asyncio.gather(*(one() for _ in range(count)))


async def all_answer(clients: list[Client], text: str) -> int:
    """How many of them echo as they should."""

    async def answers(number: int, client: Client) -> bool:
        try:
            return await client.ask(f"{text} {number}") == f"{text} {number}"
        except (OSError, TimeoutError):
            return False

    return sum(await asyncio.gather(*(answers(*each) for each in enumerate(clients))))


class Outcome(NamedTuple):
    """What was seen."""

    connections: int
    alive_before: int
    alive_after: int
    kib_each: float
    kib_each_after: float


async def measure(gateway: lab.Process, files: tuple[Path, str], port: int, count: int) -> Outcome:
    """Open, echo, change the configuration, echo again."""
    path, changed = files
    idle = lab.usage(gateway.pid).worker_rss_mib
    clients = await open_many(port, "/before/live", count)
    before = await all_answer(clients, "before")
    full = lab.usage(gateway.pid).worker_rss_mib
    path.write_text(changed)
    os.kill(gateway.pid, signal.SIGHUP)
    await in_force(port, "/after/live")
    after = await all_answer(clients, "after")
    later = lab.usage(gateway.pid).worker_rss_mib
    for client in clients:
        client.abort()
    gateway.check()
    return Outcome(count, before, after, (full - idle) * 1024 / count, (later - idle) * 1024 / count)


async def in_force(port: int, path: str) -> None:
    """Wait until the route is there."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await (await Client.open(port, path)).close()
            except RefusedError:
                await asyncio.sleep(0.05)
            else:
                return


def wait_until_ready(gateway: lab.Process, admin_port: int) -> None:
    """Wait for control, which is ready when the worker is."""
    deadline = time.monotonic() + 2 * WAIT_S
    while True:
        gateway.check()
        try:
            with urlopen(f"http://127.0.0.1:{admin_port}/health/ready", timeout=2) as answer:
                if answer.status == 200:  # noqa: PLR2004 - OK
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise lab.StartError("the gateway did not become ready") from None
        time.sleep(0.1)


def main() -> None:
    """Measure, print, and end with 1 if one was dropped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--driver", choices=("lane", "asgi"), default="lane")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    try:
        with lab.Lab() as stage, serving() as upstream_port:
            port, admin_port = lab.free_port(), lab.free_port()
            values = {"port": port, "admin_port": admin_port, "folder": stage.folder, "driver": given.driver}
            values["upstream_port"] = upstream_port
            path = stage.folder / "sentinel.toml"
            path.write_text(CONFIG.format(name="before", **values))
            gateway = stage.start("gateway", [sys.executable, "-m", "gateway", "serve", "--config", path])
            wait_until_ready(gateway, admin_port)
            files = (path, CONFIG.format(name="after", **values))
            seen = asyncio.run(measure(gateway, files, port, given.connections))
    except lab.StartError as error:
        sys.exit(f"websockets: {error}")
    print("\n".join(f"{name:<16}{figure:>12.1f}" for name, figure in seen._asdict().items()))
    if given.json is not None:
        given.json.write_text(json.dumps(seen._asdict(), indent=1))
    if min(seen.alive_before, seen.alive_after) < seen.connections:
        sys.exit("websockets: some were dropped")


if __name__ == "__main__":
    main()
