"""Targets that fail, over real connections: who is left alone, what is tried again, what is copied."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.domain.routing import Mirror, Retry, Route
from gateway.domain.upstreams import Balance, Breaker, Outlier, Target, Upstream
from gateway.proxy.watched_call import WatchedCall
from tests.integration.proxy.scripted_origin import (
    PATIENT,
    QUICK,
    Origin,
    Peer,
    Proxy,
    RecordingSink,
    WholeRecordingSink,
    answering,
    ok,
)
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"
ENDLESS = b"HTTP/1.1 503 Busy\r\ncontent-length: 1000\r\n\r\nbusy"


@pytest.fixture(params=[RecordingSink, WholeRecordingSink], ids=["in_pieces", "at_once"])
async def proxies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Proxy]]:
    """Those a test made; closed after it. Sinks hear of a whole answer in pieces, or at once."""
    monkeypatch.setattr(Proxy, "make_sink", request.param)
    made: list[Proxy] = []
    yield made
    for proxy in made:
        await proxy.forwarder.close()


def proxy_of(proxies: list[Proxy], *targets: Target, retry: Retry | None = None, **settings: object) -> Proxy:
    proxy = Proxy(Upstream("orders", targets, **{"timeout": PATIENT, **settings}))
    proxy.route = Route(name="all", path="/*", upstream="orders", retry=retry)
    proxies.append(proxy)
    return proxy


def retries(proxy: Proxy, outcome: str) -> float:
    return proxy.count_of("sentinel_upstream_retries_total", "orders", outcome)


def dead(name: str = "dead") -> Target:
    return Target(name, "127.0.0.1", free_port())


def silent(bodies: list[bytes] | None = None):
    """Takes a request and never answers."""

    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        if bodies is not None:
            bodies.append(body)
        await asyncio.sleep(30)

    return script


async def hang_up(peer: Peer) -> None:
    await peer.request()


async def eventually(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for is another process's doing as far as the test knows
            await asyncio.sleep(0.01)


# --- retries ---


@pytest.mark.parametrize("answer", [BUSY, ENDLESS], ids=["whole", "unfinished"])
@pytest.mark.parametrize(("method", "body"), [(b"GET", b""), (b"PUT", b"kept")])
async def test_a_named_status_is_swallowed_and_another_target_asked(proxies, answer, method, body):
    bodies: list[bytes] = []

    async def good(peer: Peer) -> None:
        while True:
            bodies.append((await peer.request())[1])
            await peer.send(ok())

    async with Origin(answering(answer)).listening() as bad, Origin(good).listening() as other:
        proxy = proxy_of(proxies, bad.target, other.target, retry=Retry(on=frozenset({"503"})))
        sinks = [await proxy.ask(method, body) for _ in range(4)]
        assert [(sink.status, bytes(sink.received)) for sink in sinks] == [(200, b"fine")] * 4
        tried = [[attempt[:2] for attempt in sink.attempts] for sink in sinks]
        assert sorted(map(len, tried)) == [1, 1, 2, 2]
        assert [(bad.target.name, 1), (other.target.name, 2)] in tried
        assert bodies == [body] * 4
        assert retries(proxy, "succeeded") == 2


async def test_the_connection_of_a_swallowed_answer_is_kept_if_all_of_it_was_read_and_else_dropped(proxies):
    async with Origin(answering(BUSY)).listening() as tidy, Origin(answering(ENDLESS)).listening() as messy:
        for origin, opened in ((tidy, 1), (messy, 2)):
            proxy = proxy_of(proxies, origin.target, retry=Retry(on=frozenset({"503"})))
            sink = RecordingSink()
            proxy.send(sink=sink)
            await asyncio.wait_for(sink.answered.wait(), 5)
            assert sink.status == 503  # there is no other target, and it said the same again
            assert origin.accepted == opened


async def test_when_all_attempts_fail_the_client_gets_the_last_answer_as_it_is(proxies):
    async with Origin(answering(BUSY)).listening() as origin:
        proxy = proxy_of(proxies, origin.target, retry=Retry(attempts=3, on=frozenset({"503"})))
        sink = await proxy.ask()
        assert (sink.status, bytes(sink.received), len(sink.attempts)) == (503, b"busy", 4)
        assert retries(proxy, "failed") == 3


@pytest.mark.parametrize(
    ("method", "on"), [(b"POST", frozenset({"503"})), (b"GET", frozenset({"502", "connect", "reset", "timeout"}))]
)
async def test_what_is_not_idempotent_or_not_named_is_not_repeated(proxies, method, on):
    async with Origin(answering(BUSY)).listening() as one, Origin(answering(BUSY)).listening() as two:
        proxy = proxy_of(proxies, one.target, two.target, retry=Retry(on=on))
        sink = await proxy.ask(method, b"x" if method == b"POST" else b"")
    assert (sink.status, len(sink.attempts)) == (503, 1)


async def test_a_body_that_is_no_longer_at_hand_is_not_repeated(proxies):
    async with Origin(answering(BUSY)).listening() as one, Origin(answering(ok())).listening() as two:
        proxy = proxy_of(proxies, one.target, two.target, retry=Retry(on=frozenset({"503"})))
        sinks = [await proxy.ask(b"PUT", bytes(100_000)) for _ in range(2)]
    assert sorted((sink.status, len(sink.attempts)) for sink in sinks) == [(200, 1), (503, 1)]


@pytest.mark.parametrize("script", [hang_up, silent()], ids=["reset", "timeout"])
async def test_an_answer_that_does_not_come_is_asked_for_elsewhere(proxies, script):
    async with Origin(script).listening() as bad, Origin(answering(ok())).listening() as good:
        retry = Retry(on=frozenset({"reset", "timeout"}))
        proxy = proxy_of(proxies, bad.target, good.target, retry=retry, timeout=QUICK)
        sinks = [await proxy.ask() for _ in range(2)]
        assert all(sink.ended for sink in sinks)
        assert retries(proxy, "succeeded") == 1
        post = [await proxy.ask(b"POST", b"charge") for _ in range(2)]
    assert sorted(sink.kind != "" for sink in post) == [False, True]


async def test_an_answer_that_began_is_never_repeated(proxies):
    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

    async with Origin(cut).listening() as one, Origin(cut).listening() as two:
        everything = frozenset({"connect", "reset", "timeout", "503"})
        proxy = proxy_of(proxies, one.target, two.target, retry=Retry(attempts=5, on=everything))
        sink = await proxy.ask()
    assert (sink.status, sink.kind, len(sink.attempts)) == (200, "upstream_truncated", 1)


async def test_a_refused_connection_is_tried_again_even_for_a_post_and_the_attempts_are_counted(proxies):
    target = dead()
    proxy = proxy_of(proxies, target, retry=Retry(attempts=2))
    sink = await proxy.ask(b"POST", b"order")
    assert (sink.kind, sink.failure.status, sink.failure.attempts) == ("upstream_unavailable", 502, 3)
    assert retries(proxy, "failed") == 2


async def test_a_target_that_came_up_meanwhile_answers_the_retry(proxies):
    target = dead()
    proxy = proxy_of(proxies, target, retry=Retry(attempts=5))
    _, sink = proxy.send()
    await asyncio.sleep(0.02)

    async with Origin(answering(ok())).listening(port=target.port):
        await sink.wait()
    assert sink.ended
    assert retries(proxy, "succeeded") == 1


async def test_retries_stop_when_the_budget_is_used_up(proxies):
    async with Origin(answering(BUSY)).listening() as origin:
        proxy = proxy_of(proxies, origin.target, retry=Retry(attempts=20, on=frozenset({"503"}), budget=0.0))
        sinks = await asyncio.gather(*(proxy.ask() for _ in range(8)))
        assert sum(len(sink.attempts) - 1 for sink in sinks) == 30  # the floor: three a second, over ten seconds
        assert retries(proxy, "over_budget") == 8


async def test_a_client_that_leaves_between_two_attempts_ends_it(proxies):
    proxy = proxy_of(proxies, dead(), retry=Retry(attempts=10))
    call, sink = proxy.send()
    await eventually(lambda: proxy.counted("failed"))
    call.cancel()
    failed = proxy.counted("failed")
    await asyncio.sleep(0.3)
    assert proxy.counted("failed") == failed
    assert not sink.over.is_set()
    assert retries(proxy, "abandoned") == 1


async def test_a_client_that_leaves_while_an_answer_is_swallowed_hears_nothing(proxies):
    async with Origin(answering(BUSY)).listening() as origin:
        proxy = proxy_of(proxies, origin.target, retry=Retry(attempts=10, on=frozenset({"503"})))
        call, sink = proxy.send()
        await eventually(lambda: len(sink.attempts) > 1)
        call.cancel()
        await asyncio.sleep(0.2)
    assert (sink.status, sink.over.is_set()) == (0, False)


async def test_a_chunked_upload_goes_on_after_a_retry_in_the_middle_of_it(proxies):
    bodies: list[bytes] = []

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(BUSY)
        await peer.reader.read()

    async def good(peer: Peer) -> None:
        bodies.append((await peer.request())[1])
        await peer.send(ok())

    async with Origin(early).listening() as bad, Origin(good).listening() as other:
        proxy = proxy_of(proxies, bad.target, other.target, retry=Retry(on=frozenset({"503"})))
        call, sink = proxy.send(b"PUT", -1)
        call.write(b"first ")
        await eventually(lambda: len(sink.attempts) > 1)
        call.write(b"second")
        call.finish()
        await sink.wait()
    assert (sink.status, bodies) == (200, [b"first second"])


# --- ejections, circuits, balance ---


def failing(asked: list[float], *, until: asyncio.Event | None = None):
    """Answers 500 until the event is set."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            asked.append(asyncio.get_running_loop().time())
            well = until is not None and until.is_set()
            await peer.send(ok() if well else b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n")

    return script


async def test_a_failing_target_is_taken_out_probed_and_let_back(proxies):
    asked: list[float] = []
    mended = asyncio.Event()
    async with Origin(failing(asked, until=mended)).listening() as bad, Origin(answering(ok())).listening() as good:
        outlier = Outlier(consecutive=3, eject_s=0.3, max_ejected=0.5)
        proxy = proxy_of(proxies, bad.target, good.target, outlier=outlier)
        statuses = Counter([(await proxy.ask()).status for _ in range(20)])
        assert statuses == {200: 17, 500: 3}
        assert proxy.count_of("sentinel_outlier_ejections_total", "orders", bad.target.name) == 1
        await asyncio.sleep(0.35)
        probing = Counter([(await proxy.ask()).status for _ in range(20)])
        assert probing == {200: 19, 500: 1}
        mended.set()
        await asyncio.sleep(0.65)
        before = len(asked)
        assert {(await proxy.ask()).status for _ in range(20)} == {200}
        assert len(asked) - before == 10


async def test_the_last_target_is_not_taken_out(proxies):
    asked: list[float] = []
    async with Origin(failing(asked)).listening() as bad:
        proxy = proxy_of(proxies, bad.target, outlier=Outlier(consecutive=2, eject_s=60.0))
        assert [(await proxy.ask()).status for _ in range(6)] == [500] * 6


async def test_targets_that_refuse_or_hang_are_outliers_as_well(proxies):
    async with Origin(silent()).listening() as hanging, Origin(answering(ok())).listening() as good:
        outlier = Outlier(consecutive=2, eject_s=60.0, max_ejected=0.7)
        proxy = proxy_of(proxies, dead(), hanging.target, good.target, outlier=outlier, timeout=QUICK)
        for _ in range(9):
            await proxy.ask()
        sinks = [await proxy.ask() for _ in range(6)]
    assert all(sink.attempts == [(good.target.name, 1, True)] for sink in sinks)


async def test_an_open_circuit_answers_at_once_and_says_when_to_come_back(proxies):
    asked: list[float] = []
    mended = asyncio.Event()
    async with Origin(failing(asked, until=mended)).listening() as origin:
        breaker = Breaker(errors=0.5, requests=4, open_s=0.3)
        proxy = proxy_of(proxies, origin.target, breaker=breaker)
        assert [(await proxy.ask()).status for _ in range(4)] == [500] * 4
        sink = await proxy.ask()
        assert (sink.kind, sink.failure.status, sink.failure.retry_after_s, sink.attempts) == (
            "circuit_open",
            503,
            1,
            [],
        )
        assert len(asked) == 4
        assert proxy.count_of("sentinel_circuit_opened_total", "orders") == 1
        assert proxy.counters.levels() == {"sentinel_circuit_state|orders": 1.0}
        mended.set()
        await asyncio.sleep(0.35)
        burst = await asyncio.gather(*(proxy.ask() for _ in range(10)))
        assert Counter(sink.kind or str(sink.status) for sink in burst) == {"200": 1, "circuit_open": 9}
        assert {(await proxy.ask()).status for _ in range(5)} == {200}
        proxy.forwarder._hand_over()
        assert proxy.counters.levels() == {}


async def test_what_another_target_healed_does_not_open_the_circuit(proxies):
    async with Origin(answering(ok())).listening() as good:
        proxy = proxy_of(proxies, dead(), good.target, breaker=Breaker(errors=0.1, requests=4, open_s=60.0))
        assert {(await proxy.ask()).status for _ in range(12)} == {200}


async def test_clients_that_leave_open_no_circuit_and_free_the_probe(proxies):
    mended = asyncio.Event()
    asked: list[float] = []
    async with Origin(failing(asked, until=mended)).listening() as origin:
        proxy = proxy_of(proxies, origin.target, breaker=Breaker(errors=0.5, requests=2, open_s=0.1))
        for _ in range(2):
            await proxy.ask()
        await asyncio.sleep(0.15)
        mended.set()
        call, _ = proxy.send()
        assert (await proxy.ask()).kind == "circuit_open"
        call.cancel()
        assert (await proxy.ask()).status == 200


async def test_the_circuit_stays_open_through_a_reload_that_does_not_change_it(proxies):
    asked: list[float] = []
    async with Origin(failing(asked)).listening() as origin:
        proxy = proxy_of(proxies, origin.target, breaker=Breaker(errors=0.5, requests=2, open_s=60.0))
        for _ in range(2):
            await proxy.ask()
        proxy.upstream = msgspec.structs.replace(proxy.upstream, slow_start_s=3.0)
        proxy.forwarder.apply((proxy.upstream,), (), 0)
        assert (await proxy.ask()).kind == "circuit_open"


@pytest.mark.parametrize("balance", [Balance.LEAST_REQUESTS, Balance.EWMA])
async def test_a_slow_target_gets_fewer_requests(proxies, balance):
    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.1)
            await peer.send(ok())

    async with Origin(slow).listening() as tortoise, Origin(answering(ok())).listening() as hare:
        proxy = proxy_of(proxies, tortoise.target, hare.target, balance=balance)
        sinks: list[RecordingSink] = []
        for _ in range(60):
            sinks.append(proxy.send()[1])
            await asyncio.sleep(0.005)
        for sink in sinks:
            await sink.wait()
        met = Counter(sink.attempts[0][0] for sink in sinks)
        assert met[hare.target.name] > 2 * met[tortoise.target.name]
        assert set(proxy.forwarder._services["orders"].standing.active.values()) == {0}


async def test_a_caller_meets_the_same_target_again_and_the_next_one_while_that_is_away(proxies):
    async with Origin(answering(ok())).listening() as one, Origin(answering(ok())).listening() as two:
        proxy = proxy_of(proxies, one.target, two.target, balance=Balance.HASH, hash_by="client")
        first = {(await proxy.ask()).attempts[0][0] for _ in range(6)}
        assert len(first) == 1
        stays = next(target for target in (one.target, two.target) if target.name not in first)
        proxy.upstream = msgspec.structs.replace(proxy.upstream, targets=(stays,))
        proxy.forwarder.apply((proxy.upstream,), (), 0)
        assert {(await proxy.ask()).attempts[0][0] for _ in range(3)} == {stays.name}
        proxy.upstream = msgspec.structs.replace(proxy.upstream, targets=(one.target, two.target))
        proxy.forwarder.apply((proxy.upstream,), (), 0)
        assert {(await proxy.ask()).attempts[0][0] for _ in range(6)} == first


async def test_every_way_a_request_can_end_ends_its_attempt(proxies):
    async def fickle(peer: Peer) -> None:
        number = 0
        while True:
            await peer.request()
            number += 1
            if number % 4 == 0:
                return
            await peer.send(BUSY if number % 3 == 0 else ok(b"x" * 2000))

    async with Origin(fickle).listening() as one, Origin(fickle).listening() as two:
        retry = Retry(attempts=2, on=frozenset({"connect", "reset", "503"}))
        proxy = proxy_of(
            proxies,
            dead(),
            one.target,
            two.target,
            retry=retry,
            balance=Balance.LEAST_REQUESTS,
            max_connections=2,
            queue=2,
            outlier=Outlier(consecutive=4, eject_s=0.05, max_ejected=1.0),
            breaker=Breaker(errors=0.9, requests=50, open_s=0.05),
        )
        calls = []
        for number in range(120):
            call, sink = proxy.send(b"PUT" if number % 5 == 0 else b"GET", 3 if number % 5 == 0 else 0)
            if number % 5 == 0:
                call.write(b"abc")
                call.finish()
            calls.append((call, sink))
            if number % 7 == 0:
                call.cancel()
            elif number % 11 == 0:
                sink.on_head = call.cancel
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.5)
        for call, _ in calls:
            call.cancel()
        assert set(proxy.forwarder._services["orders"].standing.active.values()) == {0}


async def test_finished_calls_need_no_garbage_collector(proxies):
    async with Origin(answering(BUSY, ok())).listening() as one, Origin(answering(ok())).listening() as two:
        retry = Retry(on=frozenset({"503"}))
        proxy = proxy_of(proxies, one.target, two.target, retry=retry, breaker=Breaker(), balance=Balance.EWMA)
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await proxy.ask(b"PUT", b"body")
            left = sum(isinstance(thing, WatchedCall) for thing in gc.get_objects())
        finally:
            gc.enable()
    assert left <= 2  # what an idle connection remembers of its last exchange


# --- mirrors ---


def mirrored_to(proxy: Proxy, mirror: Target, *, share: float = 1.0, **settings: object) -> None:
    proxy.forwarder.apply((proxy.upstream, Upstream("shadow", (mirror,), timeout=QUICK, **settings)), (), 0)
    proxy.route = msgspec.structs.replace(proxy.route, mirror=Mirror("shadow", share))


def copies(proxy: Proxy, outcome: str) -> float:
    return proxy.count_of("sentinel_mirrored_total", "shadow", outcome)


def listener(heard: list[tuple[bytes, bytes]], answer: bytes):
    async def script(peer: Peer) -> None:
        while True:
            heard.append(await peer.request())
            await peer.send(answer)

    return script


@pytest.mark.parametrize(
    ("method", "length", "body"), [(b"GET", 0, b""), (b"POST", 5, b"order"), (b"PUT", -1, b"order")]
)
async def test_a_copy_has_method_path_headers_and_body_and_is_marked(proxies, method, length, body):
    heard: list[tuple[bytes, bytes]] = []
    async with Origin(answering(ok())).listening() as origin, Origin(listener(heard, BUSY)).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target)
        call, sink = proxy.send(method, length, path=b"/a/b")
        if body:
            call.write(body)
        call.finish()
        await sink.wait()
        assert sink.status == 200
        await eventually(lambda: copies(proxy, "answered") == 1)
        head, copied = heard[0]
        assert head.startswith(method + b" /a/b HTTP/1.1\r\n")
        assert b"\r\nx-sentinel-mirror: 1\r\n" in head
        assert b"\r\naccept: */*\r\n" in head
        assert copied == body


async def test_a_body_that_was_whole_before_is_copied_once(proxies):
    heard: list[tuple[bytes, bytes]] = []
    async with Origin(answering(ok())).listening() as origin, Origin(listener(heard, ok())).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target)
        _, sink = proxy.send(b"POST", 5, whole=b"order")
        await sink.wait()
        await eventually(lambda: copies(proxy, "answered") == 1)
    assert [body for _, body in heard] == [b"order"]


async def test_an_original_is_not_marked(proxies):
    heard: list[tuple[bytes, bytes]] = []
    async with Origin(listener(heard, ok())).listening() as origin, Origin(answering(ok())).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target)
        await proxy.ask()
    assert b"x-sentinel-mirror" not in heard[0][0]


async def test_a_share_of_the_requests_is_copied_exactly(proxies):
    heard: list[tuple[bytes, bytes]] = []
    async with Origin(answering(ok())).listening() as origin, Origin(listener(heard, ok())).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target, share=0.2)
        for _ in range(20):
            await proxy.ask()
        await eventually(lambda: copies(proxy, "answered") == 4)
    assert len(heard) == 4


async def test_a_mirror_that_hangs_refuses_or_does_not_exist_harms_nobody(proxies):
    async with Origin(answering(ok())).listening() as origin, Origin(silent()).listening() as hanging:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, hanging.target)
        assert (await proxy.ask()).ended
        await eventually(lambda: copies(proxy, "failed") == 1)
        mirrored_to(proxy, dead())
        assert (await proxy.ask()).ended
        await eventually(lambda: copies(proxy, "failed") == 2)
        proxy.route = msgspec.structs.replace(proxy.route, mirror=Mirror("nowhere"))
        assert (await proxy.ask()).ended
        await eventually(lambda: proxy.count_of("sentinel_mirrored_total", "nowhere", "skipped") == 1)


async def test_copies_under_way_are_bounded_and_what_is_beyond_is_counted(proxies, monkeypatch):
    monkeypatch.setattr("gateway.proxy.mirror.MOST_UNDER_WAY", 3)
    async with Origin(answering(ok())).listening() as origin, Origin(silent()).listening() as hanging:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, hanging.target)
        for _ in range(8):
            assert (await proxy.ask()).ended
        assert copies(proxy, "skipped") == 5
        await eventually(lambda: copies(proxy, "failed") == 3)
        assert not proxy.forwarder._mirrors._under_way


@pytest.mark.parametrize("length", [100_000, -1])
async def test_a_long_body_is_not_copied_but_arrives(proxies, length):
    heard: list[tuple[bytes, bytes]] = []

    async def measure(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(ok(b"%d" % len(body)))

    async with Origin(measure).listening() as origin, Origin(listener(heard, ok())).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target)
        call, sink = proxy.send(b"POST", length)
        for _ in range(10):
            call.write(bytes(10_000))
        call.finish()
        await sink.wait()
        assert bytes(sink.received) == b"100000"
        assert copies(proxy, "too_large") == 1
    assert heard == []


async def test_a_long_answer_of_a_mirror_is_cut_off(proxies):
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + bytes(200_000)
    async with Origin(answering(ok())).listening() as origin, Origin(answering(endless)).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target)
        assert (await proxy.ask()).ended
        await eventually(lambda: copies(proxy, "answered") == 1)
        assert proxy.forwarder._services["shadow"]._pools[shadow.target.name].size == 0


async def test_a_request_that_its_client_gave_up_within_the_body_is_not_copied(proxies):
    heard: list[tuple[bytes, bytes]] = []
    async with Origin(silent()).listening() as origin, Origin(listener(heard, ok())).listening() as shadow:
        proxy = proxy_of(proxies, origin.target)
        mirrored_to(proxy, shadow.target)
        call, _ = proxy.send(b"POST", 10)
        call.write(b"half")
        call.cancel()
        await asyncio.sleep(0.1)
    assert heard == []
