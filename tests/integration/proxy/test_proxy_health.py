"""Probing real origins: what is reported, and when."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from gateway.domain.upstreams import HealthCheck, Target, Upstream
from gateway.proxy.health import Prober, TargetHealth
from tests.integration.proxy.scripted_origin import Origin, Peer, answering, ok
from tests.servers import free_port

pytestmark = pytest.mark.anyio

CHECK = HealthCheck(path="/healthz", interval_s=0.05, healthy=2, unhealthy=3)
SICK = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"  # control's loop; nothing here is the proxy's own I/O


class Listener:
    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, str, bool, str]] = asyncio.Queue()

    async def changed(self, *change) -> None:
        self.heard.put_nowait(change)

    async def next(self) -> tuple[str, str, bool, str]:
        return await asyncio.wait_for(self.heard.get(), 5)


@asynccontextmanager
async def probing(*targets: Target, check: HealthCheck = CHECK):
    listener = Listener()
    prober = Prober(listener.changed)
    prober.apply((Upstream("orders", targets, health=check),))
    try:
        yield prober, listener
    finally:
        await prober.close()


def test_a_target_turns_unhealthy_after_so_many_failures_in_a_row_and_back_after_so_many_answers():
    states = [TargetHealth()]
    for problem in ("a", "b", "", "c", "d", "e", "", "f", "", ""):
        states.append(states[-1].after(problem, CHECK))
    assert [state.healthy for state in states[1:]] == [True] * 5 + [False] * 4 + [True]
    assert states[6].reason == "e"


async def test_a_target_that_falls_ill_and_recovers_is_reported_once_each_time():
    async with Origin(answering(ok())).listening() as origin, probing(origin.target) as (prober, listener):
        origin.script = answering(SICK)
        assert await listener.next() == ("orders", origin.target.name, False, "answered 503")
        assert not prober.states()["orders", origin.target.name].healthy
        origin.script = answering(ok())
        assert (await listener.next())[2] is True
        assert listener.heard.empty()


async def test_the_probe_asks_for_the_configured_path():
    asked = asyncio.Queue()

    async def script(peer: Peer) -> None:
        asked.put_nowait((await peer.request())[0])
        await peer.send(ok())

    async with Origin(script).listening() as origin, probing(origin.target):
        head = await asyncio.wait_for(asked.get(), 5)
    assert head.startswith(b"GET /healthz HTTP/1.1\r\n")


async def test_a_target_that_refuses_is_unhealthy():
    async with probing(Target("dead", "127.0.0.1", free_port())) as (_, listener):
        assert await listener.next() == ("orders", "dead", False, "not reachable: ConnectError")


async def test_a_target_that_accepts_and_says_nothing_is_unhealthy():
    async def silent(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(10)

    async with Origin(silent).listening() as origin, probing(origin.target) as (_, listener):
        assert (await listener.next())[2:] == (False, "no answer within 0.05 s")


async def test_a_unix_socket_is_probed_too(tmp_path):
    async with Origin(answering(SICK)).listening(str(tmp_path / "a.sock")) as origin, probing(origin.target) as found:
        assert (await found[1].next())[2:] == (False, "answered 503")


async def test_targets_that_leave_are_no_longer_asked_and_those_that_stay_keep_their_state():
    async with (
        Origin(answering(SICK)).listening() as ill,
        Origin(answering(ok())).listening() as well,
        probing(ill.target, well.target) as (prober, listener),
    ):
        await listener.next()
        prober.apply((Upstream("orders", (ill.target,), health=CHECK),))
        assert prober.states().keys() == {("orders", ill.target.name)}
        assert not prober.states()["orders", ill.target.name].healthy
        await asyncio.sleep(0.06)
        asked = well.accepted
        await asyncio.sleep(0.15)
        assert well.accepted == asked


async def test_a_listener_that_fails_does_not_end_the_probing():
    calls = asyncio.Queue()

    async def failing(*change: object) -> None:
        calls.put_nowait(change)
        raise RuntimeError("listener")

    async with Origin(answering(SICK)).listening() as origin:
        prober = Prober(failing)
        prober.apply((Upstream("orders", (origin.target,), health=CHECK),))
        await asyncio.wait_for(calls.get(), 5)
        origin.script = answering(ok())
        assert (await asyncio.wait_for(calls.get(), 5))[2] is True
        await prober.close()
