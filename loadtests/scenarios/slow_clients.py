"""Clients that drip their heads, drip their bodies, or hardly read: the prompt ones beside them must not feel it.

The first third of the time there are prompt clients alone. Run by `sentinel loadtest slow-clients`, or by hand:
locust -f loadtests/scenarios/slow_clients.py --headless -u 20 -t 12s --host URL
"""

from __future__ import annotations

import itertools
import random
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import gevent
from locust import FastHttpUser, User, constant, constant_throughput, task

from gateway.loadtest import judging
from gateway.loadtest.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

ALONE, BESIDE, SLOW = "alone", "beside slow clients", "slow"
BEGIN = 1 / 3  # of the scenario
EACH = 3  # slow connections per slow user, one of each kind of slowness
PAUSE_S = 0.1
BODY_BYTES = 60
READ_BYTES = 4096
_numbers = itertools.count()


def judge(seen: Watch) -> list[judging.Check]:
    """What must hold beside slow clients."""
    checks = [judging.none_failed(seen.seen, ALONE), judging.none_failed(seen.seen, BESIDE)]
    checks.append(judging.not_slower(seen.seen, ALONE, BESIDE, "slow clients do not slow down the others"))
    slow = seen.counts.get("slow begun", 0)
    checks.append(
        judging.all_true("slow clients did come, and were served or sent away", seen.counts.get("slow ended", 0), slow)
    )
    return checks


watch = Watch(judge)


class Prompt(FastHttpUser):
    """Asks ten times a second."""

    weight = 1
    wait_time = constant_throughput(10)
    network_timeout = connection_timeout = 10.0

    def on_start(self) -> None:
        """Become somebody."""
        self.bearer = watch.settings.bearer(f"prompt-{next(_numbers)}")

    @task
    def ask(self) -> None:
        """One request under the name of its phase."""
        name = ALONE if watch.share() < BEGIN else BESIDE
        path = f"{watch.settings.path}/{next(_numbers)}" if watch.settings.own else watch.settings.path
        self.client.get(path, name=name, headers=self.bearer)


class Slow(User):
    """Three connections at a time, each slow in a way of its own."""

    weight = 1
    wait_time = constant(0)

    @task
    def be_slow(self) -> None:
        """Wait for the phase, then drip."""
        if not BEGIN <= watch.share() < 1:
            gevent.sleep(PAUSE_S)
            return
        kinds = (self.drip_head, self.drip_body, self.hardly_read)
        gevent.joinall([gevent.spawn(self.one, kind) for kind in kinds])

    def one(self, kind: object) -> None:
        """One slow connection: served to the end, sent away, or left when the scenario is over; never stuck."""
        at = urlsplit(self.host or "")
        watch.count("slow begun")
        try:
            with socket.create_connection((at.hostname or "", at.port or 80), timeout=10) as connection:
                kind(connection)  # type: ignore[operator]  # a method picked by locust, which names no type
        except TimeoutError:
            return  # it is still open and says nothing: that is the hang this looks for
        except OSError:
            pass  # sent away
        watch.count("slow ended")

    def head(self, method: str, path: str, length: int) -> bytes:
        """A request's head."""
        host = urlsplit(self.host or "").netloc
        fields = {"Host": host, **watch.settings.bearer("slow"), "Content-Length": str(length)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()

    def drip_head(self, connection: socket.socket) -> None:
        """Three bytes of a head at a time, never to its end while the scenario lasts."""
        for piece in repeated(self.head("GET", watch.settings.path, 0)[:-2]):
            if watch.share() >= 1:
                return
            connection.sendall(piece)
            gevent.sleep(PAUSE_S)

    def drip_body(self, connection: socket.socket) -> None:
        """A body byte by byte, then its answer."""
        connection.sendall(self.head("POST", watch.settings.path, BODY_BYTES))
        for _ in range(BODY_BYTES):
            if watch.share() >= 1:
                return
            connection.sendall(b"x")
            gevent.sleep(PAUSE_S)
        connection.recv(READ_BYTES)

    def hardly_read(self, connection: socket.socket) -> None:
        """A megabyte, read 4 KiB at a time with pauses."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
        path = f"{watch.settings.path}/blob" if watch.settings.own else watch.settings.path
        connection.sendall(self.head("GET", path, 0))
        while watch.share() < 1 and connection.recv(READ_BYTES):
            gevent.sleep(PAUSE_S * random.uniform(0.5, 1.5))


def repeated(head: bytes) -> Iterator[bytes]:
    """The head in pieces, then one more field for ever."""
    for start in range(0, len(head), 3):
        yield head[start : start + 3]
    while True:
        yield b"a: b\r\n"
