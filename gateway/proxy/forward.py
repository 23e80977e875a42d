"""The proxy's front: takes admitted requests, knows the upstreams in force, and swaps them without a pause."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.domain.orders import Orders
from gateway.errors import ConfigError
from gateway.proxy.call import UpstreamCall
from gateway.proxy.deadlines import Sweep
from gateway.proxy.dial import Dialer
from gateway.proxy.mirror import MIRRORED, Mirrors
from gateway.proxy.orders import ejections_of
from gateway.proxy.resolve import UNIX
from gateway.proxy.service import UpstreamService
from gateway.proxy.watched_call import WatchedCall

if TYPE_CHECKING:
    from gateway.domain.forwarding import Call, Outbound, Sink
    from gateway.domain.snapshot import Directive
    from gateway.domain.upstreams import Upstream
    from gateway.metrics import WorkerCounters


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
        self._mirrors = Mirrors(self._mirrored_call)

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
            if upstream.is_app:
                continue
            service = self._services.pop(upstream.name, None)
            if service is None:
                service = UpstreamService(upstream, self._sweep, self._dialer)
            else:
                service.change(upstream)
            service.standing.eject(ejections_of(upstream.name, self._in_force), monotonic)
            services[upstream.name] = service
        for service in (*self._services.values(), *self._adopted.values()):
            service.retire()
            self._retired.append(service)
        self._services, self._adopted = services, {}
        self._hand_over()

    def forward(self, outbound: Outbound, sink: Sink) -> Call:
        """Send ``outbound`` to one target of its upstream; answers arrive at ``sink``, possibly before this returns."""
        upstream, route = outbound.upstream, outbound.route
        service = self._services.get(upstream.name)
        if service is None or (service.upstream is not upstream and not service.serves(upstream)):
            service = self._adopted.get(upstream) or self._adopt(upstream)
        call: UpstreamCall
        if service.plain and route.retry is None:
            call = UpstreamCall(service, outbound, sink)
        else:
            call = WatchedCall(service, outbound, sink, route.retry)
        call.start()
        return call if route.mirror is None else self._mirrors.follow(call, outbound, route.mirror)

    def shares(self, upstream: str) -> dict[str, float]:
        """How much of its usual traffic each target of ``upstream`` gets now; empty when it is unknown."""
        service = self._services.get(upstream)
        return {} if service is None else service.standing.shares(service.now())

    async def close(self) -> None:
        """End every exchange (their sinks hear ``failed``) and close every connection."""
        self._mirrors.close()
        dials = [task for service in self._all() for task in service.close()]
        self._sweep.close()
        self._dialer.close()
        self._hand_over()
        await asyncio.gather(*dials, return_exceptions=True)
        await asyncio.sleep(0)  # the transports' last callbacks, before the loop may end

    def _mirrored_call(self, outbound: Outbound, upstream: str, sink: Sink) -> UpstreamCall | None:
        """A call that sends a copy of ``outbound`` to the upstream of that name; None where there is none."""
        service = self._services.get(upstream)
        if service is None:
            return None
        outbound.upstream = service.upstream  # a copy already: its deadlines are those of where it goes
        return WatchedCall(service, outbound, sink, None, extra_head=MIRRORED)

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
        self._mirrors.take_counts(self._counters)
        open_circuits: dict[tuple[str, ...], float] = {
            (name,): 1.0 for name, service in self._services.items() if service.circuit_open
        }
        self._counters.hold("sentinel_circuit_state", open_circuits)
        self._retired = [service for service in self._retired if not service.empty]
        if self._orders.refused > self._refused:
            self._counters.count("sentinel_directives_refused_total", amount=self._orders.refused - self._refused)
            self._refused = self._orders.refused


def _check(upstreams: tuple[Upstream, ...]) -> None:
    problems = tuple(
        f"upstream {upstream.name!r}, target {target.name!r}: {target.host!r} is not a host; "
        "write host and port without a scheme (TLS is the target's own setting), or unix:/path of a socket"
        for upstream in upstreams
        if not upstream.is_app
        for target in upstream.targets
        if "://" in target.host or not target.host or (target.port <= 0 and not target.host.startswith(UNIX))
    )
    if problems:
        raise ConfigError(problems[0], problems=problems)
