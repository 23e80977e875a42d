"""A small HTTP server that receives notifications and behaves as badly as it is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 42\r\nContent-Length: 12\r\n\r\nrate_limited"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service"
GARBAGE = b"\x00\x01\x02 what is this\r\n\r\n"
HANG = b""
RESET = b"reset"
DRIP = b"drip"
ENDLESS = b"endless"


class Received(NamedTuple):
    """One request as it arrived."""

    target: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """``answers`` are given in turn; the last one is given for ever."""

    def __init__(self) -> None:
        self.answers: list[bytes] = [OK]
        self.received: list[Received] = []
        self.port = 0
        self.sent = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, path: str = "/hook/very-secret") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.received.append(Received(head[0].split(" ")[1], headers, body))
            await self._answer(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer == RESET:
            writer.transport.abort()
        elif answer == HANG:
            await reader.read()  # until the other side gives up
        elif answer == DRIP:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not reader.at_eof():
                writer.write(b"X-Slow: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        elif answer == ENDLESS:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            while True:
                writer.write(b"y" * 65536)
                self.sent += 65536
                await writer.drain()
                await asyncio.sleep(0)
        else:
            writer.write(answer)
            await writer.drain()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a loopback port."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in tuple(receiver._writers):
            writer.transport.abort()
        await asyncio.sleep(0)
