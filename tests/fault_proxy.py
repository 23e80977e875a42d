"""A TCP proxy that is a bad network: slow, cut, silent, in single bytes; switched by a test while connections run.

It runs in a thread of its own, holds a bounded number of connections and bytes, and ends by itself.

    with fault_proxy(redis.port) as network:
        network.faults.latency_s = 0.1
        ...
        network.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 16 * 1024
PIECES_AHEAD = 64  # read from the target and not passed on yet, per connection
MAX_CONNECTIONS = 512  # further ones wait in the backlog
LIFE_S = 300.0  # a test that hangs must not leave a proxy behind
LOOK_S = 0.01

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset


@dataclass
class Faults:
    """What is wrong with the network; every field may be changed at any moment, from any thread.

    Answers are what the target sends. With everything at its default the network is well.
    """

    latency_s: float = 0.0  # what is read of answers arrives so much later; order and pauses stay
    slice_bytes: int = 0  # answers come in pieces of this size, each in a packet of its own
    bytes_per_s: float = 0.0  # of answers; 0: no limit
    truncate_after: int = -1  # bytes of answers on one connection, then it ends; -1: never
    ends_by_reset: bool = False  # whether that end is a reset (RST) or an ordinary close (FIN)
    silent: bool = False  # nothing passes in either direction, not even a close: half open
    hangs_up: bool = False  # connections are accepted and reset at once


class FaultProxy:
    """See :func:`fault_proxy`.

    Attributes:
        port: where it listens, on loopback.
        faults: what is wrong.
        accepted: connections so far.
        most_open: the most there were at once.
    """

    def __init__(self, target_port: int) -> None:
        self.faults = Faults()
        self.accepted = self.most_open = 0
        self._target_port = target_port
        self._listener = self._bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._accepting: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._cut_by_reset: dict[asyncio.Task[None], bool] = {}
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    @property
    def open(self) -> int:
        """Connections right now."""
        return len(self._open)

    def heal(self) -> None:
        """Nothing is wrong any more."""
        for field in fields(Faults):
            setattr(self.faults, field.name, field.default)

    def cut(self, *, reset: bool = True) -> None:
        """End every connection now, on both sides."""
        self._call(self._cut, reset)

    def refuse(self) -> None:
        """Refuse connections from now on; those that stand are left alone. The port stays taken."""
        self._call(self._stop_listening)

    def listen(self) -> None:
        """Take connections again."""
        self._call(self._start_listening)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self.listen()

    def stop(self) -> None:
        """End everything."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its life ended this very moment
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._listener.close()

    # --- on the loop ---

    def _run(self) -> None:
        loop = self._loop
        loop.call_later(LIFE_S, loop.stop)
        try:
            loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:  # of none, gather would look for a loop this thread does not have
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.close()

    def _call(self, function: object, *arguments: object) -> None:
        done = threading.Event()

        def run() -> None:
            function(*arguments)  # type: ignore[operator]  # one of the methods below
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10), "the fault proxy does not answer"

    def _bound(self, port: int) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.setblocking(False)
        return made

    def _stop_listening(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = self._bound(self.port)  # bound and not listening: refused, and nobody else gets the port

    def _start_listening(self) -> None:
        if self._accepting is None:
            self._listener.listen(MAX_CONNECTIONS)
            self._accepting = self._loop.create_task(self._accept())

    async def _accept(self) -> None:
        while True:
            if len(self._open) >= MAX_CONNECTIONS:
                await asyncio.sleep(LOOK_S)
                continue
            client, _ = await self._loop.sock_accept(self._listener)
            self.accepted += 1
            if self.faults.hangs_up:
                _end(client, reset=True)
                continue
            task = self._loop.create_task(self._carry(client))
            self._open.add(task)
            self.most_open = max(self.most_open, len(self._open))

    def _cut(self, reset: bool) -> None:  # noqa: FBT001 - passed on from ``cut``
        for task in self._open:
            self._cut_by_reset[task] = reset
            task.cancel()

    async def _carry(self, client: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        target = socket.socket()
        target.setblocking(False)
        by_reset = False
        try:
            for end in (client, target):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(target, ("127.0.0.1", self._target_port))
            ahead: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_AHEAD)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(client, target))
                group.create_task(self._read_answers(target, ahead))
                group.create_task(self._answers(ahead, client))
        except* _OverError as over:
            by_reset = any(one.by_reset for one in over.exceptions if isinstance(one, _OverError))
        except* OSError:
            by_reset = True
        finally:
            self._open.discard(task)
            by_reset = self._cut_by_reset.pop(task, by_reset)
            for end in (client, target):
                _end(end, reset=by_reset)

    async def _requests(self, client: socket.socket, target: socket.socket) -> None:
        while data := await self._loop.sock_recv(client, READ_BYTES):
            await self._while_silent()
            await self._loop.sock_sendall(target, data)
        await self._while_silent()
        raise _OverError(by_reset=False)

    async def _read_answers(self, target: socket.socket, ahead: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            data = await self._loop.sock_recv(target, READ_BYTES)
            await ahead.put((self._loop.time(), data))
            if not data:
                return

    async def _answers(self, ahead: asyncio.Queue[tuple[float, bytes]], client: socket.socket) -> None:
        faults, passed = self.faults, 0
        while True:
            read_at, data = await ahead.get()
            if (wait_s := read_at + faults.latency_s - self._loop.time()) > 0:
                await asyncio.sleep(wait_s)
            if not data:
                await self._while_silent()
                raise _OverError(by_reset=False)
            while data:
                await self._while_silent()
                left = len(data) if faults.truncate_after < 0 else max(0, faults.truncate_after - passed)
                piece = data[: min(faults.slice_bytes or len(data), left)]
                if piece:
                    await self._loop.sock_sendall(client, piece)
                    passed += len(piece)
                    data = data[len(piece) :]
                    if faults.bytes_per_s:
                        await asyncio.sleep(len(piece) / faults.bytes_per_s)
                    elif faults.slice_bytes:
                        await asyncio.sleep(0)
                if 0 <= faults.truncate_after <= passed:
                    raise _OverError(by_reset=faults.ends_by_reset)

    async def _while_silent(self) -> None:
        while self.faults.silent:  # noqa: ASYNC110 - it is switched from another thread, by plain assignment
            await asyncio.sleep(LOOK_S)


class _OverError(Exception):
    """One side ended."""

    def __init__(self, *, by_reset: bool) -> None:
        super().__init__()
        self.by_reset = by_reset


def _end(connection: socket.socket, *, reset: bool) -> None:
    with contextlib.suppress(OSError):
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        connection.close()


@contextmanager
def fault_proxy(target_port: int) -> Iterator[FaultProxy]:
    """A proxy to that loopback port, on a port of its own."""
    proxy = FaultProxy(target_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
