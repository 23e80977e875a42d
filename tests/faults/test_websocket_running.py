"""WebSockets through the running program, with wsproto at both ends: a change of the configuration, and a stop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from loadtests import websockets
from tests import running
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 200


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    with websockets.serving() as port:
        yield port


@pytest.fixture(params=["asgi", "lane"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path, echo_port: int) -> Iterator[running.Gateway]:
    server = f'driver = "{request.param}"'
    config = running.config(echo_port, server=server).replace('path = "/*"', 'path = "/live/*"')
    with running.gateway(tmp_path, config) as started:
        yield started


def statuses(gateway: running.Gateway) -> Counter[tuple[int, str]]:
    return Counter((record["status"], record["error"]) for record in gateway.records())


def open_by_now(gateway: running.Gateway) -> float:
    return shop.metric(gateway, "sentinel_websockets_open{")


def test_open_websockets_outlive_a_change_of_everything_they_came_by(gateway: running.Gateway) -> None:
    async def scenario() -> int:
        clients = await websockets.open_many(gateway.port, "/live", COUNT)
        assert await websockets.all_answer(clients, "before") == COUNT
        await asyncio.to_thread(gateway.wait, lambda: open_by_now(gateway) == COUNT, 60, "control knows of all of them")
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace('"api"', '"other"').replace("/live/*", "/other/*"))
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await websockets.in_force(gateway.port, "/other/live")
        alive = await websockets.all_answer(clients, "after")
        with pytest.raises(websockets.RefusedError, match="404"):
            await websockets.Client.open(gateway.port, "/live")
        await asyncio.gather(*(client.close() for client in clients))
        return alive

    assert asyncio.run(scenario()) == COUNT
    gateway.wait(lambda: open_by_now(gateway) == 0, 60, "none is open any more")
    one_more = COUNT + 1  # the first on the new route
    gateway.wait(lambda: statuses(gateway)[101, ""] >= one_more, 10, "each has one record, and ended well")
    assert statuses(gateway)[101, ""] == one_more


def test_a_stop_closes_every_websocket_with_1012_in_its_time(gateway: running.Gateway) -> None:
    async def scenario() -> Counter[int]:
        clients = await websockets.open_many(gateway.port, "/live", COUNT)
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(gateway.stop))
        codes = await asyncio.gather(*(client.closed_with() for client in clients))
        assert await stopping == 0
        assert time.monotonic() - began < 12
        return Counter(codes)

    assert asyncio.run(scenario()) == {1012: COUNT}
    gateway.start()
    assert statuses(gateway)[101, ""] == COUNT


def test_a_handshake_shows_who_it_is_like_any_request(tmp_path: Path, echo_port: int) -> None:
    with running.gateway(tmp_path, running.config(echo_port, route='auth = "jwt"')) as gateway:

        async def refused() -> int:
            with pytest.raises(websockets.RefusedError) as why:
                await websockets.Client.open(gateway.port, "/live")
            return why.value.status

        assert asyncio.run(refused()) == 401
