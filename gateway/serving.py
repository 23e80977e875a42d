"""How a process of ours serves ASGI: uvicorn without its own idea of signals, stopped by SIGTERM or a lost parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from math import ceil
from typing import TYPE_CHECKING, Any

import uvicorn

from gateway import logs

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Iterator
    from contextlib import AsyncExitStack
    from pathlib import Path

DRAIN_S = 10  # what is under way when the process is told to stop may take this long
KEEP_ALIVE_S = 65  # longer than the usual load balancer's minute, so that it is the one who closes
LOOK_S = 1.0


class Server(uvicorn.Server):
    """uvicorn that leaves signals to the process; see :func:`serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server(app: Any, *, http: Any = "httptools", drain_s: float = DRAIN_S) -> Server:
    """A server for one application: no access log, no headers of its own, no trust in forwarded ones."""
    return Server(
        uvicorn.Config(
            app,
            loop="none",  # the process has made its own
            http=http,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, ceil(drain_s)),
        )
    )


def told_to_stop() -> asyncio.Event:
    """Set by SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    return stopping


async def serve(serving: Server, listener: socket.socket, stopping: asyncio.Event) -> None:
    """Serve until ``stopping`` is set, then finish what is under way."""

    async def stop() -> None:
        await stopping.wait()
        serving.should_exit = True

    stopper = asyncio.create_task(stop())
    try:
        await serving.serve(sockets=[listener])
    finally:
        stopper.cancel()


async def watch_parent(parent: int | None, stopping: asyncio.Event) -> None:
    """Stop when the parent that started this process is gone: nobody would restart or stop it any more.

    ``parent`` is the pid it told us. Asked for here, it would be the one that adopts orphans if the parent had died
    while this process was still being started. None: nobody started it but a person, who may leave.
    """
    if parent is None:
        return
    ended = asyncio.Event()
    with _death_of(parent, ended):
        while not stopping.is_set():
            if ended.is_set() or not has_parent(parent):
                stopping.set()
                logs.get("app").warning("process.orphaned")
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_S)


def has_parent(parent: int | None) -> bool:
    """Whether the process that started this one, by the pid it told us, still lives."""
    return parent is None or os.getppid() == parent


@contextlib.contextmanager
def _death_of(pid: int, ended: asyncio.Event) -> Iterator[None]:
    """Meanwhile set ``ended`` as soon as that process ends, where the system can tell (Linux 5.3 and later).

    Whoever looks at the parent's pid afterwards knows that it was not somebody else's yet when it was opened here.
    """
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # another system, or one that forbids it, or it is gone already
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ended.set)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        os.close(fd)


class LiveWorkers:
    """How many workers share this node's limits; the supervisor keeps the count in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 1

    def __call__(self) -> int:
        """The count as of the last look."""
        return self._count

    async def follow(self) -> None:
        """Look at the file once a second until cancelled."""
        while True:
            with contextlib.suppress(OSError, ValueError):
                self._count = max(1, int(self._path.read_text()))
            await asyncio.sleep(LOOK_S)


def in_background(stack: AsyncExitStack, *coroutines: Coroutine[Any, Any, None]) -> None:
    """Run these beside everything else; they are cancelled when the stack closes, and a crash is logged."""
    for coroutine in coroutines:
        task = asyncio.create_task(coroutine, name=getattr(coroutine, "__qualname__", "background"))
        task.add_done_callback(_log_crash)
        stack.push_async_callback(_cancel, task)


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logs.get("app").error("task.crashed", task=task.get_name(), exc_info=error)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
