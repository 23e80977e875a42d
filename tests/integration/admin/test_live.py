"""The live tail over a real server."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx2
import msgspec
import pytest
import uvicorn

from gateway.admin.api.live import LiveStreams
from tests.admin_client import API, Admin

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(admin):
    """The application on a real port, in this loop; gives its base URL."""
    config = uvicorn.Config(admin.app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn sets a flag, no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await serving


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - any condition, so there is no event to wait for
            await asyncio.sleep(0.01)


@asynccontextmanager
async def tail(admin, base, name, query=""):
    headers = {"Authorization": f"Bearer {admin.token_of(name)}"}
    async with (
        httpx2.AsyncClient(base_url=base, headers=headers, timeout=5) as client,
        client.stream("GET", f"{API}/requests/live{query}") as answer,
    ):
        yield answer


async def next_event(lines):
    async with asyncio.timeout(5):
        async for line in lines:
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
    return None


async def test_a_reader_sees_requests_as_they_come_and_only_those_it_asked_for():
    admin = Admin()
    async with running(admin) as base, tail(admin, base, "vera", "?status=5") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        await until(lambda: admin.fakes.live.readers)
        good, bad = admin.fakes.requests.rows[0], admin.fakes.requests.rows[5]
        admin.fakes.live.publish(good)
        admin.fakes.live.publish(bad)
        assert (await next_event(lines))["id"] == bad.id


async def test_a_tenants_reader_sees_its_own_alone():
    admin = Admin()
    async with running(admin) as base, tail(admin, base, "tina") as answer:
        lines = answer.aiter_lines()
        await until(lambda: admin.fakes.live.readers)
        for record in admin.fakes.requests.rows[1:4]:
            admin.fakes.live.publish(record)
        assert (await next_event(lines))["tenant"] == "acme"


async def test_a_reader_that_leaves_frees_its_place():
    admin = Admin()
    async with running(admin) as base:
        async with tail(admin, base, "vera"):
            await until(lambda: len(admin.fakes.live.readers) == 1)
        await until(lambda: not admin.fakes.live.readers)


async def test_the_number_of_streams_is_bounded():
    streams = LiveStreams(most=1)
    admin = Admin(streams=streams)
    async with running(admin) as base, tail(admin, base, "vera"):
        await until(lambda: streams.open == 1)
        async with tail(admin, base, "vera") as refused:
            assert refused.status_code == 429
    await until(lambda: streams.open == 0)


async def test_the_stream_beats_and_ends_with_the_session():
    admin = Admin(streams=LiveStreams(heartbeat_s=0.05))
    async with running(admin) as base, tail(admin, base, "vera") as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(5):
            async for line in lines:
                if line == ": beat":
                    break
            admin.fakes.users.sessions.clear()
            async for _ in lines:
                pass
        assert answer.is_closed or answer.is_stream_consumed
    await until(lambda: not admin.fakes.live.readers)


async def test_the_stream_ends_when_control_stops_publishing():
    admin = Admin()

    async def nothing():
        return
        yield

    admin.fakes.live.subscribe = nothing
    async with running(admin) as base, tail(admin, base, "vera") as answer:
        async with asyncio.timeout(5):
            assert [line async for line in answer.aiter_lines() if line] == ["retry: 3000", ": connected"]


async def test_hostile_text_cannot_break_out_of_its_event():
    admin = Admin()
    record = admin.fakes.requests.rows[3]
    forged = msgspec.structs.replace(record, path="/x\n\nevent: request\ndata: {}\n\n", user_agent="a\r\nb")
    async with running(admin) as base, tail(admin, base, "vera") as answer:
        lines = answer.aiter_lines()
        await until(lambda: admin.fakes.live.readers)
        admin.fakes.live.publish(forged)
        event = await next_event(lines)
    assert (event["path"], event["user_agent"]) == (forged.path, forged.user_agent)


async def test_asking_for_the_head_follows_nothing():
    admin = Admin()
    async with running(admin) as base, httpx2.AsyncClient(base_url=base, timeout=5) as client:
        headers = {"Authorization": f"Bearer {admin.token_of('vera')}"}
        answer = await client.head(f"{API}/requests/live", headers=headers)
    assert answer.status_code == 200
    assert not admin.fakes.live.readers
