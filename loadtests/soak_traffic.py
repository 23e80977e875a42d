"""Mixed traffic that counts what it is owed a record for."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from loadtests import lab

if TYPE_CHECKING:
    import random

SUBJECTS = 200
UPLOAD = bytes(100_000)
ANSWER_S = 20.0
PAUSE_S = 0.02
# What the gateway may answer when clients, limits and the origin are as they are. 500 is not among them.
EXPECTED = frozenset({200, 401, 404, 429, 502, 503, 504})


class Traffic:
    """``owed``: requests that certainly have a record; ``perhaps``: those that broke before a byte came back."""

    def __init__(self, port: int, draw: random.Random) -> None:
        self.statuses: Counter[str] = Counter()
        self.owed = 0
        self.perhaps = 0
        self._port = port
        self._draw = draw
        self._tokens = [lab.token(number) for number in range(SUBJECTS)]
        self._stopping = False

    def stop(self) -> None:
        """Let everybody finish the request they are at."""
        self._stopping = True

    @property
    def unexpected(self) -> dict[str, int]:
        """Answers that should not come, and how many."""
        known = {str(status) for status in EXPECTED} | {"left", "broken"}
        return {status: count for status, count in self.statuses.items() if status not in known}

    async def run(self, clients: int) -> None:
        """So many clients until stopped."""
        await asyncio.gather(*(self._client() for _ in range(clients)))

    async def _client(self) -> None:
        reader = writer = None
        while not self._stopping:
            await asyncio.sleep(self._draw.uniform(0, 2 * PAUSE_S))
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self.statuses["broken"] += 1
                await asyncio.sleep(0.2)
                continue
            if not await self._one(reader, writer):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                reader = writer = None
        if writer is not None:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether its connection may be used again."""
        leaves = self._draw.random() < 0.05  # noqa: PLR2004 - one in twenty leaves in the middle of its answer
        began = False
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(self._request())
                await writer.drain()
                line = await reader.readline()
                if not line:
                    raise ConnectionError("closed without an answer")
                began = True
                self.owed += 1
                if leaves:
                    self.statuses["left"] += 1
                    return False
                self.statuses[line.split(b" ", 2)[1].decode("latin-1")] += 1
                return await self._rest(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, IndexError):
            if not began:
                self.perhaps += 1
            self.statuses["broken"] += 1
            return False

    async def _rest(self, reader: asyncio.StreamReader) -> bool:
        length, close, chunked = 0, False, False
        while (line := await reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
            close = close or (name == b"connection" and b"close" in value)
            chunked = chunked or name == b"transfer-encoding"
        await reader.readexactly(length)
        return not close and not chunked

    def _request(self) -> bytes:
        token = self._draw.choice(self._tokens) if self._draw.random() < 0.95 else "not.a.token"  # noqa: PLR2004 - some are bad
        what = self._draw.choices(
            (
                ("GET", "/api/items", b""),
                ("GET", "/api/large", b""),
                ("POST", "/api/orders", UPLOAD),
                ("GET", "/no", b""),
            ),
            (80, 8, 8, 4),
        )[0]
        method, path, body = what
        head = (
            f"{method} {path}/{self._draw.randrange(10**6)} HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
