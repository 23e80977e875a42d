"""The connections of one worker to one target: idle ones, busy ones, those being opened, and who waits for one.

The pool never exceeds ``max_connections``; up to ``queue`` further calls wait, first come first served, and at most for
the connect timeout. Idle connections are taken youngest first, so that the rest can age and close.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from gateway.proxy.connection import UpstreamConnection
from gateway.proxy.dial import DIAL_ERRORS, Dialer, reason_of

if TYPE_CHECKING:
    from gateway.domain.upstreams import Target, Timeouts, Upstream
    from gateway.metrics import WorkerCounters
    from gateway.proxy.deadlines import Sweep

# Shorter than the 5 s after which uvicorn and Node close an idle connection: who closes first decides who races.
IDLE_S = 4.0
STOPPING = "the gateway is stopping"
FULL = "every connection is busy and the queue is full"

_OPENED, _REUSED, _FAILED, _STALE, _TURNED_AWAY = "opened", "reused", "failed", "stale", "turned_away"


class Caller(Protocol):
    """A call in want of a connection. It is told exactly one of the three, unless it leaves before."""

    deadline: float  # of waiting in the queue
    connect_by: float  # monotonic seconds; all attempts to connect share it
    timeouts: Timeouts

    def connected(self, connection: UpstreamConnection, *, reused: bool) -> None:
        """Here it is; it is the caller's until released or dropped."""

    def unreachable(self, reason: str, *, timed_out: bool) -> None:
        """Nothing was sent: the target refused, or could not be reached in time."""

    def turned_away(self, reason: str) -> None:
        """There is none and there will be none: the queue is full, or the gateway stops."""

    def expired(self) -> None:
        """It waited too long; the caller leaves by itself."""


class TargetPool:
    """Connections to one target of one upstream."""

    def __init__(self, upstream: Upstream, target: Target, sweep: Sweep, dialer: Dialer | None = None) -> None:
        self.upstream = upstream.name
        self.target = target
        self.max_connections = upstream.max_connections
        self.max_waiting = upstream.queue
        self._way = (dialer or Dialer()).way(upstream, target, self._moved)
        self._sweep = sweep
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._dials: dict[Caller, asyncio.Task[None]] = {}
        self._waiting: OrderedDict[Caller, None] = OrderedDict()
        self._retired = False
        self._closed = False
        self._counts = dict.fromkeys((_OPENED, _REUSED, _FAILED, _STALE, _TURNED_AWAY), 0)

    def leads_to(self, upstream: Upstream, target: Target) -> bool:
        """Whether these connections may go on under a newer definition of upstream and target."""
        return self._way.leads_to(upstream, target)

    def change(self, upstream: Upstream, target: Target) -> None:
        """Take a newer definition that :meth:`leads_to` the same place."""
        self.target = target
        self.max_connections, self.max_waiting = upstream.max_connections, upstream.queue
        self._way.change(upstream)

    @property
    def size(self) -> int:
        """Connections open or being opened."""
        return len(self._open) + len(self._dials)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """Open connections without a request."""
        return len(self._idle)

    def acquire(self, caller: Caller, now: float, *, fresh: bool = False) -> None:
        """Get ``caller`` a connection, at once or later; ``fresh`` refuses one that has been used before."""
        if self._closed:
            caller.turned_away(STOPPING)
        elif self._idle and not fresh:
            self._counts[_REUSED] += 1
            caller.connected(self._idle.pop(), reused=True)
        elif self.size < self.max_connections:
            self._dial(caller)
        elif fresh and self._idle:
            self._idle[0].drop()  # frees its slot; the oldest is the likeliest to be stale too
            self._dial(caller)
        elif len(self._waiting) < self.max_waiting:
            self._waiting[caller] = None
            caller.deadline = now + caller.timeouts.connect_s
            self._sweep.watch(caller)
        else:
            self._counts[_TURNED_AWAY] += 1
            caller.turned_away(FULL)

    def leave(self, caller: Caller) -> None:
        """The caller no longer wants a connection; harmless when it has none coming."""
        if caller in self._waiting:
            del self._waiting[caller]
            self._sweep.forget(caller)
        task = self._dials.pop(caller, None)
        if task is not None:
            task.cancel()
            self._serve()

    def stale(self) -> None:
        """Note that a reused connection turned out to be closed."""
        self._counts[_STALE] += 1

    def released(self, connection: UpstreamConnection, now: float) -> None:
        """A connection is free: the next in the queue has it, or it becomes idle."""
        if connection.retiring:
            connection.drop()  # which opens another for the next in the queue
        elif self._waiting:
            caller = self._next_waiting()
            self._counts[_REUSED] += 1
            caller.connected(connection, reused=True)
        elif self._retired:
            connection.drop()
        else:
            connection.deadline = now + IDLE_S
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is gone: its slot goes to the next in the queue."""
        self._sweep.forget(connection)
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._serve()

    def retire(self) -> None:
        """The target left the configuration: what is under way may end, nothing idle is kept."""
        self._retired = True
        self._way.rest()
        for connection in tuple(self._idle):
            connection.drop()

    def close(self) -> list[asyncio.Task[None]]:
        """Close every connection now and tell the calls under way; returns attempts to connect that are ending."""
        self._closed = self._retired = True
        while self._waiting:
            self._next_waiting().turned_away(STOPPING)
        dials = dict(self._dials)
        for caller in dials:
            self.leave(caller)
            caller.turned_away(STOPPING)
        for connection in tuple(self._open):
            connection.shut(STOPPING)
        self._way.close()
        return list(dials.values())

    def take_counts(self, counters: WorkerCounters) -> None:
        """Hand over what was counted since the last time."""
        for outcome, count in self._counts.items():
            if count:
                counters.count("sentinel_upstream_connections_total", self.upstream, outcome, amount=count)
                self._counts[outcome] = 0

    def _next_waiting(self) -> Caller:
        caller, _ = self._waiting.popitem(last=False)
        self._sweep.forget(caller)
        return caller

    def _serve(self) -> None:
        while self._waiting and self.size < self.max_connections:
            caller = self._next_waiting()
            # Waiting for a slot was not connecting: it begins now.
            caller.connect_by = asyncio.get_running_loop().time() + caller.timeouts.connect_s
            self._dial(caller)

    def _dial(self, caller: Caller) -> None:
        task = asyncio.get_running_loop().create_task(self._open_for(caller))
        self._dials[caller] = task

    async def _open_for(self, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(caller.connect_by):
                _, connection, address = await self._way.open(lambda: UpstreamConnection(self, loop))
        except DIAL_ERRORS as error:
            # TimeoutError is an OSError: the kernel's ETIMEDOUT and our own clock mean the same to the caller.
            del self._dials[caller]
            self._counts[_FAILED] += 1
            timed_out = isinstance(error, TimeoutError)
            reason = f"no connection within {caller.timeouts.connect_s:g} s" if timed_out else reason_of(error)
            self._serve()
            caller.unreachable(reason, timed_out=timed_out)
        else:
            del self._dials[caller]
            self._counts[_OPENED] += 1
            connection.address = address
            connection.retiring = not self._way.holds(address)
            self._open.add(connection)
            self._sweep.watch(connection)
            caller.connected(connection, reused=False)

    def _moved(self) -> None:
        """The name no longer stands for some addresses: connections to them end with their exchange."""
        for connection in tuple(self._open):
            if not self._way.holds(connection.address):
                connection.retiring = True
        for connection in tuple(self._idle):
            if connection.retiring:
                connection.drop()
