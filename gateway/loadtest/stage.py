"""A gateway and the service behind it for a load test, in a folder that goes with them; and what the gateway uses."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, NamedTuple, Self

import psutil

from gateway.errors import SentinelError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

START_S = 45.0
STOP_S = 20.0
RATE, BURST = 50.0, 100  # of the limit that the storm meets

CONFIG = """\
# The load test's gateway: embedded store, buckets in the process.
[server]
port = {port}
workers = {workers}
driver = "{driver}"
run_dir = "{folder}/run"

[admin]
bind = "127.0.0.1:{admin_port}"

[store]
url = "sqlite:///{folder}/run/sentinel.db"

[auth.jwt]
algorithms = ["HS256"]
secret_env = "SENTINEL_JWT_SECRET"

[[upstreams]]
name = "service"
targets = ["http://127.0.0.1:{origin_port}"]
max_connections = 1024

[[routes]]
name = "all"
match = {{ path = "/*" }}
upstream = "service"
auth = "jwt"
limit = "1000000/s burst 1000000 per subject"

[[routes]]
name = "limited"
match = {{ path = "/limited" }}
upstream = "service"
auth = "jwt"
limit = "{rate:g}/s burst {burst} per subject"
"""


class Used(NamedTuple):
    """What a gateway has used so far: processor seconds, and MiB resident in its workers now."""

    worker_s: float
    control_s: float
    rss_mib: float


class Stage:
    """Use as a context manager: everything is ended on the way out, by process id.

    Raises:
        SentinelError: something did not start; with the end of what it said.
    """

    def __init__(self, folder: Path, *, workers: int = 1, driver: str = "lane") -> None:
        self.folder = folder
        self.secret = secrets.token_urlsafe(48)
        self.port, self.admin_port, self.origin_port = _free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = CONFIG.format(
            port=self.port,
            admin_port=self.admin_port,
            origin_port=self.origin_port,
            workers=workers,
            driver=driver,
            folder=folder,
            rate=RATE,
            burst=BURST,
        )
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        """Start both and wait until they answer."""
        config = self.folder / "sentinel.toml"
        config.write_text(self._config)
        try:
            self._start("origin", "gateway.loadtest.origin", str(self.origin_port))
            self._start("gateway", "gateway", "serve", "--config", str(config))
            self._answering("origin", f"http://127.0.0.1:{self.origin_port}/items/0")
            self._answering("gateway", f"http://127.0.0.1:{self.admin_port}/health/ready")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End both."""
        self._end()

    def used(self) -> Used:
        """What the gateway's processes have used. Raises SentinelError when it is gone."""
        worker_s = control_s = rss = 0.0
        try:
            family = psutil.Process(self._processes[1][1].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            raise SentinelError(f"the gateway has ended:\n{self._said('gateway')}") from None
        for process in family:
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                times = process.cpu_times()
                spent = times.user + times.system
                if ": control" in command:
                    control_s += spent
                elif ": worker" in command:
                    worker_s += spent
                    rss += process.memory_info().rss / 2**20
        return Used(worker_s, control_s, rss)

    def _start(self, name: str, *module: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
                [sys.executable, "-m", *module],
                cwd=self.folder,
                env={**os.environ, "SENTINEL_JWT_SECRET": self.secret},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is the load test's to handle, in its own order
            )
        self._processes.append((name, process))

    def _answering(self, name: str, url: str) -> None:
        deadline = time.monotonic() + START_S
        process = dict(self._processes)[name]
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise SentinelError(f"the {name} ended with code {process.returncode}:\n{self._said(name)}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
            time.sleep(0.1)
        raise SentinelError(f"the {name} did not answer on {url} within {START_S:.0f} s:\n{self._said(name)}")

    def _said(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])

    def _end(self) -> None:
        for _, process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
