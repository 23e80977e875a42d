"""What the supervisor does when its children cannot live, and what they do when it is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import psutil

from tests import running

if TYPE_CHECKING:
    from pathlib import Path


def serve(gateway: running.Gateway, **environ: str) -> tuple[int, str, float]:
    """Run until it ends by itself: exit code, everything said, seconds."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", str(gateway.config)],
        cwd=gateway.folder,
        env={**gateway.environ, **environ},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begun


def test_a_control_that_can_never_start_ends_everything_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    gateway = running.Gateway(tmp_path, running.config(9), {})
    code, said, _ = serve(gateway, SENTINEL_STORE__URL=f"sqlite:///{tmp_path}/file/sentinel.db")
    assert code == 1
    assert f"{tmp_path}/file/sentinel.db cannot be opened" in said
    assert "→ make" in said, "and what mends it"
    assert said.count('"child": "control", "pid"') == 1, "starting it again would not help"
    assert "control ended right after its start" in said
    assert "Traceback" not in said


def test_a_start_that_fails_slowly_is_no_good_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys, time\nif 'control' in sys.orig_argv: time.sleep(6)\n"  # longer than a good start is watched
    )
    gateway = running.Gateway(tmp_path, running.config(9), {})
    code, said, _ = serve(
        gateway, SENTINEL_STORE__URL=f"sqlite:///{tmp_path}/file/sentinel.db", PYTHONPATH=str(tmp_path / "site")
    )
    assert code == 1
    assert said.count('"child": "control", "pid"') == 1


def test_a_worker_that_can_never_start_ends_everything_with_the_reason(tmp_path: Path) -> None:
    gateway = running.Gateway(tmp_path, running.config(9), {})
    code, said, _ = serve(gateway, SENTINEL_REDIS__URL="unix://")
    assert code == 1
    assert "a unix URL needs the path of the socket" in said
    assert said.count('"child": "worker 1", "pid"') == 1
    assert "Traceback" not in said


def test_a_worker_that_dies_at_every_start_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\nif 'edge' in sys.orig_argv: os._exit(3)\n"  # dies before anything of ours runs
    )
    gateway = running.Gateway(tmp_path, running.config(9), {})
    code, said, _ = serve(gateway, PYTHONPATH=str(tmp_path / "site"))
    assert code == 1
    assert said.count('"child": "worker 1", "pid"') == 5
    assert "worker 1 ended right after its start (exit code 3, 5 tries)" in said


def test_a_proven_worker_that_keeps_dying_is_started_ever_more_slowly_and_its_sibling_serves(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, server="workers = 2")) as gateway,
    ):
        time.sleep(5.5)  # a good start
        begun = time.monotonic()
        for _ in range(4):
            gateway.wait(lambda: gateway.has_child("worker 1"), 15, "the worker is back")
            gateway.child("worker 1").kill()
            gateway.wait(lambda: not gateway.has_child("worker 1"), 5, "it is dead")
        gateway.wait(lambda: gateway.has_child("worker 1"), 15, "the worker is back")
        assert time.monotonic() - begun > 0.2 + 0.4 + 0.8 + 1.6
        with httpx2.Client(base_url=gateway.url) as client:
            assert {client.get(f"/{number}").status_code for number in range(10)} == {200}


def test_without_its_supervisor_nothing_stays_behind(tmp_path: Path) -> None:
    with running.origin() as origin, running.gateway(tmp_path, running.config(origin.port)) as gateway:
        assert gateway.process is not None
        family = psutil.Process(gateway.process.pid).children(recursive=True)
        assert len(family) == 2
        assert httpx2.get(f"{gateway.url}/last").status_code == 200
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(5)
        _, alive = psutil.wait_procs(family, timeout=12)
        assert not alive
        gateway.start()
        gateway.wait(
            lambda: [record["path"] for record in gateway.records()] == ["/last"], 30, "nothing was lost with it"
        )


def test_a_lost_supervisor_takes_all_with_it_though_nobody_reads_what_they_log(tmp_path: Path) -> None:
    with running.origin() as origin:
        gateway = running.Gateway(tmp_path, running.config(origin.port), {})
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(gateway.config)],
            cwd=gateway.folder,
            env=gateway.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        gateway.wait(lambda: gateway.ready() and gateway.answers(), running.START_S, "it serves")
        family = psutil.Process(process.pid).children(recursive=True)
        process.stderr.close()  # as with a log collector that is gone, too
        process.kill()
        process.wait(20)
        _, alive = psutil.wait_procs(family, timeout=60)
        for child in alive:
            child.kill()
        gateway.control.close()
        assert not alive


def test_children_of_a_supervisor_that_was_killed_while_it_started_them_end(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if 'gateway.entry' in sys.orig_argv:\n"
        "    parent = os.getppid()\n"
        f"    open(f'{tmp_path}/begun-{{os.getpid()}}', 'w').close()\n"
        "    while os.getppid() == parent: time.sleep(0.02)\n"  # it begins when its parent is gone
    )
    gateway = running.Gateway(tmp_path, running.config(9), {})
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", str(gateway.config)],
        cwd=gateway.folder,
        env={**gateway.environ, "PYTHONPATH": str(tmp_path / "site")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    gateway.wait(lambda: len(list(tmp_path.glob("begun-*"))) == 2, 60, "a worker and control have been started")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(20)
    _, alive = psutil.wait_procs(children, timeout=60)
    for child in alive:
        child.kill()
    assert not alive
