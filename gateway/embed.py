"""The gateway inside one's own application: ``app.add_middleware(Sentinel, config="sentinel.toml")``.

The same steps as in ``sentinel serve`` (identity, limits, records), without a hop: requests of routes whose upstream is
the application itself (``targets = ["app:"]``) go on to it, all others are proxied or refused. ``sentinel control``
with the same file keeps records, keys and incidents, and serves the dashboard; without it the application runs all the
same, on the configuration alone, and its records wait in the spool.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateway import logs
from gateway.app.edge import worker
from gateway.config.checking import load_file
from gateway.config.publisher import first_snapshot
from gateway.config.snapshot_file import SnapshotWatcher
from gateway.edge.middleware import SentinelMiddleware
from gateway.errors import SentinelError
from gateway.run_folder import RunFolder
from gateway.serving import in_background
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.domain.snapshot import Snapshot
    from gateway.edge.runtime import Runtime

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

Scope = dict[str, Any]


class Sentinel:
    """ASGI middleware that starts with the application's lifespan, or by the first request where there is none.

    Args:
        app: the application inside.
        config: path of the sentinel.toml; variables of the environment override it as everywhere.
        processes: how many processes run this application. Limits that are not in Redis are divided by it.

    Raises:
        ConfigError: at start-up, when the configuration is bad; the server then reports the first problem and ends.
    """

    def __init__(self, app: Any, *, config: str = "sentinel.toml", processes: int = 1) -> None:
        self._app = app
        self._config = Path(config)
        self._processes = max(1, processes)
        self._stack: AsyncExitStack | None = None
        self._guarded: SentinelMiddleware | None = None
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection scope."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        guarded = self._guarded or await self._started()
        await guarded(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the application does, stop after it."""
        startup = await receive()
        try:
            await self._started()
        except SentinelError as error:
            problems = "; ".join(getattr(error, "problems", ())) or str(error)
            remedy = f" ({error.remedy})" if error.remedy else ""
            await send({"type": "lifespan.startup.failed", "message": f"{problems}{remedy}"})
            return
        waiting = [startup]

        async def receiving() -> Any:
            return waiting.pop() if waiting else await receive()

        async def sending(message: Any) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed"}:
                await self._stopped()
            await send(message)

        await self._app(scope, receiving, sending)

    async def _started(self) -> SentinelMiddleware:
        async with self._starting:
            if self._guarded is None:
                async with AsyncExitStack() as stack:
                    self._guarded = await self._assembled(stack)
                    self._stack = stack.pop_all()
            return self._guarded

    async def _assembled(self, stack: AsyncExitStack) -> SentinelMiddleware:
        if not structlog.is_configured():
            logs.configure(process="app")
        settings = Settings.from_environ(os.environ)
        configuration = await asyncio.to_thread(load_file, self._config, settings)
        url = str(configuration.document.redis.url)
        if url:
            settings = Settings.from_environ({**os.environ, "SENTINEL_REDIS__URL": url})
        folder = RunFolder(Path(configuration.document.server.run_dir))
        folder.make()
        if not folder.held():  # control would have published it, and knows keys and directives besides
            first_snapshot(folder.snapshot, configuration, clock=time.time)

        def compiled(changed: Snapshot) -> Runtime:
            return parts.steps.compile(changed)

        def apply(runtime: Runtime) -> None:
            changed = runtime.snapshot
            parts.forwarder.apply(changed.upstreams, changed.directives, time.time())
            parts.steps.swap(runtime)

        watcher = SnapshotWatcher(folder.snapshot, on_change=apply, prepare=compiled)
        parts = await worker(
            stack, folder, settings, watcher.first(), number=os.getpid(), live_workers=lambda: self._processes
        )
        in_background(stack, watcher.run())
        return SentinelMiddleware(self._app, parts.steps, parts.forwarder)

    async def _stopped(self) -> None:
        stack, self._stack, self._guarded = self._stack, None, None
        if stack is not None:
            await stack.aclose()
