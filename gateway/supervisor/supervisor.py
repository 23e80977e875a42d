"""Starts, watches, restarts and stops the children.

It binds the data port and the admin port itself and hands them down, so that a restarted child loses no connection that
waits in the backlog. It never parses a request and imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import setproctitle

from gateway import logs
from gateway.run_folder import NodeState, ProcessState
from gateway.supervisor.child import Child, end
from gateway.supervisor.sockets import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from gateway.run_folder import RunFolder

# Added to what a worker is given to finish what it carries: it flushes its records after that.
FLUSH_S = 5.0


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
    drain_s: float  # how long what is under way may take when a worker stops
    announce: Sequence[str] = ()  # lines for people once everything listens


class Supervisor:
    """The parent of one node's processes.

    Args:
        plan: what to run.
        lock_fd: from :func:`gateway.supervisor.sockets.lock`; held until the process ends.
    """

    def __init__(self, plan: ServePlan, lock_fd: int) -> None:
        self._plan = plan
        self._lock_fd = lock_fd
        self._log = logs.get("supervisor")
        self._stopping = asyncio.Event()
        self._workers: list[Child] = []
        self._control: Child | None = None
        self._restarts = 0
        self._restart: asyncio.Task[None] | None = None
        self._restart_problem = ""

    async def run(self) -> int:
        """Run until a signal or a hopeless start; returns the exit code."""
        setproctitle.setproctitle("sentinel: supervisor")
        plan = self._plan
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, self._roll)
        data = listen(plan.host, plan.port, what="data")
        admin = listen(*plan.admin, what="admin") if plan.admin else None
        try:
            control = self._control = self._child("control", "control", admin)
            self._workers = [
                self._child(f"worker {number}", "edge", data, "--number", str(number))
                for number in range(1, plan.workers + 1)
            ]
            for child in (control, *self._workers):
                child.task = asyncio.create_task(child.keep_alive(self._stopping), name=child.name)
            for line in plan.announce:
                print(line, flush=True)  # noqa: T201 - the one thing a person sees on start
            await self._stopping.wait()
            data.close()  # so that the last worker that closes its own turns callers away instead of letting them wait
            await self._stop(control)
        finally:
            data.close()
            if admin is not None:
                admin.close()
            os.close(self._lock_fd)
        failure = next((child.failure for child in (control, *self._workers) if child.failure), "")
        if failure:
            self._log.error("supervisor.gave_up", reason=failure)
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
        return Child(name, arguments, fds, self._plan.environ, self._note)

    def _note(self) -> None:
        """Tell the workers how many they are (limits are divided by it while Redis is away), and people who runs."""
        folder = self._plan.folder
        folder.write(folder.workers, f"{max(1, sum(len(worker.processes) for worker in self._workers))}\n".encode())
        children = (self._control, *self._workers)
        state = NodeState(
            pid=os.getpid(),
            processes=tuple(
                ProcessState(child.name, process.pid, process.started_at)
                for child in children
                if child is not None
                for process in child.processes
            ),
            restarts=self._restarts,
            restarting=self._restart is not None and not self._restart.done(),
            problem=self._restart_problem,
            stopping=self._stopping.is_set(),
        )
        folder.write(folder.state, msgspec.json.encode(state))

    def _reload(self) -> None:
        if self._control is not None and self._control.process is not None:
            self._control.process.send(signal.SIGHUP)

    def _roll(self) -> None:
        if self._stopping.is_set() or (self._restart is not None and not self._restart.done()):
            return
        self._restart = asyncio.create_task(self._restart_all(), name="restart")
        self._restart.add_done_callback(lambda _: self._note())

    async def _restart_all(self) -> None:
        """Replace every process, the workers one after another; the first that cannot be replaced ends it."""
        self._restarts += 1
        self._restart_problem = ""
        self._log.info("restart.began", number=self._restarts)
        self._note()
        for worker in self._workers:
            problem = await worker.replace(self._plan.drain_s + FLUSH_S)
            if problem:
                self._restart_problem = problem
                self._log.error("restart.failed", reason=problem)
                return
        if self._control is not None:
            await self._control.restart(self._plan.drain_s + FLUSH_S)
        self._log.info("restart.done", number=self._restarts)

    async def _stop(self, control: Child) -> None:
        """Workers first, so that control can still ship what they flush last."""
        self._log.info("supervisor.stopping")
        self._note()
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
        await self._end(self._workers)
        await self._end([control])
        self._log.info("supervisor.stopped")

    async def _end(self, children: Sequence[Child]) -> None:
        drain_s = self._plan.drain_s + FLUSH_S
        await asyncio.gather(*(end(process, drain_s) for child in children for process in child.processes))
        await asyncio.gather(*(child.task for child in children if child.task is not None))
