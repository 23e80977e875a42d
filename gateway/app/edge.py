"""What a worker is made of."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from gateway.collect.spool import SpoolWriter
from gateway.config.snapshot_file import SnapshotWatcher
from gateway.domain.upstreams import Target, Upstream
from gateway.edge import collector
from gateway.edge.certificates import Certificates
from gateway.edge.lane import lane_http
from gateway.edge.middleware import EdgeApp
from gateway.edge.queued_requests import strict_http
from gateway.edge.quotas import Quotas
from gateway.edge.rate_limit import RateLimiter, script
from gateway.edge.redis_cluster import connection
from gateway.edge.steps import Steps
from gateway.edge.tls import over_tls
from gateway.edge.unknown_keys import report_unknown_keys
from gateway.errors import ConfigError
from gateway.metrics import WorkerCounters
from gateway.proxy.forward import UpstreamForwarder
from gateway.proxy.router import Router
from gateway.serving import LiveWorkers, in_background, serve, server, told_to_stop, watch_parent

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.domain.snapshot import Snapshot
    from gateway.edge.redis_cluster import RedisCluster
    from gateway.edge.redis_link import RedisLink
    from gateway.edge.runtime import Runtime
    from gateway.run_folder import RunFolder
    from gateway.settings import Settings


REDIS_FIRST_S = 1.0  # connections wait in the backlog meanwhile


class Worker(NamedTuple):
    """What carries requests, whoever drives it."""

    steps: Steps
    forwarder: UpstreamForwarder
    counters: WorkerCounters


async def worker(
    stack: AsyncExitStack,
    folder: RunFolder,
    settings: Settings,
    snapshot: Snapshot,
    *,
    number: int,
    live_workers: Callable[[], int],
    besides: tuple[Upstream, ...] = (),
) -> Worker:
    """Assemble the steps, the proxy and the spool; the stack ends them in reverse.

    ``besides`` are upstreams that no configuration names. ``live_workers`` tells how many share this node's limits.
    """
    counters = WorkerCounters()
    spool = SpoolWriter(
        folder.spool,
        node=folder.node(),
        worker=number,
        counters=counters,
        max_bytes=snapshot.policy.spool_max_bytes,
    )
    await spool.start()
    stack.push_async_callback(spool.close)

    forwarder = UpstreamForwarder(counters)
    forwarder.apply((*snapshot.upstreams, *besides), snapshot.directives, time.time())
    stack.push_async_callback(forwarder.close)

    link = _redis_link(settings) if snapshot.policy.redis else None
    quotas = Quotas(folder.quotas, counters)
    limiter = RateLimiter(counters, link=link, live_workers=live_workers, number=number, quotas=quotas)
    stack.push_async_callback(limiter.close)
    if link is not None:
        link.start()
        await _connected(link)

    steps = Steps(
        snapshot=snapshot,
        make_router=Router,
        secret=lambda name: settings.secret(name) or "",
        limiter=limiter,
        records=spool,
        counters=counters,
        live_workers=live_workers,
    )
    in_background(stack, report_unknown_keys(steps, counters))
    return Worker(steps, forwarder, counters)


async def edge(
    folder: RunFolder,
    settings: Settings,
    listener: socket.socket,
    *,
    number: int,
    parent: int,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Worker ``number``: steps, upstreams, records; until SIGTERM or until ``parent`` is gone.

    ``on_ready`` is called once it can serve.
    """
    async with AsyncExitStack() as stack:
        stopping = told_to_stop()
        in_background(stack, watch_parent(parent, stopping))

        def compiled(changed: Snapshot) -> Runtime:
            return steps.compile(changed)

        def apply(runtime: Runtime) -> None:
            changed = runtime.snapshot
            forwarder.apply((*changed.upstreams, admin), changed.directives, time.time())
            steps.swap(runtime)
            certificates.apply(changed.policy.tls)

        admin = _control_upstream(folder)
        watcher = SnapshotWatcher(folder.snapshot, on_change=apply, prepare=compiled)
        snapshot = watcher.first()
        live_workers = LiveWorkers(folder.workers)
        steps, forwarder, counters = await worker(
            stack, folder, settings, snapshot, number=number, live_workers=live_workers, besides=(admin,)
        )
        app = EdgeApp(steps, forwarder, admin=admin)
        certificates = Certificates(snapshot.policy.tls)

        in_background(stack, watcher.run(), certificates.follow(), live_workers.follow())
        collector.settle()
        on_ready()
        in_lane = snapshot.policy.driver == "lane"
        http = lane_http(steps, forwarder, admin) if in_lane else strict_http(steps)
        behind_tls = over_tls(http, certificates, counters)
        await serve(server(app, http=behind_tls, drain_s=snapshot.policy.drain_s), listener, stopping)


def _redis_link(settings: Settings) -> RedisLink | RedisCluster:
    """The worker's connection to Redis; its URL comes in the environment, where the supervisor put it."""
    url = settings.secret("SENTINEL_REDIS__URL")
    if not url:
        raise ConfigError("the snapshot wants Redis, and SENTINEL_REDIS__URL is not set", remedy="sentinel check")
    return connection(url, script())


async def _connected(link: RedisLink | RedisCluster) -> None:
    """Give Redis a moment before the first request is taken: a worker that begins without it counts by itself."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REDIS_FIRST_S):
            while not link.ready:  # noqa: ASYNC110 - who is told of it is the limiter's breaker, for as long as it lives
                await asyncio.sleep(REDIS_FIRST_S / 100)


def _control_upstream(folder: RunFolder) -> Upstream:
    """Control as an upstream of the workers, for the admin paths of shared mode."""
    target = Target(name="@control", host=f"unix:{folder.admin_socket}", port=0)
    return Upstream(name="@control", targets=(target,))  # "@" keeps clear of every name in a configuration
