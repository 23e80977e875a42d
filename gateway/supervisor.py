"""The process that owns the sockets and keeps the others alive: n workers and one control process.

It binds the data port and the admin port itself and hands them down, so that a restarted child loses no connection that
waits in the backlog. It never parses a request and imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import setproctitle

from gateway import logs
from gateway.errors import SentinelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.run_folder import RunFolder

HEALTHY_AFTER_S = 5.0  # a child that lived this long had a good start
GIVE_UP_AFTER = 5  # bad starts in a row of a child that never had a good one
MAX_BACKOFF_S = 30.0
UNUSABLE = 78  # EX_CONFIG of sysexits.h: a child says that starting it again cannot help
DRAIN_S = 15.0  # workers finish what they carry within this, control ships the rest within as long again


class ServeError(SentinelError):
    """The service cannot start; the message says why and the remedy how to mend it."""


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What to run and where."""

    folder: RunFolder
    config_path: str
    host: str
    port: int
    workers: int
    admin: tuple[str, int] | None  # None: shared with the data port
    environ: Mapping[str, str]  # of the children
    announce: Sequence[str] = ()  # lines for people once everything listens


@dataclass(slots=True)
class Child:
    """One process to keep alive, and how its starts went."""

    name: str
    arguments: tuple[str, ...]
    fds: tuple[int, ...]
    process: asyncio.subprocess.Process | None = None
    bad_starts: int = 0
    proven: bool = False
    started_at: float = 0.0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


def lock(folder: RunFolder) -> int:
    """Take the run folder for this node, or say who should have it.

    Raises:
        ServeError: another supervisor holds it.
    """
    folder.make()
    fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise ServeError(
            f"{folder.path} is in use by another SentinelStack",
            remedy="stop the other one, or give this one a folder of its own: [server] run_dir",
        ) from error
    return fd


def listen(host: str, port: int, *, what: str) -> socket.socket:
    """A listening TCP socket that children inherit.

    Raises:
        ServeError: the address is taken or not ours; names the setting to change.
    """
    setting = "[server] host/port" if what == "data" else "[admin] bind"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host}:{port} ({error.strerror or error})",
            remedy=f"free the address, or choose another one in {setting}",
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


class Supervisor:
    """Starts, watches, restarts and stops the children.

    Args:
        plan: what to run.
        lock_fd: from :func:`lock`; held until the process ends.
    """

    def __init__(self, plan: ServePlan, lock_fd: int) -> None:
        self._plan = plan
        self._lock_fd = lock_fd
        self._log = logs.get("supervisor")
        self._stopping = asyncio.Event()
        self._failure = ""
        self._workers: list[Child] = []
        self._control: Child | None = None

    async def run(self) -> int:
        """Run until a signal or a hopeless start; returns the exit code."""
        setproctitle.setproctitle("sentinel: supervisor")
        plan = self._plan
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        data = listen(plan.host, plan.port, what="data")
        admin = listen(*plan.admin, what="admin") if plan.admin else None
        try:
            self._control = self._child("control", "control", admin)
            self._workers = [
                self._child(f"worker {number}", "edge", data, "--number", str(number))
                for number in range(1, plan.workers + 1)
            ]
            for child in (self._control, *self._workers):
                child.task = asyncio.create_task(self._keep_alive(child), name=child.name)
            for line in plan.announce:
                print(line, flush=True)  # noqa: T201 - the one thing a person sees on start
            await self._stopping.wait()
            await self._stop()
        finally:
            data.close()
            if admin is not None:
                admin.close()
            os.close(self._lock_fd)
        if self._failure:
            self._log.error("supervisor.gave_up", reason=self._failure)
            return 1
        return 0

    def _child(self, name: str, role: str, listener: socket.socket | None, *more: str) -> Child:
        fds = (listener.fileno(),) if listener else ()
        arguments = (
            *("-m", "gateway.entry", role, "--run-dir", str(self._plan.folder.path)),
            *(("--fd", str(fds[0])) if fds else ()),
            *(("--config", self._plan.config_path) if role == "control" and self._plan.config_path else ()),
            *more,
        )
        return Child(name=name, arguments=arguments, fds=fds)

    async def _keep_alive(self, child: Child) -> None:
        while not self._stopping.is_set():
            child.started_at = time.monotonic()
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *child.arguments,
                pass_fds=child.fds,
                env=dict(self._plan.environ),
                stdin=asyncio.subprocess.DEVNULL,
            )
            self._log.info("child.started", child=child.name, pid=child.process.pid)
            self._count_live()
            proof = asyncio.get_running_loop().call_later(HEALTHY_AFTER_S, self._prove, child)
            code = await child.process.wait()
            proof.cancel()
            self._count_live()
            if self._stopping.is_set():
                return
            await self._after_death(child, code)

    @staticmethod
    def _prove(child: Child) -> None:
        child.proven = True
        child.bad_starts = 0

    async def _after_death(self, child: Child, code: int) -> None:
        child.bad_starts += 1
        self._log.error(
            "child.died", child=child.name, code=code, lived_s=round(time.monotonic() - child.started_at, 1)
        )
        if not child.proven and (code == UNUSABLE or child.bad_starts >= GIVE_UP_AFTER):
            self._failure = f"{child.name} ended right after its start (exit code {code}, {child.bad_starts} tries)"
            self._stopping.set()
            return
        delay = min(MAX_BACKOFF_S, 0.2 * 2 ** (child.bad_starts - 1))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    def _count_live(self) -> None:
        """Tell the workers how many they are: the limiter divides by it while Redis is away."""
        live = sum(1 for child in self._workers if child.process is not None and child.process.returncode is None)
        path = self._plan.folder.workers
        temporary = path.with_suffix(".new")
        temporary.write_text(f"{max(live, 1)}\n")
        temporary.replace(path)

    def _reload(self) -> None:
        if self._control is not None:
            self._send(self._control, signal.SIGHUP)

    async def _stop(self) -> None:
        """Workers first, so that control can still ship what they flush last."""
        self._log.info("supervisor.stopping")
        await self._end(self._workers)
        if self._control is not None:
            await self._end([self._control])
        self._log.info("supervisor.stopped")

    async def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            self._send(child, signal.SIGTERM)
        tasks = [child.task for child in children if child.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
        if late:
            for child in children:
                self._send(child, signal.SIGKILL)
            await asyncio.wait(late)

    @staticmethod
    def _send(child: Child, number: signal.Signals) -> None:
        if child.process is not None and child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(number)
