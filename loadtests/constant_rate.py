"""Open-loop load: requests are sent when they are due, whether or not others have been answered.

    python -m loadtests.constant_rate --port PORT --rate 2000 [--seconds 5] [--path /api/items] [--subjects 1000]

Latency is counted from when a request was *due*, so a service that stands still is charged for everybody who had to
wait (no coordinated omission). Prints JSON. ``late_p99_ms`` is how late this program itself sent: where it is not small
beside the latencies, the program was the slow one and the figures are worth nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

import uvloop

from gateway.domain.histogram import Histogram, bin_of, quantile
from loadtests import lab

if TYPE_CHECKING:
    from pathlib import Path

TICK_S = 0.001
MAX_CONNECTIONS = 512
MAX_WAITING = 10_000  # due and without a connection: beyond it the service is drowned, and requests count as failed
WARM_S = 0.5
LAST_ANSWERS_S = 3.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OK = b"HTTP/1.1 200"


class Paced(NamedTuple):
    """What was seen of a constant rate."""

    rate: float
    answered: int
    failed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_p99_ms: float


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.due = 0.0
        self.left = 0  # of the body; -1: the head is not whole
        self.head = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the first request that waits."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self.pace.free(self)

    def send(self, request: bytes, due: float) -> None:
        """One request."""
        self.due, self.left, self.head = due, -1, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Wait for the end of the answer."""
        if self.left < 0:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self.head, 0, end)
            self.left = int(found[1]) if found else 0
            data, good = self.head[end + 4 :], self.head.startswith(OK)
            self.pace.bad += not good
        self.left -= len(data)
        if self.left <= 0:
            self.pace.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """What was on it has failed."""
        self.pace.lost(self)


class Pace:
    """Sends ``rate`` requests per second for ``seconds``."""

    def __init__(self, port: int, requests: list[bytes], rate: float, seconds: float) -> None:
        self.bad = 0
        self._port = port
        self._requests = requests
        self._rate = rate
        self._seconds = seconds
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._waiting: deque[float] = deque()
        self._connections = 0
        self._sent = self._done = 0
        self._latency: Histogram = {}
        self._late: Histogram = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._warm_until = 0.0

    async def run(self) -> Paced:
        """Keep the pace, then wait for the last answers."""
        begun = time.perf_counter()
        self._warm_until = begun + WARM_S
        due_count = 0
        end = begun + WARM_S + self._seconds
        while (now := time.perf_counter()) < end + TICK_S:
            due_count = self._give_all(begun, due_count, min(now, end), now)
            await asyncio.sleep(TICK_S)
        self._give_all(begun, due_count, end, time.perf_counter())  # what the last pause slept through
        deadline = time.perf_counter() + LAST_ANSWERS_S
        while (self._busy or self._waiting) and time.perf_counter() < deadline:  # noqa: ASYNC110 - the end, once
            await asyncio.sleep(0.01)
        unanswered = len(self._busy) + len(self._waiting)
        for connection in [*self._idle, *self._busy]:
            connection.transport.abort()
        at = {q: (quantile(self._latency, q) or 0.0) / 1000 for q in (0.5, 0.99, 0.999)}
        late = (quantile(self._late, 0.99) or 0.0) / 1000
        return Paced(self._rate, self._done, self.bad + unanswered, at[0.5], at[0.99], at[0.999], late)

    def free(self, connection: Connection) -> None:
        """A connection has nothing on it."""
        if self._waiting:
            self._put(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def answered(self, connection: Connection) -> None:
        """Count an answer, unless it belongs to the warm-up."""
        now = time.perf_counter()
        self._busy.discard(connection)
        if connection.due >= self._warm_until:
            self._done += 1
            index = bin_of(int((now - connection.due) * 1e6))
            self._latency[index] = self._latency.get(index, 0) + 1
        self.free(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections -= 1
        if connection in self._busy:
            self._busy.discard(connection)
            self.bad += 1
        elif connection in self._idle:
            self._idle.remove(connection)

    def _give_all(self, begun: float, due_count: int, until: float, now: float) -> int:
        while (due := begun + due_count / self._rate) < until:
            due_count += 1
            self._give(due, now)
        return due_count

    def _give(self, due: float, now: float) -> None:
        index = bin_of(int((now - due) * 1e6))
        self._late[index] = self._late.get(index, 0) + 1
        if self._idle:
            self._put(self._idle.pop(), due)
            return
        if len(self._waiting) >= MAX_WAITING:
            self.bad += 1
            return
        self._waiting.append(due)
        if self._connections < MAX_CONNECTIONS:
            self._connections += 1
            task = asyncio.create_task(self._dial())
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    def _put(self, connection: Connection, due: float) -> None:
        self._busy.add(connection)
        self._sent += 1
        connection.send(self._requests[self._sent % len(self._requests)], due)

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        except OSError:
            self._connections -= 1
            self.bad += 1


def requests_of(port: int, path: str, subjects: int) -> list[bytes]:
    """A request of each subject."""
    return [
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {lab.token(subject)}\r\n\r\n".encode()
        for subject in range(subjects)
    ]


def drive(port: int, path: str, *, rate: float, seconds: float, subjects: int) -> Paced:
    """The same in a process of its own on the processor of those who are not measured. Raises lab.StartError."""
    command = [*lab.pinned(lab.OTHERS_CPU), sys.executable, "-m", "loadtests.constant_rate", "--port", str(port)]
    command += ["--rate", str(rate), "--seconds", str(seconds), "--path", path, "--subjects", str(subjects)]
    root: Path = lab.HERE.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60, cwd=root)
    if done.returncode:
        raise lab.StartError(f"constant_rate ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Paced(**json.loads(done.stdout))


def main() -> None:
    """Drive and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--path", default="/api/items?x=1")
    parser.add_argument("--subjects", type=int, default=1000)
    given = parser.parse_args()
    if given.rate <= 0:
        parser.error("--rate is requests per second, more than 0")
    requests = requests_of(given.port, given.path, given.subjects)
    gc.disable()  # a pause of the collector would be charged to the service
    print(json.dumps(uvloop.run(Pace(given.port, requests, given.rate, given.seconds).run())._asdict()))


if __name__ == "__main__":
    main()
