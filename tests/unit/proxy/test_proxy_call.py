"""What a call repeats, and what the sweep does, without any network."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.forwarding import Outbound
from gateway.domain.routing import Route
from gateway.domain.traffic import ErrorKind
from gateway.domain.upstreams import Target, Upstream
from gateway.proxy.call import UpstreamCall
from gateway.proxy.deadlines import Sweep


class Sink:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def connected(self, target, *, attempt, reused):
        self.heard.append((target, attempt, reused))

    def failed(self, failure):
        self.heard.append(failure.kind)


class Connection:
    write_blocked = False

    def begin(self, *_, **__):
        pass


class Pool:
    def __init__(self) -> None:
        self.asked: list[bool] = []

    def acquire(self, caller, now, *, fresh=False):
        self.asked.append(fresh)

    def leave(self, caller):
        pass

    def stale(self):
        pass


class Service:
    def __init__(self) -> None:
        self.pool = Pool()
        self.clock = 0.0

    def choose(self, now, tried):
        return None if "a" in tried else (Target("a", "a", 80), self.pool)

    def note_failure(self, *_):
        pass

    def now(self) -> float:
        return self.clock


def test_a_second_stale_connection_is_the_end_of_it():
    service, sink = Service(), Sink()
    upstream = Upstream("u", ())
    route = Route(name="r", path="/*", upstream="u")
    outbound = Outbound(
        method=b"GET", path=b"/", query=b"", headers=[], content_length=0, route=route, upstream=upstream
    )
    call = UpstreamCall(service, outbound, sink)
    call.start()
    for _ in range(2):
        call.connected(Connection(), reused=True)
        call.answer_broken(ErrorKind.UPSTREAM_UNAVAILABLE, 502, "closed", untouched=True)
    assert service.pool.asked == [False, True]
    assert sink.heard == [("a", 1, True), ("a", 2, True), "upstream_unavailable"]


class Thing:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expirations = 0
        self.then = lambda: None

    def expired(self) -> None:
        self.expirations += 1
        self.then()


@pytest.mark.anyio
async def test_what_one_expiry_serves_or_frees_is_not_expired_by_the_same_sweep():
    now = asyncio.get_running_loop().time()
    sweep = Sweep(lambda: None)
    things = [Thing(now), Thing(now)]

    def serve_the_other(other: Thing) -> None:
        other.deadline = now + 60

    for thing, other in zip(things, reversed(things), strict=True):
        thing.then = lambda other=other: serve_the_other(other)
        sweep.watch(thing)
    sweep._run()
    assert sum(thing.expirations for thing in things) == 1
    sweep.close()


@pytest.mark.anyio
async def test_a_mistake_in_one_expiry_does_not_end_the_watch_over_the_others():
    ticks: list[int] = []
    sweep = Sweep(lambda: ticks.append(1))
    bad, good = Thing(0), Thing(0)

    def mistake() -> None:
        raise RuntimeError("mistake")

    bad.then = mistake
    sweep.watch(bad)
    sweep.watch(good)
    sweep._run()
    assert (bad.expirations, good.expirations, ticks) == (1, 1, [1])
    assert sweep._timer is not None
    sweep.close()
