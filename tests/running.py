"""The real program for scenario and fault tests: `sentinel serve` in a scratch folder, with an origin behind it."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import psutil

from tests import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_S = 40.0
SECRET = "a secret for tests that is long enough"


class Origin(http.server.ThreadingHTTPServer):
    """A small HTTP/1.1 service. ``answer`` decides; by default 200 with what it saw as JSON."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _OriginHandler)
        self.port = self.server_address[1]
        self.seen: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[str, str], tuple[int, bytes]] | None = None
        self.delay_s = 0.0
        self.fields: dict[str, str] = {}  # header fields of every answer


class _OriginHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for an acknowledgement
    server: Origin

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        headers = {name.lower(): value for name, value in self.headers.items()}
        saw = {"method": self.command, "path": self.path, "headers": headers, "body": len(body)}
        self.server.seen.append(saw)
        if body:
            self.server.bodies.append(body[:100_000])
        time.sleep(self.server.delay_s)
        status, answer = 200, json.dumps(saw).encode()
        if self.server.answer is not None:
            status, answer = self.server.answer(self.command, self.path)
        self.send_response(status)
        for name, value in self.server.fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def origin() -> Iterator[Origin]:
    """An origin on a free port, in threads of this process."""
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


class Gateway:
    """One running gateway: addresses, processes by name, control's API."""

    def __init__(self, folder: Path, config: str, environ: dict[str, str]) -> None:
        self.folder = folder
        self.port = servers.free_port()
        self.admin_port = servers.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.run_dir = folder / "run"
        self.config = folder / "sentinel.toml"
        self.log = folder / "gateway.log"
        self.environ = {**os.environ, "SENTINEL_JWT_SECRET": SECRET, **environ}
        self.write(config)
        self.process: subprocess.Popen[bytes] | None = None
        self.control = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(self.run_dir / "control.sock")),
            base_url="http://control",
            timeout=10,
        )

    def write(self, config: str) -> None:
        """(Re)write sentinel.toml; PORT, ADMIN and RUN stand for this gateway's own."""
        text = config.replace("PORT", str(self.port)).replace("ADMIN", str(self.admin_port))
        self.config.write_text(text.replace("RUN", str(self.run_dir)))

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--config", str(self.config)],
                cwd=self.folder,
                env=self.environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.wait(lambda: self.ready() and self.answers(), START_S, "the gateway is ready")

    def ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:  # asked first: the client leaks a socket that nobody answers
            if probe.connect_ex(str(self.run_dir / "control.sock")) != 0:
                return False
        try:
            return self.control.get("/health/ready").is_success
        except httpx2.HTTPError:
            return False

    def answers(self) -> bool:
        return servers.answers(self.port)

    def wait(self, true: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until it is true; fail with what was waited for and the log's end."""
        deadline = time.monotonic() + seconds
        while not true():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                state = "ended" if ended else f"not within {seconds:.0f} s"
                message = f"{what}: {state}\n{self.log.read_text(errors='replace')[-4000:]}"
                raise AssertionError(message)
            time.sleep(0.05)

    def child(self, name: str) -> psutil.Process:
        """A child by its name in the process list, such as ``worker 1`` or ``control``."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            if child.cmdline() and child.cmdline()[0] == f"sentinel: {name}":
                return child
        message = f"no process is named 'sentinel: {name}'"
        raise LookupError(message)

    def has_child(self, name: str) -> bool:
        try:
            return self.child(name).is_running()
        except (LookupError, psutil.Error):
            return False

    def has_replaced(self, process: psutil.Process, name: str) -> bool:
        """Whether another process than that one has the name now."""
        try:
            return self.child(name).pid != process.pid
        except (LookupError, psutil.Error):
            return False

    def api(self, path: str) -> Any:
        answer = self.control.get(path)
        answer.raise_for_status()
        return answer.json()

    def records(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api(f"/api/v1/requests?limit=500{query}")["items"]
        return found

    def sentinel(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The command line against this gateway."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            check=False,
        )

    def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(45)

    def close(self) -> None:
        self.control.close()
        if self.process is not None and self.process.poll() is None:
            family = [*psutil.Process(self.process.pid).children(recursive=True)]
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
            for child in family:
                if child.is_running():
                    child.kill()


@contextmanager
def gateway(folder: Path, config: str, **environ: str) -> Iterator[Gateway]:
    """A started gateway, ended afterwards."""
    running = Gateway(folder, config, environ)
    try:
        running.start()
        yield running
    finally:
        running.close()


def config(upstream_port: int, *, server: str = "", route: str = "", more: str = "") -> str:
    """A sentinel.toml with one upstream and one route to it."""
    return f"""
[server]
port = PORT
run_dir = "RUN"
{server}

[admin]
bind = "127.0.0.1:ADMIN"

[store]
url = "sqlite:///RUN/sentinel.db"

[auth.jwt]
secret_env = "SENTINEL_JWT_SECRET"

[[upstreams]]
name = "api"
targets = ["http://127.0.0.1:{upstream_port}"]

[[routes]]
name = "api"
match = {{ path = "/*" }}
upstream = "api"
{route}

{more}
"""
