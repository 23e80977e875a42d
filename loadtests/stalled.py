"""What a connection costs whose body has come to a standstill: readers that do not read, an upstream that does not.

    python -m loadtests.stalled [--connections 200] [--megabytes 16] [--driver lane] [--json FILE]

Downloads: each client asks for a body and reads nothing. Uploads: each client sends a body that the upstream does not
read. What the gateway holds of each must be windows of flow control, never bodies: the growth of the worker's resident
memory per connection may be twice a window, however large the body is. The window is what the event loop reads at once
(uvloop: 250 KiB), because reading can only be stopped between two reads. The kernel's buffers on loopback take
several megabytes of each by themselves; bodies must be larger for the gateway to be the one who waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from loadtests import lab

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW_KIB = 250.0
MAX_WINDOWS = 2.0
SETTLE_S = 3.0
SOCKET_BYTES = 4096  # of kernel buffers on the client's side: what it holds is not the gateway's
PIECE = bytes(65_536)
PATH = "/body"


class Stalled(NamedTuple):
    """KiB of the worker's memory for each standing connection."""

    connections: int
    megabytes: int
    download_kib: float
    upload_kib: float
    moved_kib: float  # sent by each uploading client before it was held back: kernel buffers and windows together

    def problems(self) -> list[str]:
        """What is not as it should be."""
        bound = WINDOW_KIB * MAX_WINDOWS
        found = []
        for name, kib in (("download", self.download_kib), ("upload", self.upload_kib)):
            if kib > bound:
                found.append(f"a stalled {name} costs {kib:.0f} KiB; {bound:.0f} KiB may be")
        if self.moved_kib >= self.megabytes * 1024:
            found.append("uploads were taken whole though nobody read them; take more --megabytes")
        return found


class Origin(asyncio.Protocol):
    """Answers GET with a body of ``size`` bytes, and reads nothing of a POST's body."""

    size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take little into the kernel, so that it is the gateway who waits."""
        self.transport = cast("asyncio.Transport", transport)
        self.left = 0
        self.writable = True
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)

    def data_received(self, data: bytes) -> None:
        """Heads come whole on loopback."""
        if data.startswith(b"POST"):
            self.transport.pause_reading()
        elif data.startswith(b"GET"):
            length = 2 if b"?small" in data.split(b"\r\n", 1)[0] else self.size
            self.left = length
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            self.pump()

    def pump(self) -> None:
        """Write as long as somebody takes it."""
        while self.left and self.writable and not self.transport.is_closing():
            part = PIECE[: self.left]
            self.left -= len(part)
            self.transport.write(part)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Nobody takes the rest."""
        self.left = 0

    def pause_writing(self) -> None:
        """Hold back."""
        self.writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self.writable = True
        self.pump()


@contextmanager
def serving(size: int) -> Iterator[int]:
    """The origin in a thread; its port."""
    loop = asyncio.new_event_loop()
    kind = type("SizedOrigin", (Origin,), {"size": size})
    server = loop.run_until_complete(loop.create_server(kind, "127.0.0.1", 0, backlog=1024))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        server.close()
        loop.close()


def connected(port: int) -> socket.socket:
    """A client whose kernel buffers little."""
    client = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        client.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    return client


def head(method: str, length: int) -> bytes:
    """A request's head."""
    fields = f"Host: x\r\nAuthorization: Bearer {lab.token(1)}\r\nContent-Length: {length}\r\n"
    return f"{method} {PATH} HTTP/1.1\r\n{fields}\r\n".encode()


async def downloads(port: int, count: int) -> list[socket.socket]:
    """So many clients that ask and do not read."""
    clients = [connected(port) for _ in range(count)]
    for client in clients:
        client.sendall(head("GET", 0))
        await asyncio.sleep(0)
    await asyncio.sleep(SETTLE_S)
    return clients


async def uploads(port: int, count: int, size: int) -> tuple[list[socket.socket], int]:
    """So many clients that send as much as is taken; and how many bytes were, of all."""
    loop = asyncio.get_running_loop()
    clients = [connected(port) for _ in range(count)]
    sent = [0] * count

    async def one(number: int) -> None:
        client = clients[number]
        client.setblocking(False)
        with suppress(OSError):
            await loop.sock_sendall(client, head("POST", size))
            while sent[number] < size:
                part = memoryview(PIECE)[: min(4096, size - sent[number])]
                await loop.sock_sendall(client, part)
                sent[number] += len(part)

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await asyncio.sleep(SETTLE_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return clients, sum(sent)


def measure(stage: lab.Lab, count: int, megabytes: int, driver: str) -> Stalled:
    """Both, each with a gateway of its own: what one left must not be counted, or reused, by the other."""
    size = megabytes * 2**20
    grown = {}
    moved = 0
    with serving(size) as origin:
        for kind in ("download", "upload"):
            port = lab.free_port()
            url = f"http://127.0.0.1:{origin}"
            gateway = stage.start_gateway(port, DRIVER=driver, UPSTREAM_URL=url, UPSTREAM_CONNECTIONS=str(2 * count))
            lab.wait_until_serving(gateway, port, f"{PATH}?small")
            before = lab.usage(gateway.pid).worker_rss_mib
            if kind == "download":
                clients = asyncio.run(downloads(port, count))
            else:
                clients, moved = asyncio.run(uploads(port, count, size))
            after = lab.usage(gateway.pid).worker_rss_mib
            gateway.check()
            grown[kind] = (after - before) * 1024 / count
            for client in clients:
                client.close()
            gateway.end()
    return Stalled(count, megabytes, grown["download"], grown["upload"], moved / count / 1024)


def main() -> None:
    """Measure, print, and end with 1 if bodies are held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=16)
    parser.add_argument("--driver", choices=("lane", "asgi"), default="lane")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    try:
        lab.need("nginx", "redis-server")
        with lab.Lab() as stage:
            stage.start_surroundings()
            seen = measure(stage, given.connections, given.megabytes, given.driver)
    except (lab.MissingError, lab.StartError) as error:
        sys.exit(f"stalled: {error}")
    print("\n".join(f"{name:<16}{figure:>12.1f}" for name, figure in seen._asdict().items()))
    if given.json is not None:
        given.json.write_text(json.dumps(seen._asdict(), indent=1))
    if problems := seen.problems():
        sys.exit(f"stalled: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
