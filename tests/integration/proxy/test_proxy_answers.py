"""Answers that end well: every framing, keep-alive, and what is not passed on."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.proxy.scripted_origin import Origin, Peer, RecordingSink, answering, ok, proxied, proxy_to

pytestmark = pytest.mark.anyio


async def test_an_answer_with_a_length_arrives_whole_and_the_connection_is_used_again():
    async with proxied(answering(ok())) as (proxy, origin):
        first = await proxy.ask()
        second = await proxy.ask()
    assert (first.status, bytes(first.received), first.ended) == (200, b"fine", True)
    assert (b"content-length", b"4") in first.headers
    assert [attempt[2] for attempt in first.attempts + second.attempts] == [False, True]
    assert origin.accepted == 1
    assert proxy.counted("opened") == 1
    assert proxy.counted("reused") == 1


@pytest.mark.parametrize("connection", [b"close", b"Close, x-other"])
async def test_an_upstream_that_says_close_gets_a_new_connection_next_time(connection):
    async with proxied(answering(ok(extra=b"Connection: %b\r\n" % connection))) as (proxy, origin):
        await proxy.ask()
        second = await proxy.ask()
    assert second.ended
    assert origin.accepted == 2
    assert b"connection" not in dict(second.headers)


async def test_a_body_that_lasts_until_the_connection_closes_is_whole():
    async with proxied(answering(b"HTTP/1.1 200 OK\r\n\r\nto the end", close=True)) as (proxy, _):
        sink = await proxy.ask()
    assert sink.ended
    assert bytes(sink.received) == b"to the end"


async def test_chunks_are_joined_and_trailers_that_look_like_identity_are_dropped():
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nx-sentinel-subject: mallory\r\n\r\n"
    )
    async with proxied(answering(answer)) as (proxy, origin):
        sink = await proxy.ask()
        await proxy.ask()
    assert bytes(sink.received) == b"abcde"
    assert sink.headers == []
    assert origin.accepted == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_leave_the_connection_usable(status):
    answer = b"HTTP/1.1 %d X\r\ncontent-length: 5\r\netag: a\r\n\r\n" % status
    async with proxied(answering(answer, ok())) as (proxy, origin):
        sink = await proxy.ask()
        after = await proxy.ask()
    assert (sink.status, bytes(sink.received), sink.ended) == (status, b"", True)
    assert sink.headers == [(b"etag", b"a")]
    assert bytes(after.received) == b"fine"
    assert origin.accepted == 1


async def test_an_answer_to_head_keeps_its_length_and_the_connection():
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    async with proxied(answering(answer, b"HTTP/1.1 200 OK\r\n\r\n", ok())) as (proxy, origin):
        with_length = await proxy.ask(b"HEAD")
        without_length = await proxy.ask(b"HEAD")
        after = await proxy.ask()
    assert with_length.headers == [(b"content-length", b"5")]
    assert with_length.ended
    assert without_length.ended
    assert bytes(after.received) == b"fine"
    assert origin.accepted == 1


async def test_a_body_after_an_answer_to_head_never_becomes_the_next_answer():
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(forged), forged)
    async with proxied(answering(answer, ok())) as (proxy, origin):
        head = await proxy.ask(b"HEAD")
        after = await proxy.ask()
    assert head.ended
    assert bytes(head.received) == b""
    assert bytes(after.received) == b"fine"
    assert origin.accepted == 2


@pytest.mark.parametrize("surplus", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged", b"garbage"])
async def test_bytes_after_an_answer_never_become_the_next_clients_answer(surplus):
    async with proxied(answering(ok() + surplus, ok(b"mine"))) as (proxy, origin):
        first = await proxy.ask()
        second = await proxy.ask()
    assert bytes(first.received) == b"fine"
    assert bytes(second.received) == b"mine"
    assert origin.accepted == 2


async def test_bytes_that_arrive_on_an_idle_connection_close_it():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await asyncio.sleep(0.05)
        await peer.send(ok(b"nobody asked"))
        await peer.request()

    async with proxied(script) as (proxy, origin):
        await proxy.ask()
        await asyncio.sleep(0.15)
        origin.script = answering(ok(b"mine"))
        second = await proxy.ask()
    assert bytes(second.received) == b"mine"
    assert second.attempts[0][2] is False


async def test_interim_answers_are_skipped():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with proxied(answering(interim + ok())) as (proxy, _):
        sink = await proxy.ask()
    assert (sink.status, bytes(sink.received)) == (200, b"fine")
    assert sink.headers == [(b"content-length", b"4")]


async def test_hop_by_hop_and_nominated_fields_of_an_answer_stop_here():
    extra = (
        b"Keep-Alive: timeout=5\r\nConnection: keep-alive, X-Internal\r\nX-Internal: 1\r\n"
        b"Set-Cookie: a\r\nSet-Cookie: b\r\n"
    )
    async with proxied(answering(ok(extra=extra))) as (proxy, _):
        sink = await proxy.ask()
    assert sink.headers == [(b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"content-length", b"4")]


async def test_a_unix_socket_is_a_target_too(tmp_path):
    async with (
        Origin(answering(ok())).listening(str(tmp_path / "control.sock")) as origin,
        proxy_to(origin.target) as proxy,
    ):
        sink = await proxy.ask()
    assert bytes(sink.received) == b"fine"
    assert sink.attempts == [("unix", 1, False)]


async def test_what_the_origin_receives_is_one_unambiguous_message():
    seen: list[tuple[bytes, bytes]] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(ok())

    async with proxied(script) as (proxy, _):
        await proxy.ask(b"POST", b"hello", path=b"/a%2fb")
    head, body = seen[0]
    assert body == b"hello"
    assert head == (
        b"POST /a%2fb HTTP/1.1\r\nhost: api.example\r\naccept: */*\r\nx-forwarded-for: 192.0.2.7\r\n"
        b"x-forwarded-proto: http\r\nx-forwarded-host: api.example\r\nx-request-id: r-1\r\ncontent-length: 5\r\n\r\n"
    )


async def test_a_body_of_unknown_length_goes_out_chunked():
    bodies: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            assert b"\r\ntransfer-encoding: chunked\r\n" in head
            bodies.append(body)
            await peer.send(ok())

    async with proxied(script) as (proxy, _):
        for _ in range(2):
            call, sink = proxy.send(b"POST", -1)
            for piece in (b"one ", b"", b"two"):  # the empty piece must not end the body
                call.write(piece)
                await asyncio.sleep(0)
            call.finish()
            await sink.wait()
            assert sink.ended
    assert bodies == [b"one two", b"one two"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.binary(max_size=3000),
    upload=st.binary(max_size=3000),
    sizes=st.lists(st.integers(1, 200), max_size=20),
    framing=st.sampled_from(["length", "chunked", "close"]),
    announced=st.booleans(),
)
async def test_bodies_are_identical_however_they_are_cut(answer, upload, sizes, framing, announced):
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        received.append((await peer.request())[1])
        if framing == "length":
            await peer.send(ok(answer), sizes=sizes)
        elif framing == "close":
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + answer, sizes=sizes)
        else:
            step = sizes[0] if sizes else 7
            pieces = [answer[at : at + step] for at in range(0, len(answer), step)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            await peer.send(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", sizes=sizes
            )

    async with proxied(script) as (proxy, _):
        call, sink = proxy.send(b"POST", len(upload) if announced else -1)
        left = upload
        for size in sizes:
            piece, left = left[:size], left[size:]
            call.write(piece)
            await asyncio.sleep(0)
        call.write(left)
        call.finish()
        await sink.wait()
    assert sink.ended, sink.failure and sink.failure.detail
    assert received == [upload]
    assert bytes(sink.received) == answer


async def test_a_stalled_reader_holds_the_upstream_back():
    sent = 0
    stalled = asyncio.Event()
    total = 64 * 1024 * 1024
    piece = bytes(range(256)) * 256

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            peer.writer.write(piece)
            await peer.writer.drain()
            sent += len(piece)
        stalled.set()

    async with proxied(script) as (proxy, _):
        sink = RecordingSink()
        call, _ = proxy.send(sink=sink)
        sink.on_body = call.pause_reading
        await sink.answered.wait()
        await asyncio.sleep(0.3)
        held = sent
        assert not stalled.is_set()
        assert held < 16 * 1024 * 1024  # kernel buffers at most
        assert len(sink.received) < 1024 * 1024
        sink.on_body = lambda: None
        call.resume_reading()
        await sink.wait()
    assert sink.ended
    assert zlib.crc32(bytes(sink.received)) == zlib.crc32(piece * (total // len(piece)))


async def test_an_upstream_that_does_not_read_pauses_the_client():
    go_on = asyncio.Event()
    got: list[int] = []

    async def script(peer: Peer) -> None:
        await go_on.wait()
        got.append(len((await peer.request())[1]))
        await peer.send(ok())

    async with proxied(script) as (proxy, _):
        call, sink = proxy.send(b"PUT", 20 * 1024 * 1024)
        written = 0
        while written < 20 * 1024 * 1024:
            if sink.pauses > sink.resumes:
                go_on.set()
                await asyncio.sleep(0.001)
                continue
            call.write(bytes(1024 * 1024))
            written += 1024 * 1024
            await asyncio.sleep(0)
        call.finish()
        await sink.wait()
    assert sink.pauses > 0
    assert got == [20 * 1024 * 1024]


async def test_a_connection_whose_upload_is_still_under_way_when_the_answer_ends_is_not_used_again():
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(1)

    async with proxied(script) as (proxy, origin):
        call, sink = proxy.send(b"PUT", 32 * 1024 * 1024)
        call.write(bytes(32 * 1024 * 1024))
        call.finish()
        await sink.wait()
        assert (sink.status, sink.ended) == (413, True)
        origin.script = answering(ok())
        after = await proxy.ask()
    assert bytes(after.received) == b"fine"
    assert after.attempts[0][2] is False


async def test_a_connection_paused_by_its_last_client_reads_again_for_the_next():
    async with proxied(answering(ok())) as (proxy, origin):
        sink = RecordingSink()
        call, _ = proxy.send(sink=sink)
        sink.on_body = call.pause_reading
        await sink.wait()
        after = await proxy.ask()
    assert bytes(after.received) == b"fine"
    assert origin.accepted == 1


async def test_a_chunked_answer_to_head_costs_the_connection_since_a_body_may_follow():
    async with proxied(answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", ok())) as (proxy, origin):
        head = await proxy.ask(b"HEAD")
        await proxy.ask()
    assert head.ended
    assert origin.accepted == 2
