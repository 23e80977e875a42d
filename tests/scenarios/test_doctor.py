"""`sentinel doctor`: what is well, what is wrong and what mends it, on the real program and around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli.checkups import around, here
from gateway.config.document import Document, Log
from gateway.run_folder import RunFolder
from tests import running, servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "import typer; from gateway.cli.doctor import doctor; typer.run(doctor)"
EXTRA = """
[[notify]]
name = "pager"
kind = "webhook"
url_env = "PAGER_URL"

[diagnose]
provider = "openai"
model = "gpt-5-mini"
"""
ENVIRON = {"PAGER_URL": "http://127.0.0.1:9/hook", "OPENAI_API_KEY": "a key for tests"}


def ask(gateway: running.Gateway, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, "--config", str(gateway.config), *arguments],
        cwd=gateway.folder,
        env={**gateway.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def findings(gateway: running.Gateway, **environ: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    asked = ask(gateway, "--json", **environ)
    assert "Traceback" not in asked.stderr, asked.stderr
    said = json.loads(asked.stdout)
    assert said["ok"] is (asked.returncode == 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in said["checks"]:
        assert one["remedy"] or one["state"] != "bad", "what is wrong comes with its remedy"
        found.setdefault(one["name"], []).append(one)
    return asked.returncode, found


def states(found: dict[str, list[dict[str, Any]]], name: str) -> set[str]:
    return {one["state"] for one in found[name]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[running.Gateway]:
    with running.origin() as origin:
        text = running.config(origin.port, route='auth = "jwt"\nlimit = "100/s per subject"', more=EXTRA)
        folder = tmp_path_factory.mktemp("doctor")
        with running.gateway(folder, text, SENTINEL_REDIS__URL=redis_url, **ENVIRON) as gateway:
            yield gateway


def test_a_gateway_that_is_well_gets_a_clean_bill(served: running.Gateway) -> None:
    code, found = findings(served)
    assert code == 0, found
    wanted = (
        "configuration|run folder|disk|spool|clock|tokens|control|traffic|store|migrations|redis|upstreams|model|notify"
    )
    for name in wanted.split("|"):
        assert states(found, name) == {"good"}, found[name]


def test_people_read_one_line_per_thing(served: running.Gateway) -> None:
    asked = ask(served)
    assert asked.returncode == 0
    assert "✓ control       it answers and is ready" in asked.stdout
    assert asked.stdout.splitlines()[-1] == "Everything the gateway needs is there."
    assert "a key for tests" not in asked.stdout
    assert ENVIRON["PAGER_URL"] not in asked.stdout


def test_a_control_that_hangs_is_found(served: running.Gateway) -> None:
    control = served.child("control")
    control.send_signal(signal.SIGSTOP)
    try:
        code, found = findings(served)
    finally:
        control.send_signal(signal.SIGCONT)
    assert code == 1
    assert states(found, "control") == {"bad"}
    assert states(found, "redis") == {"good"}, "one thing that hangs does not hide the others"


def test_everything_that_is_away_is_named_at_once(tmp_path: Path) -> None:
    nowhere = servers.free_port()
    gateway = running.Gateway(tmp_path, running.config(nowhere, route='auth = "jwt"', more=EXTRA), ENVIRON)
    gateway.run_dir.mkdir(mode=0o755)
    gateway.run_dir.chmod(0o755)
    code, found = findings(
        gateway,
        SENTINEL_STORE__URL=f"postgresql://ana:secret-of-ana@127.0.0.1:{nowhere}/x",
        SENTINEL_REDIS__URL=f"redis://:secret-of-redis@127.0.0.1:{nowhere}/0",
        SENTINEL_JWT_SECRET="short",
        PAGER_URL="ftp://127.0.0.1/x",
        OPENAI_API_KEY="",
    )
    assert code == 1
    for name in ("configuration", "run folder", "store", "redis", "upstreams", "model", "notify"):
        assert "bad" in states(found, name), (name, found.get(name))
    assert "secret-of" not in json.dumps(found)
    assert f"chmod 700 {gateway.run_dir}" in found["run folder"][0]["remedy"]


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(tmp_path: Path) -> None:
    with running.origin() as origin:
        gateway = running.Gateway(tmp_path, running.config(origin.port), {})
        code, found = findings(gateway)
    assert code == 0, found
    assert states(found, "control") == {"note"}
    assert found["control"][0]["remedy"] == "sentinel serve"
    assert not gateway.run_dir.exists()


def test_a_taken_port_is_found_before_the_start(tmp_path: Path) -> None:
    with running.origin() as origin:
        gateway = running.Gateway(tmp_path, running.config(origin.port), {})
        gateway.config.write_text(gateway.config.read_text().replace(f"port = {gateway.port}", f"port = {origin.port}"))
        code, found = findings(gateway)
    assert code == 1
    assert "[server] port" in found["ports"][0]["remedy"]


def test_a_database_without_our_tables_wants_the_migration(tmp_path: Path, postgres_database: str) -> None:
    with running.origin() as origin:
        gateway = running.Gateway(tmp_path, running.config(origin.port), {"SENTINEL_STORE__URL": postgres_database})
        code, found = findings(gateway)
        assert code == 1
        assert states(found, "store") == {"good"}
        assert found["migrations"][0]["remedy"] == "sentinel migrate up"
        assert gateway.sentinel("migrate", "up", "-c", str(gateway.config)).returncode == 0
        code, found = findings(gateway)
    assert "bad" not in states(found, "migrations")
    assert code == 0, found


def test_a_file_that_is_not_there_is_all_that_is_said(tmp_path: Path) -> None:
    gateway = running.Gateway(tmp_path, "", {})
    gateway.config.unlink()
    code, found = findings(gateway)
    assert code == 1
    assert list(found) == ["configuration"]
    assert "sentinel init" in found["configuration"][0]["remedy"]


def test_a_full_spool_is_wrong_and_records_set_aside_are_noted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (folder.spool / "poison").mkdir(parents=True)
    (folder.spool / "poison" / "x.rows").write_bytes(b"x")
    (folder.spool / "node-abc-1-0000000001.seg").write_bytes(b"x" * 600)
    found = here.spool(folder, Document(log=Log(spool_max_bytes=1000)))
    assert [one.state for one in found] == ["bad", "note"]
    assert "600 B of 1000 B" in found[0].text
    assert [one.state for one in here.spool(folder, Document())] == ["good", "note"]


def test_slow_routes_and_much_traffic_are_said_before_they_hurt() -> None:
    def route(name: str, per_second: float, p95_ms: float | None) -> dict[str, Any]:
        return {"name": name, "last_minute": {"per_second": per_second, "p95_ms": p95_ms}}

    assert [one.state for one in around.traffic([route("a", 1.0, 40.0), route("idle", 0.0, None)])] == ["good"]
    slow, many = around.traffic([route("slow", 600.0, 900.0), route("b", 600.0, 40.0)])
    assert (slow.state, many.state) == ("note", "note")
    assert "slow: p95 is 900 ms" in slow.text
    assert "1200 requests/s" in many.text


def test_a_snapshot_from_the_future_means_that_the_clock_was_set_back(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    assert here.written_in_the_future(path, 1000.0) == 0
    path.touch()
    os.utime(path, (2000.0, 2000.0))
    assert here.written_in_the_future(path, 1000.0) == 1000
    assert here.written_in_the_future(path, 1999.0) == 0
