"""The measuring programs read what they are told rightly, and judge it as their documentation says."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest

from loadtests import drain, lab, load, memory_flat, side_by_side

if TYPE_CHECKING:
    import argparse

REPORT = """\
Running 5s test @ http://127.0.0.1:42771/api/items?x=1
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.48ms    5.12ms  70.85ms   90.40%
    Req/Sec     8.61k     1.02k   10.20k    70.00%
  Latency Distribution
     50%  980.00us
     75%    5.04ms
     90%    9.47ms
     99%    1.20s
  42905 requests in 5.01s, 36.00MB read
"""
ROUND = side_by_side.Round(
    cpu_us=100.0,
    control_us=10.0,
    requests_per_s=9000.0,
    p50_ms=1.0,
    p99_ms=5.0,
    rss_mib=60.0,
    whole_rss_mib=200.0,
    failed=0,
)


def test_a_report_gives_requests_seconds_and_quantiles():
    seen = load.read(REPORT)
    assert seen == load.Load(requests=42905, seconds=5.01, p50_ms=0.98, p99_ms=1200.0, failed=0)


def test_refused_answers_and_broken_sockets_count_as_failed():
    report = REPORT + "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"
    assert load.read(report).failed == 100


def test_what_is_no_report_is_said_to_be_none():
    with pytest.raises(ValueError, match="unable to connect"):
        load.read("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_ratios_are_medians_of_each_rounds_own_ratio():
    def rounds(*costs):
        return [ROUND._replace(cpu_us=cost) for cost in costs]

    # The machine was twice as slow in the second round: medians of the costs would give 200 / 100.
    summary = side_by_side.summarise({"nginx+lua": rounds(50, 100, 100), "sentinelstack": rounds(100, 200, 300)})
    assert summary["sentinelstack"]["times_nginx+lua"] == 2.0
    assert summary["sentinelstack"]["cpu_us"] == 200
    assert "times_haproxy" not in summary["sentinelstack"]


def test_the_table_names_only_peers_that_were_measured():
    shown = side_by_side.table(side_by_side.summarise({"haproxy": [ROUND], "sentinelstack": [ROUND]}))
    assert "× haproxy" in shown and "nginx" not in shown
    assert len({len(line) for line in shown.splitlines()}) == 1


def test_a_peer_that_is_not_there_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(lab.shutil, "which", lambda name: None if name == "haproxy" else f"/usr/bin/{name}")
    monkeypatch.setattr(lab, "LUA_MODULE", Path("/nowhere"))
    with pytest.raises(lab.MissingError, match=r"haproxy, nginx .*apt-get install haproxy nginx libnginx-mod-http-lua"):
        lab.need("nginx", "haproxy", "wrk")


def test_the_message_says_how_to_do_without(monkeypatch, capsys):
    def run(_given: argparse.Namespace):
        raise lab.MissingError("not installed: haproxy")

    monkeypatch.setattr(side_by_side, "run", run)
    monkeypatch.setattr("sys.argv", ["side_by_side"])
    with pytest.raises(SystemExit, match="--without haproxy"):
        side_by_side.main()


def test_every_place_of_every_template_is_filled_in():
    values = {
        "folder": "F",
        "peers": "P",
        "port": 1,
        "upstream_port": 2,
        "syslog_port": 3,
        "secret": "S",
        "body": "{}",
        "workers": 1,
    }
    for template in (*lab.PEERS.glob("*.conf"), *lab.PEERS.glob("*.cfg")):
        assert "@{" not in lab.fill_in(template.read_text(), values), template


def test_a_place_without_a_value_is_an_error():
    with pytest.raises(KeyError):
        lab.fill_in("listen @{prot};", {"port": 1})


def test_tokens_are_those_the_gateway_verifies():
    claims = jwt.decode(lab.token(7), lab.SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["tenant"]) == ("user-7", "tenant-7")
    assert claims["exp"] > time.time() + 3600


def test_descendants_are_counted_however_deep():
    assert sorted(lab.family(1, {2: 1, 3: 2, 4: 9, 5: 3})) == [1, 2, 3, 5]


def test_processor_time_of_this_process_is_seen():
    before, until = lab.usage(os.getpid()), time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = lab.usage(os.getpid())
    assert after.worker_s > before.worker_s and after.control_s == before.control_s
    assert after.rss_mib > 5


def test_everything_that_was_started_is_ended_and_removed():
    with lab.Lab() as stage:
        process = stage.start("sleeper", ["sleep", "60"])
        folder = stage.folder
        process.check()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_program_that_ends_at_once_is_reported_with_its_words():
    with lab.Lab() as stage:
        process = stage.start("failing", ["sh", "-c", "echo no such thing; exit 3"])
        process._popen.wait(10)
        with pytest.raises(lab.StartError, match=r"failing ended with code 3:\nno such thing"):
            process.check()


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (memory_flat.Flatness(start=50, warm=60, peak=66, end=65), []),
        (memory_flat.Flatness(start=50, warm=60, peak=96, end=65), ["the peak of 96.0 MiB is over 95 MiB"]),
        (memory_flat.Flatness(start=50, warm=60, peak=70, end=67), ["it grew by 11.7%"]),
    ],
)
def test_memory_is_flat_within_its_bound_and_a_tenth(figures, said):
    problems = figures.problems()
    assert len(problems) == len(said)
    assert all(problem.startswith(start) for problem, start in zip(problems, said, strict=True))


def test_a_late_or_lost_record_is_a_problem_of_the_drain():
    good = drain.Drained(requests=100, stored=101, lost=0, requests_per_s=1.0, drain_s=0.3, control_us=12.0)
    assert good.problems(10) == []
    bad = good._replace(stored=90, lost=2, drain_s=60.0)
    assert [problem.split()[0] for problem in bad.problems(10)] == ["10", "2", "the"]


def test_records_are_read_from_the_metrics_page():
    page = (
        "# TYPE sentinel_records_total counter\n"
        'sentinel_records_total{outcome="stored"} 28450.0\nsentinel_records_total{outcome="dropped"} 0.0\n'
        "sentinel_spool_bytes 12.0\n"
    )
    assert drain.outcomes(page) == {"stored": 28450, "dropped": 0}


def test_no_two_requests_of_the_distinct_load_share_a_number():
    first = re.search(r"local first, expiry, secret = (\d+), (\d+)", load.distinct_script(1000, 2000))
    assert first is not None and first.groups() == ("1000", "2000")
