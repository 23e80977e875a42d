"""The gateway inside an application of somebody else, under a real uvicorn; a how-to page tries it beside control."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.embed import Sentinel
from tests import servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

CONFIG = """
[server]
run_dir = "{run}"

[[upstreams]]
name = "shop"
targets = ["app:"]

[[routes]]
name = "open"
match = {{ path = "/open" }}
upstream = "shop"
limit = "1/h burst 4 per client"
cors = {{ origins = ["https://app.example"] }}

[[routes]]
name = "closed"
match = {{ path = "/closed" }}
upstream = "shop"
auth = "key"
"""


async def answer(request):
    return JSONResponse({"id": request.state.request_id, "headers": dict(request.headers)})


def application(events: list[str]) -> Starlette:
    @asynccontextmanager
    async def lifespan(_app):
        events.append("started")
        yield
        events.append("stopped")

    return Starlette(routes=[Route("/open", answer), Route("/closed", answer)], lifespan=lifespan)


@asynccontextmanager
async def served(app, **options) -> AsyncIterator[httpx2.AsyncClient]:
    port = servers.free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, **options))
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn tells by this attribute alone
        await asyncio.sleep(0.01)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        await task


def written(folder: Path, **changes: str) -> Path:
    config = folder / "sentinel.toml"
    text = CONFIG.format(run=folder / "run")
    for before, after in changes.items():
        text = text.replace(before, after)
    config.write_text(text)
    return config


@pytest.mark.parametrize("lifespan", ["on", "off"])
async def test_the_application_answers_behind_the_steps(tmp_path: Path, lifespan: str) -> None:
    events: list[str] = []
    app = application(events)
    app.add_middleware(Sentinel, config=str(written(tmp_path)))
    async with served(app, lifespan=lifespan) as client:
        good = await client.get("/open", headers={"x-sentinel-subject": "forged", "origin": "https://app.example"})
        assert good.status_code == 200
        assert good.json()["id"] == good.headers["x-request-id"]
        assert "x-sentinel-subject" not in good.json()["headers"]
        assert good.headers["access-control-allow-origin"] == "https://app.example"
        assert (await client.get("/closed")).status_code == 401
        assert (await client.get("/nowhere")).status_code == 404
        statuses = [(await client.get("/open")).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
    assert events == (["started", "stopped"] if lifespan == "on" else [])


async def test_a_bad_configuration_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    guarded = Sentinel(application([]), config=str(written(tmp_path, upstream="upstraem")))
    said: list[dict[str, str]] = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        said.append(message)

    await guarded({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert 'did you mean "upstream' in said[0]["message"]


async def test_limits_are_divided_among_the_processes_that_were_announced(tmp_path: Path) -> None:
    app = Sentinel(application([]), config=str(written(tmp_path)), processes=2)
    async with served(app) as client:
        assert [(await client.get("/open")).status_code for _ in range(3)] == [200, 200, 429]
