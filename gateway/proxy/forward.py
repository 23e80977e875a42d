"""The proxy's front: takes admitted requests, knows the upstreams in force, and swaps them without a pause."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway import logs
from gateway.errors import ConfigError
from gateway.proxy.balance import Rotation
from gateway.proxy.orders import Orders, ejections_of
from gateway.proxy.call import UpstreamCall
from gateway.proxy.deadlines import Sweep
from gateway.proxy.dial import Dialer
from gateway.proxy.pool import TargetPool
from gateway.proxy.resolve import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.forwarding import Outbound, Sink
    from gateway.domain.snapshot import Directive
    from gateway.domain.traffic import ErrorKind
    from gateway.domain.upstreams import Target, Upstream
    from gateway.metrics import WorkerCounters

# Failures of one target are logged at most this often; each one stands in its request's record anyway.
LOG_EVERY_S = 1.0

_log = logs.get("proxy")


class UpstreamService:
    """One upstream at work: its rotation and the connections to its targets."""

    def __init__(self, upstream: Upstream, sweep: Sweep, dialer: Dialer) -> None:
        self.upstream = upstream
        self.rotation = Rotation(upstream.targets)
        self._sweep = sweep
        self._dialer = dialer
        self._pools: dict[str, TargetPool] = {}
        self._retired: list[TargetPool] = []
        self._logged: dict[str, tuple[float, int]] = {}  # target → when it was last logged, failures since
        self.now = asyncio.get_running_loop().time
        self.change(upstream)

    def change(self, upstream: Upstream) -> None:
        """Take a new definition: targets that stay keep their connections, those that left finish what they have."""
        pools: dict[str, TargetPool] = {}
        for target in upstream.targets:
            pool = self._pools.get(target.name)
            if pool is None or not pool.leads_to(upstream, target):
                pool = TargetPool(upstream, target, self._sweep, self._dialer)
            pool.change(upstream, target)
            pools[target.name] = pool
        self._retire(pool for name, pool in self._pools.items() if pools.get(name) is not pool)
        if upstream.targets != self.upstream.targets:
            panicked = self.rotation.panicked
            self.rotation = Rotation(upstream.targets)
            self.rotation.panicked = panicked
        self._logged = {name: logged for name, logged in self._logged.items() if name in pools}
        self.upstream, self._pools = upstream, pools

    def serves(self, upstream: Upstream) -> bool:
        """Whether ``upstream`` is another state of this one: some target's address is the same."""
        ours = {(target.host, target.port) for target in self.upstream.targets}
        return any((target.host, target.port) in ours for target in upstream.targets)

    def choose(self, now: float, tried: tuple[str, ...]) -> tuple[Target, TargetPool] | None:
        """The target whose turn it is, and its connections."""
        target = self.rotation.pick(now, tried=tried)
        return None if target is None else (target, self._pools[target.name])

    def note_failure(self, target: str, kind: ErrorKind, detail: str) -> None:
        """Log a failure, at most one a second and target; the number of those left out goes with the next."""
        now = self.now()
        last, left_out = self._logged.get(target, (float("-inf"), 0))
        if now - last < LOG_EVERY_S:
            self._logged[target] = last, left_out + 1
            return
        self._logged[target] = now, 0
        _log.warning(
            "upstream.failed",
            upstream=self.upstream.name,
            target=target,
            kind=str(kind),
            detail=detail,
            left_out=left_out,
        )

    def retire(self) -> None:
        """The upstream left the configuration."""
        self._retire(self._pools.values())

    def close(self) -> list[asyncio.Task[None]]:
        """End everything now; returns what is still ending."""
        return [task for pool in (*self._pools.values(), *self._retired) for task in pool.close()]

    def take_counts(self, counters: WorkerCounters) -> None:
        """Hand over what was counted; forget retired pools that have emptied."""
        for pool in (*self._pools.values(), *self._retired):
            pool.take_counts(counters)
        self._retired = [pool for pool in self._retired if pool.size or pool.waiting]
        if self.rotation.panicked:
            counters.count("sentinel_upstream_panic_total", self.upstream.name, amount=self.rotation.panicked)
            self.rotation.panicked = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of a retired upstream is left."""
        return not self._retired

    def _retire(self, pools: Iterable[TargetPool]) -> None:
        for pool in tuple(pools):
            pool.retire()
            self._retired.append(pool)


class UpstreamForwarder:
    """domain.forwarding.Forwarder over HTTP/1.1 connections of its own. Made and used on one event loop."""

    def __init__(self, counters: WorkerCounters, dialer: Dialer | None = None) -> None:
        self._counters = counters
        self._dialer = dialer or Dialer()
        self._sweep = Sweep(self._hand_over)
        self._orders = Orders()
        self._in_force: dict[Directive, float] = {}
        self._services: dict[str, UpstreamService] = {}
        self._adopted: dict[Upstream, UpstreamService] = {}
        self._retired: list[UpstreamService] = []
        self._refused = 0  # directives, already counted

    def apply(self, upstreams: tuple[Upstream, ...], directives: tuple[Directive, ...], now: float) -> None:
        """Work with these from the next request on; exchanges under way are left alone.

        Args:
            upstreams: of the new snapshot.
            directives: of the new snapshot; ended ones and those of a replaced leader are left out here.
            now: wall clock, seconds since the epoch: what the directives' times are in.

        Raises:
            ConfigError: a target is no plain ``host:port``; nothing has changed then.
        """
        _check(upstreams)
        monotonic = asyncio.get_running_loop().time()
        self._in_force = self._orders.accept(directives, wall=now, now=monotonic)
        services: dict[str, UpstreamService] = {}
        for upstream in upstreams:
            service = self._services.pop(upstream.name, None)
            if service is None:
                service = UpstreamService(upstream, self._sweep, self._dialer)
            else:
                service.change(upstream)
            service.rotation.eject(ejections_of(upstream.name, self._in_force), monotonic)
            services[upstream.name] = service
        for service in (*self._services.values(), *self._adopted.values()):
            service.retire()
            self._retired.append(service)
        self._services, self._adopted = services, {}
        self._hand_over()

    def forward(self, outbound: Outbound, sink: Sink) -> UpstreamCall:
        """Send ``outbound`` to one target of its upstream; answers arrive at ``sink``, possibly before this returns."""
        upstream = outbound.upstream
        service = self._services.get(upstream.name)
        if service is None or (service.upstream is not upstream and not service.serves(upstream)):
            service = self._adopted.get(upstream) or self._adopt(upstream)
        call = UpstreamCall(service, outbound, sink)
        call.start()
        return call

    def shares(self, upstream: str) -> dict[str, float]:
        """How much of its usual traffic each target of ``upstream`` gets now; empty when it is unknown."""
        service = self._services.get(upstream)
        return {} if service is None else service.rotation.shares(service.now())

    async def close(self) -> None:
        """End every exchange (their sinks hear ``failed``) and close every connection."""
        dials = [task for service in self._all() for task in service.close()]
        self._sweep.close()
        self._dialer.close()
        self._hand_over()
        await asyncio.gather(*dials, return_exceptions=True)
        await asyncio.sleep(0)  # the transports' last callbacks, before the loop may end

    def _adopt(self, upstream: Upstream) -> UpstreamService:
        """Serve an upstream that is not among those applied, until the next apply.

        One of an older snapshot, since a request keeps what it started with; or control itself, which is no upstream
        of the configuration. It is never mistaken for a configured one of the same name.
        """
        service = self._adopted[upstream] = UpstreamService(upstream, self._sweep, self._dialer)
        return service

    def _all(self) -> tuple[UpstreamService, ...]:
        return (*self._services.values(), *self._adopted.values(), *self._retired)

    def _hand_over(self) -> None:
        for service in self._all():
            service.take_counts(self._counters)
        self._dialer.take_counts(self._counters)
        self._retired = [service for service in self._retired if not service.empty]
        if self._orders.refused > self._refused:
            self._counters.count("sentinel_directives_refused_total", amount=self._orders.refused - self._refused)
            self._refused = self._orders.refused


def _check(upstreams: tuple[Upstream, ...]) -> None:
    problems = tuple(
        f"upstream {upstream.name!r}, target {target.name!r}: {target.host!r} is not a host; "
        "write host and port without a scheme (TLS is the target's own setting), or unix:/path of a socket"
        for upstream in upstreams
        for target in upstream.targets
        if "://" in target.host or not target.host or (target.port <= 0 and not target.host.startswith(UNIX))
    )
    if problems:
        raise ConfigError(problems[0], problems=problems)
