"""Five services and their callers, request by request: every wait in them comes from a pool that is full. Pure.

Each service has worker threads and a pool of database connections. A request holds a worker while it works and while
it waits for the services it calls; a query holds a connection. So when connections leak in one service, its requests
wait, then fail, and its callers' workers fill up behind them: the cascade is not drawn, it happens.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.traffic import ErrorKind, RequestRecord

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_DAY_S = 86_400
_BUSIEST_H = 14
_SWING = 0.4  # traffic at night, beside the middle of the day's
_NEVER = math.inf
_OVERHEAD_US = 400  # of the gateway itself
_USUAL_ERRORS = 0.001  # of requests fail on a good day, for reasons nobody looks into
_TENANTS = ("acme", "acme", "acme", "globex", "globex", "initech")


class Service(NamedTuple):
    """One service as the configuration and the simulation know it."""

    name: str
    calls: tuple[str, ...]
    work_s: float  # median of its own work
    query_s: float  # median of how long it holds a connection
    targets: int = 2
    workers: int = 24  # of one target
    connections: int = 8  # of one target


SERVICES = (
    Service("storefront", ("accounts", "orders"), 0.006, 0.002, workers=48),
    Service("orders", ("inventory", "payments"), 0.008, 0.006, workers=32),
    Service("accounts", (), 0.004, 0.006),
    Service("inventory", (), 0.003, 0.008),
    Service("payments", (), 0.010, 0.012),
)
BY_NAME = {service.name: service for service in SERVICES}
# What people do, requests a second in the middle of the day, and where it begins.
ENTRIES = (("storefront", 6.0), ("orders", 1.5), ("inventory", 3.0), ("accounts", 1.0))
CALLED = tuple(service.name for service in SERVICES if any(service.name in other.calls for other in SERVICES))
POOL_WAIT_S = 1.5  # until a request for a connection gives up
WORKER_WAIT_S = 3.0  # until a request for a worker does
CALL_TIMEOUT_S = 4.0


def address(service: str, number: int) -> str:
    """``host:port`` of one target."""
    return f"10.30.{[one.name for one in SERVICES].index(service)}.{number + 1}:8080"


def configuration() -> str:
    """The gateway in front of the five, as a sentinel.toml."""
    parts = []
    for service in SERVICES:
        name = service.name
        targets = ", ".join(f'"http://{address(name, number)}"' for number in range(service.targets))
        calls = ", ".join(f'"{name}"' for name in service.calls)
        parts.append(
            f'[[upstreams]]\nname = "{name}"\ntargets = [{targets}]\ndepends_on = [{calls}]\n\n'
            f'[[routes]]\nname = "{name}"\nmatch = {{ path = "/{name}/*" }}\nupstream = "{name}"\n'
        )
    return "\n".join([*parts, '[remediate]\nmode = "observe"\n'])


class Pool:
    """Places that are held for a while and handed on in the order they were asked for."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._free_at = [0.0] * places  # a heap: when each place is free again

    def start(self, at: float, longest_s: float) -> float | None:
        """When a place is to be had, or None if not within that time. Follow with :meth:`hold`."""
        free_at = self._free_at[0]
        return None if free_at > at + longest_s else max(at, free_at)

    def hold(self, until: float) -> None:
        """Take the place that :meth:`start` found."""
        heapq.heapreplace(self._free_at, until)

    def leak(self) -> bool:
        """Take one place for ever; False when none is left to lose."""
        free = [at for at in self._free_at if at != _NEVER]
        if not free:
            return False
        self._free_at.remove(min(free))
        self._free_at.append(_NEVER)
        heapq.heapify(self._free_at)
        return True

    def renew(self, at: float) -> None:
        """All places are new and free, as after a restart."""
        self._free_at = [at] * self.places


class _Target:
    def __init__(self, service: Service, number: int) -> None:
        self.name = address(service.name, number)
        self.workers = Pool(service.workers)
        self.connections = Pool(service.connections)


class Shop:
    """The five, moved forward a second at a time.

    Args:
        draw: all chance comes from here.
    """

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._targets = {
            service.name: [_Target(service, number) for number in range(service.targets)] for service in SERVICES
        }
        self._turn = dict.fromkeys(BY_NAME, 0)
        self._ended: dict[int, list[RequestRecord]] = {}  # second → what ends in it
        self._number = 0

    def second(self, at: int) -> list[RequestRecord]:
        """Every request that ends in the second that begins at ``at``; seconds are asked for in order."""
        begun = sorted(self._arrivals(at))
        for moment, service in begun:
            self._call(service, moment, self._draw.choice(_TENANTS))
        return self._ended.pop(at, [])

    def leak(self, service: str) -> None:
        """One more connection of each of its targets is never given back."""
        for target in self._targets[service]:
            target.connections.leak()

    def restart(self, service: str, at: float) -> None:
        """Its targets begin anew."""
        for target in self._targets[service]:
            target.connections.renew(at)
            target.workers.renew(at)

    def _arrivals(self, at: int) -> Iterator[tuple[float, str]]:
        for service, per_s in ENTRIES:
            gap_s = 1 / (per_s * busyness(at))
            moment = at + self._draw.expovariate(1 / gap_s)
            while moment < at + 1:
                yield moment, service
                moment += self._draw.expovariate(1 / gap_s)

    def _call(self, name: str, at: float, tenant: str) -> tuple[int, float]:
        """One request through the gateway: its status, and when it ended for whoever asked."""
        service = BY_NAME[name]
        self._turn[name] += 1
        target = self._targets[name][self._turn[name] % service.targets]
        began = target.workers.start(at, WORKER_WAIT_S)
        if began is None:
            status, ended = 503, at + WORKER_WAIT_S
        else:
            status, ended = self._work(service, target, began, tenant)
            target.workers.hold(ended)
        error = ""
        if ended > at + CALL_TIMEOUT_S:
            status, ended, error = 504, at + CALL_TIMEOUT_S, ErrorKind.UPSTREAM_TIMEOUT
        self._record(service.name, target.name, tenant, at, ended, status, str(error))
        return status, ended

    def _work(self, service: Service, target: _Target, at: float, tenant: str) -> tuple[int, float]:
        """What happens in a worker of the service."""
        draw = self._draw
        now = at + service.work_s * draw.lognormvariate(0, 0.4)
        query_at = target.connections.start(now, POOL_WAIT_S)
        if query_at is None:
            return 503, now + POOL_WAIT_S  # "could not get a connection from the pool"
        now = query_at + service.query_s * draw.lognormvariate(0, 0.5)
        target.connections.hold(now)
        for callee in service.calls:
            status, now = self._call(callee, now, tenant)
            if status >= 500:  # noqa: PLR2004 - HTTP
                return 502, now
        return (500 if draw.random() < _USUAL_ERRORS else 200), now

    def _record(self, service: str, target: str, tenant: str, at: float, ended: float, status: int, error: str) -> None:
        self._number += 1
        duration_us = int((ended - at) * 1e6) + _OVERHEAD_US
        record = RequestRecord(
            f"s{self._number:x}", ended, "GET", f"/{service}/", "", status, service, service, target,
            tenant, f"{tenant}-user", "198.51.100.7", "simulate", error, 0, 200, duration_us,
            0, 0, 0, 0, duration_us - _OVERHEAD_US, 0, 1, "", "", "",
        )  # fmt: skip
        self._ended.setdefault(int(ended), []).append(record)


def busyness(at: float) -> float:
    """How much is asked at that time of day, 1 being the middle of the day's course."""
    return 1 + _SWING * math.cos(2 * math.pi * ((at % _DAY_S) / 3600 - _BUSIEST_H) / 24)
