"""Uploads, open-loop load, added latency, idle and stalled connections, and the soak judge as they say."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from loadtests import (
    added_latency,
    constant_rate,
    contenders,
    idle_connections,
    load,
    memory_flat,
    side_by_side,
    soak,
    stalled,
)
from loadtests.soak_origin import Origin
from loadtests.soak_traffic import Traffic

ADDED = added_latency.Added(
    saturation=8000.0,
    rate=4000.0,
    p50=1.0,
    p99=4.0,
    p999=6.0,
    added_p50=0.5,
    added_p99=2.0,
    late_p99=0.5,
    failed=0,
)
IDLE = idle_connections.Idle(
    connections=100,
    opened=100,
    still_answer=1,
    asked_again=1,
    kib_each=7.0,
    rss_before_mib=50.0,
    rss_after_mib=51.0,
    seconds=1.0,
)


@pytest.mark.parametrize(("text", "size"), [("10k", 10_000), ("1M", 1_000_000), ("17", 17)])
def test_sizes_are_read_with_their_factor(text: str, size: int):
    assert load.size_of(text) == size


def test_larger_uploads_have_fewer_subjects_so_that_they_fit_into_memory():
    small, large = load.upload_script(1000, 10), load.upload_script(1000, 4_000_000)
    assert small.count('"Bearer ') == 1000
    assert large.count('"Bearer ') == 4
    assert 'string.rep("x", 4000000)' in large


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--upload", "much"], "--upload 'much' is no size such as 10k or 1M"),
        (["--upload", "1k", "--hard"], "choose one"),
        (["--latency", "--hard"], "--latency drives plain GETs"),
        (["--without", "nobody"], "invalid choice: 'nobody'"),
        (["--only", "haproxy", "--without", "haproxy"], "nobody is left"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        side_by_side.arguments(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_uploads_go_where_bodies_are_read_before_the_answer():
    assert side_by_side.arguments(["--upload", "10k"]).path == "/upload"
    assert side_by_side.arguments([]).path == "/api/items?x=1"
    assert side_by_side.arguments(["--upload", "10k", "--path", "/x"]).path == "/x"


def test_only_those_asked_for_take_part_and_need_their_programs():
    names = side_by_side.names(side_by_side.arguments(["--only", "sentinelstack"]))
    assert names == ["sentinelstack"]
    assert "haproxy" not in contenders.programs(names)
    assert "haproxy" in contenders.programs(side_by_side.names(side_by_side.arguments([])))


def test_half_of_saturation_is_driven_as_far_as_the_generator_goes():
    assert added_latency.rate_for(4000) == 2000
    assert added_latency.rate_for(1_000_000) == added_latency.MAX_RATE


def test_added_latency_is_compared_within_each_round():
    rounds = {
        "haproxy": [ADDED._replace(added_p99=value) for value in (1.0, 10.0, 1.0)],
        "sentinelstack": [ADDED._replace(added_p99=value) for value in (2.0, 20.0, 4.0)],
    }
    summary = added_latency.summarise(rounds)
    assert summary["sentinelstack"]["added_p99_times_haproxy"] == 2.0
    assert summary["sentinelstack"]["added_p99"] == 4.0


def test_a_doubtful_row_says_why():
    summary = added_latency.summarise({"a": [ADDED], "b": [ADDED._replace(saturation=50_000, rate=6000, late_p99=3.5)]})
    shown = added_latency.table(summary)
    assert "b: driven at less than half" in shown and "b: the generator itself was 3.50 ms late" in shown
    assert "a:" not in shown
    assert "–" in shown


async def _paced(answer: bytes, rate: float) -> constant_rate.Paced:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                for part in (answer[:10], answer[10:]):
                    writer.write(part)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pace = constant_rate.Pace(port, constant_rate.requests_of(port, "/x", 3), rate, 0.5)
    seen = await pace.run()
    await asyncio.sleep(0.05)
    server.close()
    return seen


def test_open_loop_load_keeps_its_rate_and_reads_answers_in_pieces():
    seen = asyncio.run(_paced(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200))
    assert (seen.answered, seen.failed) == (pytest.approx(100, abs=1), 0)
    assert 0 < seen.p50_ms <= seen.p99_ms <= seen.p999_ms


def test_open_loop_load_counts_refusals_as_failures():
    seen = asyncio.run(_paced(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 100))
    assert seen.failed == pytest.approx(100, abs=3)


def test_a_service_that_is_not_there_fails_everything_and_keeps_the_pace(monkeypatch):
    monkeypatch.setattr(constant_rate, "LAST_ANSWERS_S", 0.1)
    seen = asyncio.run(constant_rate.Pace(9, [b"x"], 100, 0.3).run())
    assert seen.answered == 0 and seen.failed > 50


def test_every_key_and_address_comes_once():
    assert "local first = 700" in load.keys_script(700)
    assert "sent = sent + 1" in load.addresses_script(1) and "X-Forwarded-For" in load.addresses_script(1)
    seen = load.Load(requests=100, seconds=1, p50_ms=1, p99_ms=1, failed=100)
    assert memory_flat.wrong(seen, "keys") == 0
    assert memory_flat.wrong(seen._replace(failed=90), "keys") == 10
    assert memory_flat.wrong(seen, "addresses") == 100


def test_idle_connections_must_all_be_there_answer_again_and_be_cheap():
    assert IDLE.problems() == []
    bad = IDLE._replace(opened=90, still_answer=0, kib_each=90.0)
    assert [problem.split()[0] for problem in bad.problems()] == ["10", "1", "each"]


def test_more_open_files_than_can_be_had_are_refused_with_both_remedies(monkeypatch):
    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(idle_connections.resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(idle_connections.resource, "setrlimit", refuse)
    with pytest.raises(idle_connections.lab.StartError, match=r"ulimit -Hn 10512.*--connections 3584"):
        idle_connections.allow_files(10_512)


def test_stalled_bodies_may_cost_windows_and_not_themselves():
    good = stalled.Stalled(connections=9, megabytes=16, download_kib=300.0, upload_kib=90.0, moved_kib=900.0)
    assert good.problems() == []
    assert "a stalled download costs 900 KiB" in good._replace(download_kib=900.0).problems()[0]
    assert "take more --megabytes" in good._replace(moved_kib=16 * 1024.0).problems()[0]


def samples(*worker_mib: float) -> list[soak.Sample]:
    return [soak.Sample(number, mib, 100.0, 20, 1.0) for number, mib in enumerate(worker_mib)]


def test_growth_is_judged_after_the_warm_up_and_beyond_the_slack():
    assert soak.growth(samples(40, 50, 60, 60, 61, 61, 62, 62)) == []
    assert soak.growth(samples(40, 50, 60, 60, 70, 80, 90, 90)) == ["worker_mib grew from 60.0 to 90.0"]
    assert "too few" in soak.growth(samples(1, 2, 3))[0]


@pytest.mark.parametrize(
    ("outcomes", "good"),
    [
        ({"stored": 100}, True),
        ({"stored": 90, "dropped": 10}, True),
        ({"stored": 103}, True),
        ({"stored": 99}, False),
        ({"stored": 104}, False),
    ],
)
def test_sent_is_stored_and_counted_drops(outcomes: dict[str, int], good: bool):  # noqa: FBT001 - the expectation
    assert (soak.records(100, 3, outcomes) == []) is good


def test_every_way_to_go_wrong_in_a_soak_is_named():
    soaked = soak.Soaked(
        samples=samples(*[60] * 8),
        owed=100,
        perhaps=0,
        outcomes={"stored": 100},
        spool_left_mib=0.5,
        files_before=15,
        files_after=16,
        statuses={"200": 100},
        unexpected={},
        workers=1,
        reloads=3,
        reloads_in_force=3,
    )
    assert soaked.problems() == []
    bad = soaked._replace(
        owed=101, spool_left_mib=9.0, files_after=90, unexpected={"500": 1}, workers=2, reloads_in_force=2
    )
    assert len(bad.problems()) == 6


def test_traffic_tells_what_is_owed_a_record_from_what_may_have_none():
    async def go() -> Traffic:
        with Origin() as origin:
            traffic = Traffic(origin.port, random.Random(3))
            running = asyncio.create_task(traffic.run(4))
            await asyncio.sleep(0.4)
            origin.become("mute")
            await asyncio.sleep(0.3)
            origin.become("none")
            traffic.stop()
            await running
            return traffic

    traffic = asyncio.run(go())
    assert traffic.owed > 0 and traffic.perhaps > 0
    assert traffic.unexpected == {}
    assert traffic.owed == traffic.statuses["200"] + traffic.statuses["left"]


def test_the_origin_of_a_soak_stops_listening_and_comes_back():
    async def dial(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /x HTTP/1.1\r\n\r\n")
        line = await reader.readline()
        writer.close()
        return line

    with Origin() as origin:
        assert asyncio.run(dial(origin.port)) == b"HTTP/1.1 200 OK\r\n"
        origin.become("refuse")
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(dial(origin.port))
        origin.become("error")
        assert re.match(rb"HTTP/1.1 503", asyncio.run(dial(origin.port)))
