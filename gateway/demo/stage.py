"""What the demo sets up and takes down: six service processes, a gateway with the embedded default, a way to ask it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import httpx2

from gateway.errors import SentinelError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

SERVICES = ("orders", "payments", "catalog")
TARGETS_EACH = 2
START_S = 45.0
STOP_S = 20.0

CONFIG = """\
# The demo's gateway: embedded store, buckets in the process, one worker.
[server]
port = {port}
run_dir = "{run_dir}"

[admin]
bind = "127.0.0.1:{admin_port}"

[store]
url = "sqlite:///{run_dir}/sentinel.db"

[auth.jwt]
algorithms = ["HS256"]
secret_env = "SENTINEL_JWT_SECRET"

[[upstreams]]
name = "orders"
targets = {orders}
depends_on = ["payments", "catalog"]
health = {{ path = "/healthz", interval = "5s" }}

[[upstreams]]
name = "payments"
targets = {payments}
health = {{ path = "/healthz", interval = "5s" }}

[[upstreams]]
name = "catalog"
targets = {catalog}
health = {{ path = "/healthz", interval = "5s" }}

[[routes]]
name = "orders"
match = {{ path = "/orders/*" }}
upstream = "orders"
auth = "jwt"
scopes = ["orders:write"]
limit = "50/s burst 100 per subject"

[[routes]]
name = "payments"
match = {{ path = "/payments/*" }}
upstream = "payments"
auth = "jwt"
scopes = ["payments:write"]
limit = "200/s burst 400 per tenant"

[[routes]]
name = "catalog"
match = {{ path = "/catalog/*" }}
upstream = "catalog"
auth = "jwt"
scopes = ["catalog:read"]
limit = "4/s burst 8 per subject"
"""


def free_port() -> int:
    """A loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Stage:
    """The demo's processes. Use as an async context manager; everything is ended on the way out, by process id.

    Args:
        folder: scratch folder for configuration, run folder and logs.
        port: data port, 0 for a free one.
        admin_port: admin port, 0 for a free one.
    """

    def __init__(self, folder: Path, *, port: int = 0, admin_port: int = 0) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.port = port or free_port()
        self.admin_port = admin_port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.secret = secrets.token_urlsafe(48)
        self.targets = {name: [free_port() for _ in range(TARGETS_EACH)] for name in SERVICES}
        self._processes: list[tuple[str, asyncio.subprocess.Process]] = []
        self._control = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(self.run_dir / "control.sock")),
            base_url="http://control",
            timeout=10,
        )
        self._services = httpx2.AsyncClient(timeout=10)

    async def __aenter__(self) -> Self:
        """Start everything and wait until the gateway is ready and every target answers."""
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process this stage started."""
        await self._end()

    async def ask(self, path: str) -> dict[str, Any]:
        """GET from control's API, as the command line does it: over the Unix socket in the run folder."""
        answer = await self._control.get(path)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def set_fault(self, target: str, fault: str, **part: float | str) -> None:
        """Switch a fault of one target (host:port) on, or off with the empty string; ``part`` says how much of it."""
        answer = await self._services.put(f"http://{target}/fault", json={"fault": fault, **part})
        answer.raise_for_status()

    def log_tail(self, name: str = "gateway") -> str:
        """The last lines a process wrote."""
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""

    def set_up_link(self) -> str:
        """The one-time link that the gateway printed for its first dashboard user."""
        words = (self.folder / "gateway.log").read_text(errors="replace").split()
        return next((word for word in words if "/dashboard/setup?" in word), f"{self.admin_url}/dashboard")

    async def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "sentinel.toml"
        listed = {name: repr([f"http://127.0.0.1:{port}" for port in ports]) for name, ports in self.targets.items()}
        config.write_text(
            CONFIG.format(port=self.port, admin_port=self.admin_port, run_dir=self.run_dir, **listed).replace("'", '"')
        )
        environ = {**os.environ, "SENTINEL_JWT_SECRET": self.secret}
        await self._spawn("gateway", environ, "-m", "gateway", "serve", "--config", str(config))
        for name, ports in self.targets.items():
            for port in ports:
                arguments = ("-m", "gateway.demo.service", name, "--port", str(port), "--gateway", self.url)
                await self._spawn(f"{name}-{port}", dict(os.environ), *arguments)
        await asyncio.gather(
            self._answering("gateway", f"{self.admin_url}/health/ready"),
            *(
                self._answering(f"{name}-{port}", f"http://127.0.0.1:{port}/healthz")
                for name, ports in self.targets.items()
                for port in ports
            ),
        )

    async def _spawn(self, name: str, environ: dict[str, str], *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is the demo's to handle, in its own order
            )
        self._processes.append((name, process))

    async def _answering(self, name: str, url: str) -> None:
        deadline = time.monotonic() + START_S
        process = next(process for known, process in self._processes if known == name)
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise SentinelError(f"{name} ended with code {process.returncode}:\n{self.log_tail(name)}")
            with contextlib.suppress(httpx2.HTTPError):
                if (await self._services.get(url, timeout=2)).is_success:
                    return
            await asyncio.sleep(0.1)
        raise SentinelError(f"{name} did not answer on {url} within {START_S:.0f} s:\n{self.log_tail(name)}")

    async def _end(self) -> None:
        await self._control.aclose()
        await self._services.aclose()
        for _, process in reversed(self._processes):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for _, process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
