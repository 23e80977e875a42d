"""What docs/how-to/embed-the-middleware.md promises of an application that fails: control says so by itself.

The page's own files, without its key and its limit of three requests: failures go on until control has seen enough of
them, however slow the machine is.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import httpx2

from tests import running, servers
from tests.integration.docs.console import files
from tests.unit.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs" / "how-to" / "embed-the-middleware.md").read_text()
WITHIN_S = 180


@contextlib.contextmanager
def started(gateway: running.Gateway, *module: str) -> Iterator[subprocess.Popen[bytes]]:
    with gateway.log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], cwd=gateway.folder, env=gateway.environ, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def failing(url: str) -> Iterator[None]:
    """Somebody who calls what raises, again and again."""
    over = threading.Event()

    def call() -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            while not over.wait(0.05):
                with contextlib.suppress(httpx2.TransportError):
                    client.get("/hello/mars")

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join(60)


def test_an_application_that_fails_is_an_incident_without_anybody_saying_so(tmp_path: Path) -> None:
    written = files(PAGE)
    config = written["sentinel.toml"].replace("127.0.0.1:8001", "127.0.0.1:ADMIN")
    for line in ('auth = "key"\n', 'limit = "12/min burst 3 per key"\n'):
        assert line in config
        config = config.replace(line, "")
    (tmp_path / "guarded.py").write_text(written["guarded.py"])
    gateway = running.Gateway(tmp_path, config, {})
    port = str(gateway.port)
    try:
        with started(gateway, "gateway", "control", "--config", str(gateway.config)) as control:
            gateway.process = control
            gateway.wait(gateway.ready, 60, "control is ready")
            with started(gateway, "uvicorn", "guarded:app", "--port", port, "--http", "httptools"):
                gateway.wait(lambda: servers.answers(gateway.port), 60, "the application answers")
                with failing(gateway.url):
                    gateway.wait(lambda: gateway.api("/api/v1/incidents")["items"], WITHIN_S, "control says so")
                found = gateway.api("/api/v1/incidents")["items"][0]
            assert "greeter" in gateway.sentinel("incidents", "list", "-c", str(gateway.config)).stdout
    finally:
        gateway.control.close()
    assert (found["signal"], found["place"]["upstream"]) == ("error_rate", "greeter"), found
