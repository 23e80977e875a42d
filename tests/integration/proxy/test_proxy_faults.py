"""Upstreams that misbehave, and clients that leave: what the sink hears, and what is freed."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.domain.upstreams import Target, Timeouts, Upstream
from gateway.errors import ConfigError
from tests.integration.proxy.scripted_origin import (
    QUICK,
    Origin,
    Peer,
    Proxy,
    RecordingSink,
    answering,
    ok,
    proxied,
    proxy_to,
)
from tests.servers import free_port

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\n"


def saying(answer: bytes, *, then: str = "wait"):
    """Read one request, send ``answer``, then wait, close or reset."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer)
            if then == "close":
                return
            if then == "reset":
                await asyncio.sleep(0.02)
                peer.reset()
                return

    return script


BROKEN = {
    "bad chunk size": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "chunk longer than its size": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "chunk size overflow": HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "endless chunk extension": HEAD + b"transfer-encoding: chunked\r\n\r\n3;" + b"e" * 200_000,
    "endless trailers": HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nt: " + b"t" * 200_000,
}

REFUSED = {
    "length and chunked": HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunked and length": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "negative length": HEAD + b"content-length: -1\r\n\r\n",
    "foreign transfer coding": HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "folded header": HEAD + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "NUL in a value": HEAD + b"a: b\0c\r\ncontent-length: 0\r\n\r\n",
    "CR in a value": HEAD + b"a: b\rc\r\ncontent-length: 0\r\n\r\n",
    "blank before the colon": HEAD + b"a : b\r\ncontent-length: 0\r\n\r\n",
    "huge head": HEAD + b"".join(b"h%d: %b\r\n" % (n, b"v" * 1000) for n in range(80)) + b"content-length: 0\r\n\r\n",
    "one huge value": HEAD + b"h: " + b"v" * 300_000,
    "too many headers": HEAD + b"h: v\r\n" * 300 + b"content-length: 0\r\n\r\n",
    "endless interim answers": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50,
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nxx",
    "no such status": b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
async def test_an_answer_that_breaks_the_protocol_is_a_502_and_its_connection_is_not_used_again(answer):
    async with proxied(saying(answer)) as (proxy, origin):
        sink = await proxy.ask()
        assert (sink.status, sink.kind, sink.failure.status) == (0, "upstream_protocol", 502)
        origin.script = answering(ok())
        after = await proxy.ask()
    assert bytes(after.received) == b"fine"
    assert origin.accepted == 2


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_a_body_that_breaks_the_protocol_is_never_ended_cleanly(answer):
    async with proxied(saying(answer)) as (proxy, origin):
        sink = await proxy.ask()
        assert (sink.status, sink.ended, sink.kind) == (200, False, "upstream_protocol")
        origin.script = answering(ok())
        await proxy.ask()
    assert origin.accepted == 2


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "answer",
    [HEAD + b"content-length: 10\r\n\r\nshort", HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n"],
    ids=["short length", "no last chunk"],
)
async def test_an_answer_cut_short_is_truncated_and_never_ended(answer, then):
    async with proxied(saying(answer, then=then)) as (proxy, _):
        sink = await proxy.ask()
    assert (sink.status, bytes(sink.received), sink.ended) == (200, b"short", False)
    assert sink.kind == "upstream_truncated"


async def test_a_reset_within_a_body_that_lasts_until_the_close_is_not_its_end():
    async with proxied(saying(HEAD + b"\r\npart", then="reset")) as (proxy, _):
        sink = await proxy.ask()
    assert (sink.ended, sink.kind) == (False, "upstream_truncated")


async def test_an_upstream_that_never_answers_is_a_504_and_its_slot_is_freed():
    async with proxied(saying(b""), timeouts=QUICK, max_connections=1) as (proxy, origin):
        sink = await proxy.ask()
        assert (sink.kind, sink.failure.status) == ("upstream_timeout", 504)
        origin.script = answering(ok())
        assert (await proxy.ask()).ended


async def test_a_head_that_drips_does_not_outlive_the_header_timeout():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD)
        for _ in range(100):
            await peer.send(b"h: v\r\n")
            await asyncio.sleep(0.05)

    async with proxied(script, timeouts=QUICK) as (proxy, _):
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.status) == ("upstream_timeout", 504)


async def test_a_body_that_stands_still_is_truncated():
    async with proxied(saying(HEAD + b"content-length: 10\r\n\r\nhalf"), timeouts=QUICK) as (proxy, _):
        sink = await proxy.ask()
    assert (sink.status, sink.ended, sink.kind) == (200, False, "upstream_truncated")


async def test_a_body_that_drips_within_the_idle_timeout_arrives_whole():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"content-length: 5\r\n\r\n")
        for byte in b"drips":
            await asyncio.sleep(0.15)
            await peer.send(bytes([byte]))

    async with proxied(script, timeouts=QUICK) as (proxy, _):
        sink = await proxy.ask()
    assert bytes(sink.received) == b"drips"
    assert sink.ended


async def test_a_slow_client_is_not_the_upstreams_fault():
    async with proxied(saying(HEAD + b"content-length: 4\r\n\r\nha", then="wait"), timeouts=QUICK) as (proxy, _):
        sink = RecordingSink()
        call, _ = proxy.send(sink=sink)
        sink.on_head = call.pause_reading
        await sink.answered.wait()
        await asyncio.sleep(0.7)
        assert not sink.over.is_set()
        call.resume_reading()
        await sink.wait()
    assert sink.kind == "upstream_truncated"


async def test_a_slow_upload_is_not_the_upstreams_fault_but_silence_after_it_is():
    async with proxied(saying(b""), timeouts=QUICK) as (proxy, _):
        call, sink = proxy.send(b"POST", 2)
        call.write(b"a")
        await asyncio.sleep(0.7)
        assert not sink.over.is_set()
        call.write(b"b")
        call.finish()
        await sink.wait()
    assert sink.kind == "upstream_timeout"


async def test_an_upstream_that_takes_none_of_the_upload_is_a_504():
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await asyncio.sleep(5)

    async with proxied(script, timeouts=QUICK) as (proxy, _):
        call, sink = proxy.send(b"PUT", 64 * 1024 * 1024)
        while not sink.over.is_set():
            if sink.pauses == sink.resumes:
                call.write(bytes(512 * 1024))
            await asyncio.sleep(0.005)
    assert (sink.kind, sink.failure.status) == ("upstream_timeout", 504)


async def test_an_early_answer_is_passed_on_and_its_connection_closed():
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await peer.reader.read()

    async with proxied(script) as (proxy, origin):
        call, sink = proxy.send(b"POST", 1000)
        call.write(b"x" * 10)
        await sink.wait()
        call.write(b"y" * 990)  # the driver may not know yet
        call.finish()
        origin.script = answering(ok())
        await proxy.ask()
    assert (sink.status, sink.ended) == (413, True)
    assert origin.accepted == 2


async def test_a_refused_connection_goes_to_the_next_target_even_for_a_post():
    dead = Target("127.0.0.1:1", "127.0.0.1", free_port())
    async with Origin(answering(ok())).listening() as origin, proxy_to(dead, origin.target) as proxy:
        sinks = [await proxy.ask(b"POST", b"body") for _ in range(4)]
    assert all(sink.ended for sink in sinks)
    assert {sink.attempts[0][:2] for sink in sinks} == {(origin.target.name, 1), (origin.target.name, 2)}
    assert proxy.counted("failed") == 2


async def test_when_every_target_refuses_it_is_a_502_that_names_the_last_one():
    dead = [Target(f"dead-{n}", "127.0.0.1", free_port()) for n in range(2)]
    async with proxy_to(*dead) as proxy:
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.status, sink.attempts) == ("upstream_unavailable", 502, [])
    assert (sink.failure.target, sink.failure.attempts) == ("dead-1", 2)
    assert sink.failure.detail == "no connection: Connection refused"  # shown to clients, so it names no address


async def test_an_upstream_without_targets_is_a_502():
    async with proxy_to() as proxy:
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.status) == ("upstream_unavailable", 502)


async def test_a_fresh_connection_closed_without_an_answer_is_a_502_and_not_repeated():
    async with proxied(saying(b"", then="close")) as (proxy, origin):
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.status) == ("upstream_unavailable", 502)
    assert origin.accepted == 1


def stale_after_first():
    """The first connection answers once and closes on its second request; later connections work."""
    bodies: list[bytes] = []

    async def script(peer: Peer) -> None:
        bodies.append((await peer.request())[1])
        await peer.send(ok(b"%d" % peer.number))
        bodies.append((await peer.request())[1])
        if peer.number:
            await peer.send(ok(b"again"))

    return script, bodies


@pytest.mark.parametrize(("method", "body"), [(b"GET", b""), (b"PUT", b"kept")])
async def test_a_stale_connection_is_noticed_and_the_request_repeated_once_on_a_fresh_one(method, body):
    script, bodies = stale_after_first()
    async with proxied(script) as (proxy, _):
        await proxy.ask()
        sink = await proxy.ask(method, body)
        assert proxy.counted("stale") == 1
    assert bytes(sink.received) == b"1"
    assert [attempt[1:] for attempt in sink.attempts] == [(1, True), (2, False)]
    assert bodies[1:3] == [body, body]


async def test_a_post_on_a_stale_connection_is_not_repeated():
    script, bodies = stale_after_first()
    async with proxied(script) as (proxy, origin):
        await proxy.ask()
        sink = await proxy.ask(b"POST", b"charge")
    assert sink.kind == "upstream_unavailable"
    assert bodies.count(b"charge") == 1
    assert origin.accepted == 1


async def test_a_body_too_long_to_keep_is_not_repeated():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.request()

    async with proxied(script) as (proxy, origin):
        await proxy.ask()
        sink = await proxy.ask(b"PUT", bytes(200_000))
    assert sink.kind == "upstream_unavailable"
    assert origin.accepted == 1


async def test_a_request_is_repeated_only_once():
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(ok())
            await peer.request()

    async with proxied(script) as (proxy, origin):
        await proxy.ask()
        sink = await proxy.ask()
    assert sink.kind == "upstream_unavailable"
    assert origin.accepted == 2


async def test_cancelling_closes_the_upstream_connection_and_frees_its_slot():
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"content-length: 100\r\n\r\nhalf")
        assert await peer.reader.read() == b""
        gone.set()

    async with proxied(script, max_connections=1) as (proxy, origin):
        call, sink = proxy.send()
        await sink.answered.wait()
        call.cancel()
        call.cancel()
        await asyncio.wait_for(gone.wait(), 1)
        origin.script = answering(ok())
        assert (await proxy.ask()).ended
    assert not sink.over.is_set()


async def test_a_sink_that_cancels_from_within_its_own_callback_hears_nothing_more():
    async with proxied(answering(ok())) as (proxy, _):
        sink = RecordingSink()
        call, _ = proxy.send(sink=sink)
        sink.on_head = call.cancel
        await sink.answered.wait()
        await asyncio.sleep(0.05)
        assert (bytes(sink.received), sink.over.is_set()) == (b"", False)
        assert (await proxy.ask()).ended


async def test_cancelling_before_connected_lets_the_next_in_the_queue_have_the_slot():
    async with proxied(answering(ok()), max_connections=1) as (proxy, _):
        first, unheard = proxy.send()
        _, waiting = proxy.send()
        first.cancel()
        await waiting.wait()
    assert waiting.ended
    assert not unheard.attempts


async def test_calls_wait_their_turn_and_more_than_the_queue_holds_are_turned_away():
    order: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            order.append(head.split(b" ")[1])
            await peer.send(ok())

    async with proxied(script, max_connections=2, queue=2) as (proxy, origin):
        calls = [proxy.send(path=b"/%d" % n)[1] for n in range(5)]
        for sink in calls:
            await sink.wait()
    assert [sink.kind for sink in calls] == ["", "", "", "", "overloaded"]
    assert calls[4].failure.status == 503
    assert proxy.counted("turned_away") == 1
    assert order[2:] == [b"/2", b"/3"]
    assert origin.accepted == 2


async def test_waiting_for_a_connection_ends_with_the_connect_timeout():
    busy = Timeouts(connect_s=0.2, header_s=5, idle_s=5)
    async with proxied(saying(b""), timeouts=busy, max_connections=1) as (proxy, _):
        proxy.send()
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.status) == ("overloaded", 503)


async def test_idle_connections_close_by_themselves_and_the_sweep_stops(monkeypatch):
    monkeypatch.setattr("gateway.proxy.pool.IDLE_S", 0.1)
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        assert await peer.reader.read() == b""
        closed.set()

    async with proxied(script) as (proxy, _):
        await proxy.ask()
        await asyncio.wait_for(closed.wait(), 2)
        assert proxy.forwarder._sweep._timer is None


@pytest.mark.parametrize("surplus", [1, -1])
async def test_a_body_of_another_length_than_announced_never_reaches_the_next_request(surplus):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"%d" % peer.number))

    async with proxied(script) as (proxy, _):
        call, sink = proxy.send(b"POST", 10)
        await asyncio.sleep(0.05)
        call.write(bytes(10 + surplus))
        call.finish()
        await sink.wait()
        assert (sink.kind, sink.failure.status) == ("bad_request", 400)
        assert bytes((await proxy.ask()).received) == b"1"


async def test_a_request_that_cannot_be_written_unambiguously_is_a_400():
    async with proxied(answering(ok())) as (proxy, origin):
        sink = await proxy.ask(path=b"/a HTTP/1.1\r\nx: y")
    assert (sink.kind, sink.failure.status) == ("bad_request", 400)
    assert origin.accepted == 0


async def test_a_mistake_of_our_own_does_not_look_like_a_bad_answer():
    async with proxied(answering(ok())) as (proxy, _):
        sink = RecordingSink()

        def mistake() -> None:
            raise NameError("typo")

        sink.on_head = mistake
        proxy.send(sink=sink)
        await sink.wait()
    assert (sink.kind, sink.failure.status) == ("internal", 500)


async def test_a_new_snapshot_moves_traffic_without_touching_what_is_under_way():
    answer = asyncio.Event()

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await answer.wait()
            await peer.send(ok(b"old"))

    async with (
        Origin(slow).listening() as old,
        Origin(answering(ok(b"new"))).listening() as new,
        proxy_to(old.target) as proxy,
    ):
        _, under_way = proxy.send()
        await asyncio.sleep(0.05)
        proxy.upstream = Upstream("orders", (new.target,))
        proxy.forwarder.apply((proxy.upstream,), (), 0)
        assert bytes((await proxy.ask()).received) == b"new"
        answer.set()
        await under_way.wait()
        assert bytes(under_way.received) == b"old"
        await asyncio.sleep(0.05)
        proxy.forwarder._hand_over()
        assert proxy.forwarder._services["orders"]._retired == []


async def test_an_ejected_target_gets_nothing_until_the_directive_ends_even_if_the_clock_jumps():
    async with (
        Origin(answering(ok())).listening() as one,
        Origin(answering(ok())).listening() as two,
        proxy_to(one.target, two.target) as proxy,
    ):
        order = Directive(
            id="d-1",
            kind=DirectiveKind.EJECT_TARGET,
            upstream="orders",
            target=one.target.name,
            share=0.0,
            issued_at=1000.0,
            expires_at=1000.3,
            fence=1,
            source="incident",
            reason="errors",
        )
        proxy.forwarder.apply((proxy.upstream,), (order,), 1000.0)
        out = {(await proxy.ask()).attempts[0][0] for _ in range(4)}
        proxy.forwarder.apply((proxy.upstream,), (order,), 1000.0 - 3600)  # the wall clock jumped back
        await asyncio.sleep(0.35)
        back = {(await proxy.ask()).attempts[0][0] for _ in range(4)}
    assert out == {two.target.name}
    assert back == {one.target.name, two.target.name}


async def test_closing_tells_every_exchange_and_opens_nothing_more():
    async with Origin(saying(b"")).listening() as origin:
        proxy = Proxy(Upstream("orders", (origin.target,), max_connections=1))
        _, under_way = proxy.send()
        _, waiting = proxy.send()
        await asyncio.sleep(0.05)
        await proxy.forwarder.close()
        _, late = proxy.send()
    assert (under_way.kind, under_way.failure.status) == ("upstream_unavailable", 503)
    assert (waiting.kind, late.kind) == ("overloaded", "overloaded")


async def test_a_target_that_is_no_plain_host_is_refused_and_nothing_changes():
    async with proxied(answering(ok())) as (proxy, _):
        tls = Upstream("orders", (Target("a:443", "https://a", 443),))
        with pytest.raises(ConfigError, match="is not a host"):
            proxy.forwarder.apply((tls,), (), 0)
        assert (await proxy.ask()).ended


async def test_a_target_that_does_not_take_connections_is_a_502_within_the_connect_timeout():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]  # the kernel's queue takes one or two; then it stays silent
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with proxy_to(Target("deaf", "127.0.0.1", port), timeouts=QUICK) as proxy:
            sink = await proxy.ask()
        for filler in fillers:
            filler.close()
    assert (sink.kind, sink.failure.status) == ("upstream_unavailable", 502)
    assert sink.failure.detail == "no connection within 0.5 s"


async def test_trying_other_targets_does_not_prolong_the_connect_timeout():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        targets = [Target(f"deaf-{n}", "127.0.0.1", port) for n in range(3)]
        async with proxy_to(*targets, timeouts=QUICK) as proxy:
            sink = await proxy.ask()
        for filler in fillers:
            filler.close()
    assert (sink.kind, sink.failure.target, sink.failure.attempts) == ("upstream_unavailable", "deaf-0", 1)


async def test_a_client_paused_by_its_last_bytes_is_resumed_when_they_are_taken():
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await read.wait()
        await peer.request()
        await peer.send(ok())

    async with proxied(script) as (proxy, _):
        call, sink = proxy.send(b"PUT", 16 * 1024 * 1024)
        await asyncio.sleep(0.05)
        call.write(bytes(16 * 1024 * 1024))
        call.finish()
        assert (sink.pauses, sink.resumes) == (1, 0)
        read.set()
        await sink.wait()
    assert (sink.pauses, sink.resumes) == (1, 1)


async def test_a_body_written_before_there_is_a_connection_is_bounded_and_sent_when_there_is_one():
    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(ok(b"%d" % len(body)))

    async with proxied(script) as (proxy, _):
        call, sink = proxy.send(b"POST", -1)
        for _ in range(3):
            call.write(bytes(40 * 1024))
        assert sink.pauses == 1
        call.finish()
        await sink.wait()
    assert bytes(sink.received) == b"122880"
    assert sink.resumes >= 1


async def test_who_waits_for_a_target_that_left_the_configuration_is_still_served():
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await go_on.wait()
            await peer.send(ok(b"old"))

    async with (
        Origin(slow).listening() as old,
        Origin(answering(ok(b"new"))).listening() as new,
        proxy_to(old.target, max_connections=1) as proxy,
    ):
        _, busy = proxy.send()
        _, waiting = proxy.send()
        await asyncio.sleep(0.05)
        proxy.forwarder.apply((Upstream("orders", (new.target,)),), (), 0)
        go_on.set()
        await busy.wait()
        await waiting.wait()
    assert bytes(waiting.received) == b"old"


async def test_a_request_of_an_older_snapshot_finds_its_upstream_although_it_was_removed():
    async with proxied(answering(ok())) as (proxy, _):
        proxy.forwarder.apply((), (), 0)
        assert (await proxy.ask()).ended


async def test_an_upstream_of_ours_is_never_mistaken_for_a_configured_one_of_the_same_name():
    async with (
        Origin(answering(ok(b"theirs"))).listening() as theirs,
        proxied(answering(ok(b"ours"))) as (proxy, _),
    ):
        proxy.forwarder.apply((Upstream("orders", (theirs.target,)),), (), 0)
        first, second = await proxy.ask(), await proxy.ask()
        proxy.forwarder.apply((Upstream("orders", (theirs.target,)),), (), 0)
        third = await proxy.ask()
    assert {bytes(sink.received) for sink in (first, second, third)} == {b"ours"}
    assert [sink.attempts[0][2] for sink in (first, second, third)] == [False, True, False]


async def test_failures_of_one_target_are_logged_once_a_second_with_the_number_left_out(monkeypatch):
    logged: list[dict[str, object]] = []

    class Log:
        def warning(self, event: str, **fields: object) -> None:
            logged.append({"event": event, **fields})

    monkeypatch.setattr("gateway.proxy.service._log", Log())
    async with proxy_to(Target("dead", "127.0.0.1", free_port())) as proxy:
        for _ in range(5):
            await proxy.ask()
        assert len(logged) == 1
        monkeypatch.setattr("gateway.proxy.service.LOG_EVERY_S", 0.0)
        await proxy.ask()
    assert [entry["left_out"] for entry in logged] == [0, 4]
    assert (logged[0]["event"], logged[0]["target"], logged[0]["kind"]) == (
        "upstream.failed",
        "dead",
        "upstream_unavailable",
    )
