"""One forwarded exchange without a network: slices both ways, and what is left behind when the server stops."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.traffic import RequestRecord
from gateway.edge.middleware import EdgeApp
from tests.unit.edge.edge_values import Rows, steps

bodies = st.lists(st.binary(max_size=300), max_size=12)
pauses = st.lists(st.booleans(), max_size=12)


class Echo:
    """A proxy whose upstream answers every chunk with itself; ``late`` says which callbacks wait for the next tick."""

    def __init__(self, late: list[bool]) -> None:
        self._late = iter(late)
        self._queue: list = []
        self.received = b""
        self.cancelled = False

    def forward(self, outbound, sink):
        self._sink = sink
        sink.connected("t:1", attempt=1, reused=False)
        self._say(sink.head, 200, [])
        return self

    def write(self, chunk: bytes) -> None:
        self.received += chunk
        self._say(self._sink.body, chunk)

    def finish(self) -> None:
        self._say(self._sink.end)

    def cancel(self) -> None:
        self.cancelled = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def _say(self, call, *arguments) -> None:
        """In order always: one late callback holds back those after it."""
        self._queue.append((call, arguments))
        if next(self._late, False):
            asyncio.get_running_loop().call_soon(self._drain)
        else:
            self._drain()

    def _drain(self) -> None:
        queue, self._queue = self._queue, []
        for call, arguments in queue:
            call(*arguments)


SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/orders",
    "raw_path": b"/orders",
    "query_string": b"",
    "headers": [(b"host", b"a"), (b"transfer-encoding", b"chunked")],
    "http_version": "1.1",
}


async def relay(forwarder, chunks: list[bytes], rows: Rows) -> list[dict]:
    """Send a body in these slices and return what the app sent."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[dict] = []

    async def receive():
        await asyncio.sleep(0)
        if messages:
            return messages.pop(0)
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await EdgeApp(steps(records=rows), forwarder)(SCOPE, receive, send)
    return sent


@given(chunks=bodies, late=pauses)
def test_a_body_is_the_same_both_ways_in_whatever_slices_it_travels(chunks, late):
    echo, rows = Echo(late), Rows()
    sent = asyncio.run(relay(echo, chunks, rows))
    whole = b"".join(chunks)
    assert echo.received == whole
    assert b"".join(message.get("body", b"") for message in sent) == whole
    assert [message["type"] for message in sent[:1]] == ["http.response.start"]
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    record = RequestRecord(*rows.rows[0])
    assert (record.bytes_in, record.bytes_out, record.error) == (len(whole), len(whole), "")
    assert not echo.cancelled


def test_an_answer_that_comes_in_one_read_leaves_in_two_messages():
    echo = Echo([])
    sent = asyncio.run(relay(echo, [], Rows()))
    assert len(sent) == 2


@pytest.mark.anyio
async def test_a_server_that_stops_leaves_a_cancelled_call_and_a_record():
    rows = Rows()
    echo = Echo([])
    echo._say = lambda *_: None  # an upstream that never answers
    task = asyncio.ensure_future(relay(echo, [b"abc"], rows))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert echo.cancelled
    record = RequestRecord(*rows.rows[0])
    assert (record.status, record.error, record.bytes_in) == (503, "internal", 3)
    assert [task for task in asyncio.all_tasks() if "_read_client" in repr(task) and not task.cancelling()] == []
