"""The stage of a measurement: a scratch folder, processes pinned to processors, what they used, and the end of it all.

The contender has processor 0 to itself where there are several; whatever drives or serves it runs on the last one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
SECRET = "not-a-secret-but-long-enough-for-HS256"  # noqa: S105 - known to everyone who can read this file
CONTENDER_CPU = "0"
OTHERS_CPU = str((os.cpu_count() or 1) - 1)

# Where each program comes from on Debian and Ubuntu, for the message that it is missing.
PACKAGES = {
    "haproxy": "haproxy",
    "nginx": "nginx libnginx-mod-http-lua lua-cjson",
    "redis-server": "redis-server",
    "wrk": "wrk",
}
LUA_MODULE = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_PLACE = re.compile(r"@\{(\w+)\}")


class MissingError(Exception):
    """A program the measurement needs is not installed; the message says how to get it or do without."""


class StartError(Exception):
    """Something did not start, or did not answer as it should."""


class Usage(NamedTuple):
    """What a tree of processes has used so far: seconds of processor time, and MiB resident now."""

    worker_s: float
    control_s: float
    rss_mib: float
    worker_rss_mib: float


def need(*programs: str) -> None:
    """Raise MissingError for the programs that are not there, with the command that brings them."""
    missing = [program for program in programs if shutil.which(program) is None]
    if "nginx" in programs and "nginx" not in missing and not LUA_MODULE.exists():
        missing.append("nginx")
    if missing:
        packages = " ".join(PACKAGES[program] for program in missing)
        raise MissingError(
            f"not installed: {', '.join(missing)} (for nginx also its Lua module). "
            f"On Debian and Ubuntu: apt-get install {packages}"
        )


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fill_in(template: str, values: Mapping[str, object]) -> str:
    """The template with every ``@{name}`` replaced; a name without a value is a KeyError."""
    return _PLACE.sub(lambda place: str(values[place[1]]), template)


def token(subject: int, secret: str = SECRET, *, lifetime_s: int = 86_400) -> str:
    """A signed HS256 token of one of many subjects."""
    now = int(time.time())
    claims = {"sub": f"user-{subject}", "tenant": f"tenant-{subject % 10}", "iat": now, "exp": now + lifetime_s}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_text(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def _part(value: object) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def usage(root: int) -> Usage:
    """What the process ``root`` and all that descend from it have used; those named "…: control" apart."""
    worker_s = control_s = rss = worker_rss = 0.0
    for pid in family(root, _parents()):
        try:
            fields = _stat(pid)
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        spent = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        resident = int(fields[21]) * _PAGE_MIB
        rss += resident
        if b": control" in command:
            control_s += spent
        else:
            worker_s += spent
            worker_rss += resident if b": worker" in command else 0.0
    return Usage(worker_s, control_s, rss, worker_rss)


def family(root: int, parents: Mapping[int, int]) -> list[int]:
    """``root`` and its descendants, by a table of each process's parent."""
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
            except OSError:
                continue
    return parents


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may itself hold blanks and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Process:
    """One program of the stage."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen

    def check(self) -> None:
        """Raise StartError, with the end of its output, if it has ended."""
        code = self._popen.poll()
        if code is not None:
            raise StartError(f"{self.name} ended with code {code}:\n{self.output()}")

    def output(self) -> str:
        """The last of what it printed."""
        return self.log.read_text(errors="replace")[-2000:]

    def signal(self, number: signal.Signals) -> None:
        """Send it to the process group, if that still lives."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Ask its process group to end, and insist after ten seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
            try:
                self._popen.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue


class Lab:
    """A scratch folder and processes in it; leaving the ``with`` block ends and removes everything."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sentinel-bench-"))
        self.folder.chmod(0o755)  # nginx, when started by root, reads it as another user
        self.upstream_port = free_port()
        self.redis_port = free_port()
        self.syslog_port = free_port()
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self, name: str, command: Sequence[object], *, cpu: str = OTHERS_CPU, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program in a process group of its own, pinned to one processor."""
        log = self.folder / f"{name}.out"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*pinned(cpu), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._processes.append(process)
        return process

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the programs of that name."""
        for process in self._processes:
            if process.name == name:
                process.signal(number)

    def render(self, name: str, port: int = 0, *, workers: int = 1) -> Path:
        """A configuration of ``peers/`` with this lab's values in it."""
        values = {
            "folder": self.folder,
            "peers": PEERS,
            "port": port,
            "workers": workers,
            "upstream_port": self.upstream_port,
            "syslog_port": self.syslog_port,
            "secret": SECRET,
            "body": json.dumps({"orders": [{"id": number, "state": "paid"} for number in range(24)]}),
        }
        rendered = self.folder / name
        rendered.write_text(fill_in((PEERS / name).read_text(), values))
        return rendered

    def start_surroundings(self) -> None:
        """The upstream and Redis, and a place for HAProxy's log lines."""
        blobs = self.folder / "blob"
        blobs.mkdir()
        for name, size in (("10k", 10_000), ("1m", 1_000_000)):
            (blobs / name).write_bytes(os.urandom(size))
        self.start("upstream", ["nginx", "-p", self.folder, "-c", self.render("upstream.nginx.conf")])
        self.start("redis", ["redis-server", "--bind", "127.0.0.1", "--port", self.redis_port, "--save", ""])
        sink = (
            "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.bind(('127.0.0.1', int(sys.argv[1])))\nwhile True: s.recv(65536)"
        )
        self.start("syslog", [sys.executable, "-c", sink, self.syslog_port])

    def start_gateway(self, port: int, *, name: str = "contender", cpu: str = CONTENDER_CPU, **more: str) -> Process:
        """``loadtests/NAME.py`` on ``port``; further keywords are variables of its environment."""
        env = {
            "PORT": str(port),
            "UPSTREAM_URL": f"http://127.0.0.1:{self.upstream_port}",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "JWT_SECRET": SECRET,
            "RUN": str(self.folder),
            "PYTHONPATH": str(HERE.parent),
            **more,
        }
        return self.start(f"{name}-{port}", [sys.executable, "-m", f"loadtests.{name}"], cpu=cpu, env=env)


def pinned(cpu: str) -> list[str]:
    """The words that pin a command to a processor, or several ("0-1"), where there is a choice."""
    if cpu and (os.cpu_count() or 1) > 1 and shutil.which("taskset"):
        return ["taskset", "-c", cpu]
    return []


def metric(admin_port: int, name: str) -> float:
    """A number without labels of a running control's /metrics; 0 when it is not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=30) as answer:
        found = re.search(rf"^{name} ([\d.e+]+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_until_serving(process: Process, port: int, path: str, *, within_s: float = 30.0) -> None:
    """Wait for a 200 to a good token and a 401 without one: a contender that checks nothing is none."""
    give_up_at = time.monotonic() + within_s
    bearer = {"Authorization": f"Bearer {token(0)}"}
    while True:
        process.check()
        answers = status(port, path, bearer), status(port, path, {})
        if answers == (200, 401):
            return
        if time.monotonic() > give_up_at:
            raise StartError(
                f"{process.name} answers {answers[0]} with a good token and {answers[1]} without one, where 200 and "
                f"401 are due (0: no answer):\n{process.output()}"
            )
        time.sleep(0.25)


def status(port: int, path: str, headers: Mapping[str, str]) -> int:
    """The status of one GET, 0 when there is no answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - loopback
            answer.read()
            code: int = answer.status
            return code
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
