"""What a connection costs that was used and now says nothing.

    python -m loadtests.idle_connections [--connections 10000] [--driver lane] [--json FILE]

Opens so many keep-alive connections from two loopback addresses, has one request answered on each, and looks at the
worker's resident memory before and after. Then one in a hundred must still answer. Fails when one was refused, was
closed or answered wrongly, and when each costs more than 24 KiB. All of it must fit into the gateway's keep-alive time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

import uvloop

from loadtests import lab

MAX_KIB = 24.0
SOURCES = ("127.0.0.1", "127.0.0.2")  # each has 28,000 ephemeral ports
AT_ONCE = 100
SPARE_FILES = 512
SETTLE_S = 1.0
EVERY = 100
PATH = "/api/items"
ANSWER_S = 20.0


class Idle(NamedTuple):
    """What was seen."""

    connections: int
    opened: int
    still_answer: int
    asked_again: int
    kib_each: float
    rss_before_mib: float
    rss_after_mib: float
    seconds: float

    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = []
        if self.opened < self.connections:
            found.append(f"{self.connections - self.opened} of {self.connections} were not answered")
        if self.still_answer < self.asked_again:
            found.append(f"{self.asked_again - self.still_answer} of {self.asked_again} did not answer again")
        if self.kib_each > MAX_KIB:
            found.append(f"each costs {self.kib_each:.1f} KiB; {MAX_KIB:.0f} KiB may be")
        return found


class Client(asyncio.Protocol):
    """One connection; ``answered`` is set when an answer has come whole."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.answered = asyncio.Event()
        self.good = False
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no asyncio.Transport by inheritance

    def data_received(self, data: bytes) -> None:
        """Wait for the answer's end, which the upstream's JSON shows."""
        self._got += data
        if self._got.endswith(b"}"):
            self.good = self._got.startswith(b"HTTP/1.1 200")
            self._got = b""
            self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """A closed one answers nothing any more."""
        self.good = False
        self.answered.set()

    async def ask(self, request: bytes) -> bool:
        """One request; whether it was answered well."""
        if self.transport.is_closing():
            return False
        self.answered.clear()
        self.transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self.answered.wait()
        except TimeoutError:
            return False
        return self.good


def allow_files(needed: int) -> None:
    """Raise the bound on open files, which the gateway inherits. Raises lab.StartError when it cannot be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
        except (ValueError, PermissionError) as error:
            raise lab.StartError(
                f"{needed} open files are needed and {hard} allowed; raise it: ulimit -Hn {needed} (as root), "
                f"or take fewer: --connections {max(hard - SPARE_FILES, 1)}"
            ) from error
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def measure(gateway: lab.Process, port: int, count: int) -> Idle:
    """Open, ask, look, ask some again."""
    bearer = f"Authorization: Bearer {lab.token(1)}\r\n"
    request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{bearer}\r\n".encode()
    before = lab.usage(gateway.pid).worker_rss_mib
    began = time.monotonic()
    gate = asyncio.Semaphore(AT_ONCE)
    clients: list[Client] = []

    async def one(number: int) -> bool:
        async with gate:
            try:
                _, client = await asyncio.get_running_loop().create_connection(
                    Client, "127.0.0.1", port, local_addr=(SOURCES[number % len(SOURCES)], 0)
                )
            except OSError:
                return False
            clients.append(client)
            return await client.ask(request)

    opened = sum(await asyncio.gather(*(one(number) for number in range(count))))
    await asyncio.sleep(SETTLE_S)
    after = lab.usage(gateway.pid).worker_rss_mib
    seconds = time.monotonic() - began
    again = clients[::EVERY]
    answers = sum(await asyncio.gather(*(client.ask(request) for client in again)))
    for client in clients:
        client.transport.abort()
    gateway.check()
    return Idle(count, opened, answers, len(again), (after - before) * 1024 / count, before, after, seconds)


def main() -> None:
    """Measure, print, and end with 1 if it is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--driver", choices=("lane", "asgi"), default="lane")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    try:
        lab.need("nginx", "redis-server")
        allow_files(given.connections + SPARE_FILES)
        with lab.Lab() as stage:
            stage.start_surroundings()
            port = lab.free_port()
            gateway = stage.start_gateway(port, DRIVER=given.driver)
            lab.wait_until_serving(gateway, port, PATH)
            seen = uvloop.run(measure(gateway, port, given.connections))
    except (lab.MissingError, lab.StartError) as error:
        sys.exit(f"idle_connections: {error}")
    print("\n".join(f"{name:<16}{figure:>12.1f}" for name, figure in seen._asdict().items()))
    if given.json is not None:
        given.json.write_text(json.dumps(seen._asdict(), indent=1))
    if problems := seen.problems():
        sys.exit(f"idle_connections: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
