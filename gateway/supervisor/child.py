"""One child to keep alive: started again when it dies, replaced without a gap when that is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEALTHY_AFTER_S = 5.0  # a child that served for this long had a good start
READY_S = 30.0  # a replacement that has not said so by then never will
GIVE_UP_AFTER = 5  # bad starts in a row of a child that never had a good one
MAX_BACKOFF_S = 30.0
UNUSABLE = 78  # EX_CONFIG of sysexits.h: a child says that starting it again cannot help

log = logs.get("supervisor")


class Process:
    """One life of a child. ``ready`` is done when it says that it serves, or when it ends."""

    def __init__(self, process: asyncio.subprocess.Process, ready_fd: int) -> None:
        self.pid = process.pid
        self.started_at = time.time()
        self.begun_at = time.monotonic()
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self._process = process
        self._ready_fd = ready_fd
        loop.add_reader(ready_fd, self._on_ready)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Its exit code, once it ends."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _on_ready(self) -> None:
        said = os.read(self._ready_fd, 1)
        asyncio.get_running_loop().remove_reader(self._ready_fd)
        os.close(self._ready_fd)
        if not self.ready.done():
            self.ready.set_result(bool(said))


class Child:
    """A named place for one process at a time, two while one replaces the other.

    Args:
        name: as people see it, ``worker 1``.
        arguments: of the interpreter; ``--ready-fd N`` and ``--parent PID`` are added.
        fds: descriptors it inherits.
        environ: its environment.
        on_change: called whenever a process began or ended.
    """

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        fds: tuple[int, ...],
        environ: Mapping[str, str],
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.process: Process | None = None
        self.failure = ""  # why it is of no use to start it again
        self.task: asyncio.Task[None] | None = None
        self._arguments = arguments
        self._fds = fds
        self._environ = environ
        self._on_change = on_change
        self._leaving: set[Process] = set()
        self._bad_starts = 0
        self._proven = False

    @property
    def processes(self) -> tuple[Process, ...]:
        """Those that live: usually one."""
        all_of_them = (*self._leaving, self.process)
        return tuple(process for process in all_of_them if process is not None and process.alive)

    async def keep_alive(self, stopping: asyncio.Event) -> None:
        """Start it, and again whenever it dies, until ``stopping`` is set or it is hopeless (:attr:`failure`)."""
        while not stopping.is_set():
            process = self.process = await self._start()
            if stopping.is_set():  # while it was being started: whoever ends the others has not seen it
                process.send(signal.SIGTERM)
            process.ready.add_done_callback(partial(self._on_ready, process))
            code = await process.wait()
            while self.process is not process:  # replaced meanwhile: the new one is watched now
                process = self.process
                code = await process.wait()
            self._on_change()
            if not stopping.is_set():
                await self._after_death(code, process, stopping)
                if self.failure:
                    return

    async def replace(self, drain_s: float) -> str:
        """Start another process, and once it serves end the old one, which finishes what it carries.

        Returns:
            Nothing, or why the old process was kept.
        """
        old, new = self.process, await self._start()
        self._leaving.add(new)  # counted as alive, and ended with us if we are stopped now
        try:
            async with asyncio.timeout(READY_S):
                ready = await new.ready
        except TimeoutError:
            ready = False
        if not ready:
            new.send(signal.SIGKILL)
            code = await new.wait()
            self._leaving.discard(new)
            self._on_change()
            return f"the new {self.name} did not begin to serve (exit code {code})"
        self._leaving.discard(new)
        self.process = new
        if old is not None:
            self._leaving.add(old)
            await end(old, drain_s)
            self._leaving.discard(old)
        self._on_change()
        return ""

    async def restart(self, drain_s: float) -> None:
        """End the process and start another at once, for a child of which there cannot be two."""
        if self.process is not None:
            self._bad_starts = -1  # its end is no bad start
            await end(self.process, drain_s)

    async def _start(self) -> Process:
        ready_fd, said_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                "--ready-fd",
                str(said_fd),
                "--parent",
                str(os.getpid()),
                pass_fds=(*self._fds, said_fd),
                env=dict(self._environ),
                stdin=asyncio.subprocess.DEVNULL,
            )
        finally:
            os.close(said_fd)
        started = Process(process, ready_fd)
        log.info("child.started", child=self.name, pid=started.pid)
        asyncio.get_running_loop().call_soon(self._on_change)
        return started

    def _on_ready(self, process: Process, ready: asyncio.Future[bool]) -> None:
        """It serves; merely to have lived long proves nothing, since a start that fails may take long, too."""
        if not ready.cancelled() and ready.result():
            asyncio.get_running_loop().call_later(HEALTHY_AFTER_S, self._prove, process)

    def _prove(self, process: Process) -> None:
        if process.alive:
            self._proven = True
            self._bad_starts = 0

    async def _after_death(self, code: int, process: Process, stopping: asyncio.Event) -> None:
        self._bad_starts += 1
        if self._bad_starts == 0:
            return
        lived_s = round(time.monotonic() - process.begun_at, 1)
        log.error("child.died", child=self.name, code=code, lived_s=lived_s)
        if not self._proven and (code == UNUSABLE or self._bad_starts >= GIVE_UP_AFTER):
            self.failure = f"{self.name} ended right after its start (exit code {code}, {self._bad_starts} tries)"
            stopping.set()
            return
        delay = min(MAX_BACKOFF_S, 0.2 * 2 ** (self._bad_starts - 1))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), delay)


async def end(process: Process, drain_s: float) -> None:
    """SIGTERM; SIGKILL for one that is not done after ``drain_s``."""
    process.send(signal.SIGTERM)
    try:
        async with asyncio.timeout(drain_s):
            await process.wait()
    except TimeoutError:
        log.warning("child.killed", pid=process.pid, after_s=drain_s)
        process.send(signal.SIGKILL)
        await process.wait()
