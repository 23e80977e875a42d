"""The service behind a soak: answers, and breaks in the ways services break, as it is told.

Faults: ``none``; ``error`` (503); ``slow`` (half a second); ``torn`` (half an answer); ``mute`` (closes without one);
``silent`` (says nothing at all); ``refuse`` (nobody listens).
"""

from __future__ import annotations

import asyncio
import threading
from typing import Self

FAULTS = ("none", "error", "none", "slow", "torn", "none", "mute", "silent", "refuse")
SLOW_S = 0.5
SMALL = b'{"state": "paid"}'
LARGE = bytes(300_000)


class Origin:
    """Use as a context manager: it runs in a thread. ``fault`` may be set from anywhere."""

    def __init__(self) -> None:
        self.port = 0
        self.answered = 0
        self._fault = "none"
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def become(self, fault: str) -> None:
        """From now on, break like this."""
        listening = self._fault != "refuse"
        self._fault = fault
        if fault == "refuse" and listening:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        elif fault != "refuse" and not listening:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a server runs in one
        self._connections.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may serve another one."""
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                await reader.readexactly(int(value))
        fault = self._fault
        if fault == "mute":
            return False
        if fault == "silent":
            await asyncio.sleep(30)
            return False
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        body = LARGE if b"/large" in head.split(b"\r\n", 1)[0] else SMALL
        status = b"503 Service Unavailable" if fault == "error" else b"200 OK"
        answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n%b" % (status, len(body), body)
        writer.write(answer[: len(answer) // 2] if fault == "torn" else answer)
        await writer.drain()
        self.answered += 1
        return fault != "torn"
