"""Programs started by tests as a user starts them: their words in a file, ended by the test that began them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

START_S = 60.0
STOP_S = 45.0
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


def clean_environ(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment with nothing of the developer's own: no SENTINEL_ variables, no PYTHONPATH."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {"COLUMNS": "160"} | dict(more or {})


def run(command: Sequence[str], *, folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run to the end, within a minute."""
    return subprocess.run(
        command, cwd=folder, env=dict(environ), capture_output=True, text=True, timeout=60, check=False
    )


class Program:
    """A process under way and what it has written."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def words(self) -> str:
        """Standard output and standard error so far."""
        return self._log.read_text(errors="replace")

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until ``ready``; fail with the program's own words when it ends or takes too long."""
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if ready():
                    return
            assert self.process.poll() is None, f"it ended before {what}:\n{self.words[-4000:]}"
            assert time.monotonic() < deadline, f"no {what} within {START_S:.0f} s:\n{self.words[-4000:]}"
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def started(command: Sequence[str], *, folder: Path, environ: Mapping[str, str], log: Path) -> Iterator[Program]:
    """A program that runs until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    program = Program(process, log)
    try:
        yield program
    finally:
        try:
            program.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"hello": "world"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hello_service() -> Iterator[int]:
    """A small HTTP service on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
