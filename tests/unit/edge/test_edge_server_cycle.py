"""One request and its answer on a connection: what is written, when, and what is refused to be written."""

from __future__ import annotations

import asyncio

import pytest

from gateway.edge.answer_head import UnwritableError
from gateway.edge.server_cycle import JOIN_BYTES, Cycle

pytestmark = pytest.mark.anyio


class Wire:
    """A transport that keeps what is written, and flow control that never pauses."""

    write_paused = False

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False
        self.answered = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_extra_info(self, _name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closed

    def resume_reading(self) -> None:
        pass

    def on_response(self) -> None:
        self.answered += 1


def cycle(
    wire: Wire, method: str = "GET", *, expect: bool = False, keep_alive: bool = True, version: str = "1.1"
) -> Cycle:
    scope = {"method": method, "http_version": version}
    return Cycle(scope, wire, wire, wire.on_response, expect_100_continue=expect, keep_alive=keep_alive)


def start(status: int = 200, *fields: tuple[bytes, bytes]) -> dict:
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def body(data: bytes = b"", *, more: bool = False) -> dict:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(*messages: dict, **changes) -> Wire:
    wire = Wire()
    made = cycle(wire, **changes)
    for message in messages:
        await made.send(message)
    return wire


async def run(app, **changes) -> Wire:
    wire = Wire()
    tasks: set = set()
    made = cycle(wire, **changes)
    made.task = asyncio.ensure_future(made.run_asgi(app, tasks))
    tasks.add(made.task)
    await made.task
    assert tasks == set()
    return wire


async def test_head_and_body_leave_in_one_write():
    wire = await answer(start(200, (b"content-length", b"5"), (b"x-a", b"b")), body(b"hello"))
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello"]
    assert (wire.answered, wire.closed) == (1, False)


async def test_a_long_body_is_not_copied_behind_its_head():
    whole = bytes(JOIN_BYTES + 1)
    wire = await answer(start(200, (b"content-length", b"%d" % len(whole))), body(whole))
    assert len(wire.writes) == 2 and wire.writes[1] is whole


async def test_an_empty_body_message_sends_the_head_ahead():
    wire = await answer(start(200, (b"content-length", b"5")), body(more=True))
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"]


async def test_a_body_of_unknown_length_is_chunked():
    wire = await answer(start(), body(b"ab", more=True), body(b"c"))
    head, _, chunks = b"".join(wire.writes).partition(b"\r\n\r\n")
    assert head.endswith(b"transfer-encoding: chunked")
    assert chunks == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


async def test_a_body_of_unknown_length_lasts_until_the_connection_closes_for_http_1_0():
    wire = await answer(start(), body(b"ab", more=True), body(b"c"), version="1.0", keep_alive=False)
    head, _, sent = b"".join(wire.writes).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head and head.endswith(b"connection: close")
    assert (sent, wire.closed) == (b"abc", True)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_is_not_chunked(status):
    wire = await answer(start(status), body())
    assert b"transfer-encoding" not in wire.writes[0] and wire.writes[0].endswith(b"\r\n\r\n")


async def test_head_gets_the_fields_and_no_body():
    wire = await answer(start(200, (b"content-length", b"5")), body(b"hello"), method="HEAD")
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"]


@pytest.mark.parametrize("field", [(b"connection", b"close"), (b"connection", b"x, Close")])
async def test_an_answer_that_says_close_closes(field):
    assert (await answer(start(200, (b"content-length", b"0"), field), body())).closed


async def test_a_client_that_closes_is_told_so_in_turn():
    wire = await answer(start(200, (b"content-length", b"0")), body(), keep_alive=False)
    assert wire.closed and wire.writes[0].count(b"connection: close\r\n") == 1


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x\r\ny", b"a"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b"a\r"),
    ],
)
async def test_no_field_can_begin_a_line_of_its_own(field):
    wire = Wire()
    with pytest.raises(UnwritableError, match="CR, LF or NUL"):
        await cycle(wire).send(start(200, (b"content-length", b"0"), field))
    assert wire.writes == []


@pytest.mark.parametrize(("said", "sent"), [(b"4", b"hello"), (b"6", b"hello")])
async def test_a_body_of_another_length_than_announced_never_looks_whole(said, sent):
    async def app(_scope, _receive, send):
        await send(start(200, (b"content-length", said)))
        await send(body(sent))

    wire = await run(app)
    assert wire.closed and wire.answered == 0


async def test_an_app_that_fails_before_it_answers_is_a_500():
    async def app(_scope, _receive, _send):
        raise NameError("typo")

    wire = await run(app)
    assert wire.writes[0].startswith(b"HTTP/1.1 500 ") and wire.closed


async def test_an_app_that_returns_without_an_answer_is_a_500():
    async def app(_scope, _receive, _send):
        return

    assert (await run(app)).writes[0].startswith(b"HTTP/1.1 500 ")


async def test_an_app_that_leaves_its_answer_unfinished_loses_the_connection():
    async def app(_scope, _receive, send):
        await send(start(200, (b"content-length", b"5")))
        await send(body(b"he", more=True))

    wire = await run(app)
    assert wire.closed and wire.answered == 0


async def test_messages_out_of_order_are_refused():
    with pytest.raises(RuntimeError, match=r"Expected ASGI message 'http\.response\.start'"):
        await answer(body(b"a"))
    with pytest.raises(RuntimeError, match=r"Expected ASGI message 'http\.response\.body'"):
        await answer(start(), start())
    with pytest.raises(RuntimeError, match="after response already completed"):
        await answer(start(200, (b"content-length", b"0")), body(), body())


async def test_the_body_is_received_in_what_slices_it_came():
    made = cycle(Wire())
    made.body += b"ab"
    made.message_event.set()
    assert await made.receive() == {"type": "http.request", "body": b"ab", "more_body": True}
    made.body += b"c"
    made.more_body = False
    made.message_event.set()
    assert await made.receive() == {"type": "http.request", "body": b"c", "more_body": False}


async def test_a_receive_given_up_loses_nothing():
    made = cycle(Wire())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await made.receive()
    made.body += b"late"
    made.message_event.set()
    assert (await made.receive())["body"] == b"late"


async def test_the_client_is_told_to_go_on_only_when_somebody_reads():
    wire = Wire()
    made = cycle(wire, expect=True)
    assert wire.writes == []
    made.message_event.set()
    await made.receive()
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


async def test_after_the_client_left_nothing_is_written():
    wire = Wire()
    made = cycle(wire)
    made.disconnected = True
    await made.send(start())
    assert (await made.receive(), wire.writes) == ({"type": "http.disconnect"}, [])
