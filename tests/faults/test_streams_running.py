"""Event streams through the running program while it is told to stop."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests import running
from tests.integration.edge.edge_world import Wire
from tests.integration.edge.websocket_world import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENT = b"data: something\n\n"
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


@pytest.fixture
def origin() -> Iterator[Origin]:
    listening = Origin()
    yield listening
    listening.clear()


@pytest.mark.parametrize("driver", ["asgi", "lane"])
def test_a_stream_goes_on_while_the_worker_drains_and_ends_whole(tmp_path: Path, origin: Origin, driver: str) -> None:
    with running.gateway(tmp_path, running.config(origin.port, server=f'driver = "{driver}"')) as gateway:
        client = Wire(gateway.port)
        client.send(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        upstream = origin.connection()
        upstream.request()
        upstream.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK
        )
        assert client.head()[0] == 200
        assert client.body(len(CHUNK)) == CHUNK
        codes: list[int] = []
        stopping = threading.Thread(target=lambda: codes.append(gateway.stop()))
        stopping.start()
        for _ in range(4):
            time.sleep(0.5)
            upstream.send(CHUNK)
            assert client.body(len(CHUNK)) == CHUNK
        upstream.send(b"0\r\n\r\n")
        assert client.until_closed() == b"0\r\n\r\n"
        stopping.join(20)
        assert codes == [0]
        gateway.start()
        gateway.wait(gateway.records, 30, "the stream is recorded")
        assert [(record["status"], record["error"]) for record in gateway.records()] == [(200, "")]
