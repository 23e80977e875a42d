"""What a call repeats, and what the sweep does, without any network."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.forwarding import Outbound
from gateway.domain.routing import Route
from gateway.domain.traffic import ErrorKind
from gateway.domain.upstreams import Target, Upstream
from gateway.proxy.call import JOIN_BYTES, REPLAY_BYTES, UpstreamCall
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

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_whole = False

    def begin(self, _call, head):
        self.written.append(head)

    def send(self, data):
        self.written.append(data)

    def sent_all(self):
        self.is_whole = True


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


def request(method: bytes, body: bytes = b"") -> Outbound:
    return Outbound(
        method=method,
        path=b"/",
        query=b"",
        headers=[],
        content_length=len(body),
        route=Route(name="r", path="/*", upstream="u"),
        upstream=Upstream("u", ()),
        body=body,
    )


def test_a_second_stale_connection_is_the_end_of_it():
    service, sink = Service(), Sink()
    call = UpstreamCall(service, request(b"GET"), sink)
    call.start()
    for _ in range(2):
        call.connected(Connection(), reused=True)
        call.answer_broken(ErrorKind.UPSTREAM_UNAVAILABLE, 502, "closed", untouched=True)
    assert service.pool.asked == [False, True]
    assert sink.heard == [("a", 1, True), ("a", 2, True), "upstream_unavailable"]


@pytest.mark.parametrize(("size", "writes"), [(1, 1), (JOIN_BYTES, 1), (JOIN_BYTES + 1, 2), (3 * REPLAY_BYTES, 2)])
def test_a_body_that_is_there_leaves_with_its_head_in_one_write_if_it_is_short(size, writes):
    body = b"x" * size
    call = UpstreamCall(Service(), request(b"PUT", body), Sink())
    call.start()
    connection = Connection()
    call.connected(connection, reused=True)
    assert len(connection.written) == writes and connection.is_whole
    head, _, sent = b"".join(connection.written).partition(b"\r\n\r\n")
    assert head.endswith(b"content-length: %d" % size) and sent == body


def test_a_body_that_left_with_its_head_is_sent_again_on_a_fresh_connection():
    call = UpstreamCall(Service(), request(b"PUT", b"hello"), Sink())
    call.start()
    stale, fresh = Connection(), Connection()
    call.connected(stale, reused=True)
    call.answer_broken(ErrorKind.UPSTREAM_UNAVAILABLE, 502, "closed", untouched=True)
    call.connected(fresh, reused=False)
    assert fresh.written == stale.written and fresh.written[0].endswith(b"\r\n\r\nhello") and fresh.is_whole


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
