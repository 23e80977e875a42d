"""The event client never holds its caller up, loses nothing it has room for, and says what it did lose."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from gateway.client import EventClient, event_client
from tests import servers
from tests.integration.client.sink import sink

LONG_S = 30.0


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(event_client, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(event_client, "LONGEST_WAIT_S", 0.1)


@pytest.fixture
def server():
    with sink() as running:
        yield running


@pytest.fixture
def client(server):
    with EventClient(server.url, "token", agent_id="web-1", every_s=0.02) as made:
        yield made


def test_events_arrive_once_with_all_they_carry(server, client):
    assert client.report("deploy.finished", severity="warning", message="57", fields={"revision": 57, "ok": True})
    assert client.flush(LONG_S)
    (event,) = server.events.values()
    assert (event.agent_id, event.kind, event.severity, event.message) == ("web-1", "deploy.finished", "warning", "57")
    assert event.fields == {"revision": 57, "ok": True}
    assert server.tokens == {"Bearer token"}
    assert client.counts == (1, 0, 0, 0)


def test_many_events_go_in_few_requests_and_in_order(server, client):
    server.gate.clear()
    for number in range(2000):
        client.report("tick", message=str(number))
    server.gate.set()
    assert client.flush(LONG_S)
    assert server.messages() == [str(number) for number in range(2000)]
    assert len(server.batches) <= 6


def test_whatever_a_caller_hands_in_is_sent_or_refused_alone(server, client):
    class Rude:
        def __str__(self) -> str:
            raise ValueError

    assert not client.report("odd", fields={"rude": Rude()})
    odd = {"nan": float("nan"), "much": 2**80, "half": "\ud800", "nul": "\x00", "": [1], "long": "x" * 9999}
    assert client.report("odd", message="y" * 9999, fields=odd | {str(number): 1 for number in range(50)})
    assert client.report("No such kind")
    assert client.report("fine")
    assert client.flush(LONG_S)
    assert [event.kind for event in server.events.values()] == ["odd", "fine"]
    assert (client.counts.sent, client.counts.refused) == (2, 1)


@pytest.mark.parametrize("status", [429, 500, 503, 401, 404])
def test_a_server_that_cannot_now_gets_the_same_events_again(server, client, status):
    server.script = [(status, {"Retry-After": "0"}, b"{}"), (status, {}, b"no json")]
    client.report("tick")
    assert client.flush(LONG_S)
    assert len(server.events) == 1
    assert server.times == 3


def test_what_will_never_be_taken_is_given_up_and_counted(server, client):
    server.script = [(422, {}, json.dumps({"detail": "no"}).encode())]
    client.report("tick")
    client.report("tick")
    assert client.flush(LONG_S)
    assert (client.counts.refused, server.events) == (2, {})


def test_a_batch_too_large_goes_in_halves(server, client):
    server.most_events = 3
    server.script = [(503, {}, b"{}")]  # so that the next ten go together
    for number in range(10):
        client.report("tick", message=str(number))
    assert client.flush(LONG_S)
    assert sorted(server.messages(), key=int) == [str(number) for number in range(10)]


def test_a_server_that_is_away_costs_nothing_but_time(server):
    with EventClient(f"http://127.0.0.1:{servers.free_port()}", "token", agent_id="web-1") as client:
        for _ in range(100):
            assert client.report("tick")
        assert not client.flush(0.2)
        assert client.counts.waiting == 100
        assert not client.close(0.05)
    assert client.counts == (0, 0, 100, 0)
    assert not client.report("late")


def test_events_survive_a_restart_of_the_server():
    port = servers.free_port()
    with EventClient(f"http://127.0.0.1:{port}", "token", agent_id="web-1", every_s=0.01) as client:
        client.report("before")
        with sink(port) as first:
            assert client.flush(LONG_S)
        client.report("between")
        with sink(port) as second:
            assert client.flush(LONG_S)
    assert [event.kind for running in (first, second) for event in running.events.values()] == ["before", "between"]


def test_the_oldest_make_room_and_the_gap_is_reported():
    port = servers.free_port()
    with EventClient(f"http://127.0.0.1:{port}", "token", agent_id="web-1", most_waiting=10, every_s=0.01) as client:
        for number in range(50):
            client.report("tick", message=str(number))
        assert client.counts.dropped >= 39
        with sink(port) as running:
            assert client.flush(LONG_S)
            told = client.counts.dropped
            running.wait(lambda: any(event.kind == "events.dropped" for event in running.events.values()))
        kept = [event for event in running.events.values() if event.kind == "tick"]
        assert kept[-1].message == "49"
        assert sum(event.fields.get("dropped", 0) for event in running.events.values()) == told == 50 - len(kept)


def test_reporting_does_not_wait_for_a_server_that_does_not_answer(server, client):
    server.gate.clear()
    client.report("tick")
    server.wait(lambda: server.times == 1)  # the request is under way, and will not end
    for _ in range(100):
        assert client.report("tick")
    assert client.counts == (0, 0, 0, 101)
    server.gate.set()
    assert client.flush(LONG_S)


@pytest.mark.anyio
async def test_asyncio_goes_on_while_a_flush_waits(server):
    server.gate.clear()
    async with EventClient(server.url, "token", agent_id="web-1", every_s=0.01) as client:
        client.report("tick")
        flushing = asyncio.create_task(client.aflush(LONG_S))
        for _ in range(3):
            await asyncio.sleep(0.01)
        assert not flushing.done()
        server.gate.set()
        assert await flushing


@pytest.mark.parametrize("url", ["ftp://host", "host:8001", ""])
def test_a_url_that_is_none_is_refused_at_once(url):
    with pytest.raises(ValueError, match="http"):
        EventClient(url, "token", agent_id="web-1")


def run(code: str, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


START = (
    "import os, sys; from gateway.client import EventClient\n"
    "c = EventClient(sys.argv[1], 't', agent_id='web-1', timeout_s=30, at_exit_s=30)\n"
)


def test_the_end_of_the_process_sends_what_waits(server):
    run(START + "c.report('last')", server.url)
    assert [event.kind for event in server.events.values()] == ["last"]


def test_the_child_of_a_fork_sends_its_own_events_and_none_of_its_parents(server):
    code = START + (
        "c.report('parent')\n"
        "child = os.fork()\n"
        "c.report('child' if child == 0 else 'parent')\n"
        "ok = c.flush(20)\n"
        "os._exit(0 if ok else 1) if child == 0 else sys.exit(os.waitpid(child, 0)[1])\n"
    )
    run(code, server.url)
    kinds = sorted(event.kind for event in server.events.values())
    assert kinds == ["child", "parent", "parent"]
    assert sum(server.batches) == 3


def test_importing_the_client_loads_neither_the_gateway_nor_its_libraries():
    code = (
        "import sys, gateway.client\n"
        "heavy = {'msgspec', 'sqlalchemy', 'starlette', 'httpx2', 'structlog', 'gateway.domain', 'gateway.errors'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    run(code, "")
