"""A row of a migration guide at work: a worker assembled as the program does it, in a thread, with services behind it.

The addresses of the pages lead to services of the test: 10.0.0.5 to 10.0.0.7, each named by what it answers.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import tempfile
import threading
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.app.edge import worker
from gateway.config import checking
from gateway.edge.certificates import Certificates
from gateway.edge.lane import lane_http
from gateway.edge.middleware import EdgeApp
from gateway.edge.tls import over_tls
from gateway.run_folder import RunFolder
from gateway.serving import serve, server
from gateway.settings import Settings
from tests import running
from tests.certificates import Authority
from tests.integration.docs.migration_page import Line, completed
from tests.tokens import pem, private_key

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from gateway.domain.access import ApiKey
    from gateway.domain.snapshot import Snapshot
    from tests.integration.docs.migration_page import Guide

SERVICES = ("10.0.0.5", "10.0.0.6", "10.0.0.7")
OWN_PLACE = (
    Line("[server]", "port = PORT"),
    Line("[server]", 'run_dir = "RUN"'),
    Line("[admin]", 'bind = "127.0.0.1:ADMIN"'),
    Line("[store]", 'url = "sqlite:///RUN/sentinel.db"'),
)
SECRETS = {"SENTINEL_JWT_SECRET": running.SECRET}


class Answer(NamedTuple):
    """What a client got; ``headers`` in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def saw(self) -> dict[str, Any]:
        """What the service saw of the request."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def problem(self) -> str:
        """What the gateway says of an answer of its own."""
        return str(self.saw["detail"])

    @property
    def path(self) -> str:
        """The path the service saw."""
        return str(self.saw["path"])


def ask(
    port: int,
    path: str = "/orders/1",
    *,
    method: str = "GET",
    fields: dict[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    client: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request on a connection of its own, from the loopback address ``client``."""
    here = (client, 0)
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=here)
        if tls is None
        else http.client.HTTPSConnection("localhost", port, timeout=10, source_address=here, context=tls)
    )
    try:
        connection.request(method, path, body, {"Accept-Encoding": "identity", **(fields or {})})
        answer = connection.getresponse()
        headers: dict[str, str] = {}
        for name, value in answer.getheaders():
            low = name.lower()
            headers[low] = f"{headers[low]}, {value}" if low in headers else value
        return Answer(answer.status, headers, answer.read())
    finally:
        connection.close()


def together(count: int, one: Callable[[int], Answer]) -> list[Answer]:
    """So many requests at the same time."""
    found: list[Answer] = []
    threads = [threading.Thread(target=lambda number=number: found.append(one(number))) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    return found


class Services:
    """What stands behind the gateway, by the address on the page; ``authority`` signs what the pages call files."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.by_address = {name: stack.enter_context(running.origin()) for name in SERVICES}
        self.folder = folder
        self._authority: Authority | None = None
        self.reset()

    def reset(self) -> None:
        """As they were at first."""
        self._replaced = {f"{name}:9000": f"127.0.0.1:{origin.port}" for name, origin in self.by_address.items()}
        for origin in self.by_address.values():
            origin.seen.clear()
            origin.answer, origin.delay_s, origin.fields = None, 0.0, {}

    def __getitem__(self, address: str) -> running.Origin:
        return self.by_address[address]

    @property
    def authority(self) -> Authority:
        """Made when first asked for, with every file that the pages name below /etc/sentinel/tls."""
        if self._authority is None:
            self._authority = Authority(self.folder, "clients-ca")
            (self.folder / "internal-ca.pem").write_bytes(self._authority.file.read_bytes())
            for name, key in (("fullchain", "key"), ("gateway", "gateway")):
                self._authority.files(name, ("CN", name), dns=("localhost", "orders.internal"))
                (self.folder / f"{name}.key").rename(self.folder / f"{key}.{'pem' if key == 'key' else 'key'}")
            (self.folder / "partner-public.pem").write_text(pem(private_key("RS256")))
        return self._authority

    def lead(self, written: str, here: str) -> None:
        """Let this text of the pages mean that one."""
        self._replaced[written] = here

    def placed(self, text: str) -> str:
        """The text of a page with addresses and files that are here."""
        if "/etc/sentinel/tls" in text:
            assert self.authority
            text = text.replace("/etc/sentinel/tls", str(self.folder))
        for written, here in self._replaced.items():
            text = text.replace(written, here)
        return text

    def shares(self) -> dict[str, int]:
        """How many requests each got."""
        return {name: len(origin.seen) for name, origin in self.by_address.items()}


class Gateway:
    """One worker in a thread of its own."""

    def __init__(self, folder: Path, text: str, services: Services, keys: tuple[ApiKey, ...] = ()) -> None:
        self.services = services
        self.tls: ssl.SSLContext | None = None
        self._keys = keys
        self._settings = Settings.from_environ(SECRETS)
        self.snapshot = self._read(text)
        self._folder = RunFolder(folder / "run")
        self._folder.make()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._started = threading.Event()
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _read(self, text: str) -> Snapshot:
        configuration = checking.load(self.services.placed(text), "sentinel.toml", self._settings)
        if url := str(configuration.document.redis.url):  # workers find it in their environment
            self._settings = Settings.from_environ({**SECRETS, "SENTINEL_REDIS__URL": url})
        return msgspec.structs.replace(configuration.compiled, keys=self._keys, created_at=time.time())

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            self._ended = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            policy = self.snapshot.policy
            steps, forwarder, counters = await worker(
                stack, self._folder, self._settings, self.snapshot, number=1, live_workers=lambda: 1
            )
            http = over_tls(lane_http(steps, forwarder, None), Certificates(policy.tls), counters)
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            self._steps, self._forwarder, self._counters = steps, forwarder, counters
            serving = server(EdgeApp(steps, forwarder), http=http, drain_s=1)
            self._loop.call_soon(self._started.set)
            await serve(serving, self._listener, self._stopping)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)
        if self._ended is not None:
            raise self._ended

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._listener.close()

    def apply(self, text: str) -> None:
        """Put another configuration in force, as a worker does."""
        changed, done = self._read(text), threading.Event()

        def swap() -> None:
            self._forwarder.apply(changed.upstreams, (), time.time())
            self._steps.apply(changed)
            done.set()

        self._loop.call_soon_threadsafe(swap)
        assert done.wait(5)

    def counted(self, name: str) -> float:
        """How much the worker has counted under that name of a metric."""
        return sum(amount for key, amount in self._counters.take().items() if key.partition("|")[0] == name)

    def ask(self, path: str = "/orders/1", **asking: Any) -> Answer:
        """One request; see :func:`ask`."""
        return ask(self.port, path, **{"tls": self.tls, **asking})

    def statuses(self, count: int, path: str = "/orders/1", **asking: Any) -> list[int]:
        """The statuses of so many requests, one after the other."""
        return [self.ask(path, **asking).status for _ in range(count)]

    def target(self, path: str = "/orders/1", **asking: Any) -> str:
        """The address of the service a request comes to."""
        before = self.services.shares()
        self.ask(path, **asking)
        return next(name for name, count in self.services.shares().items() if count > before[name])


class Trial:
    """Puts rows of one guide to work, each in a folder of its own."""

    def __init__(self, guide: Guide, folder: Path, services: Services) -> None:
        self._guide = guide
        self._folder = folder
        self.services = services

    @contextmanager
    def at_work(self, theirs: str, *more: Line, **given: Any) -> Iterator[Gateway]:
        """The row, with further lines for what the trial itself needs, in a worker."""
        text = completed(self._guide.base, (*self._guide.rows[theirs].ours, *more))
        made = Gateway(Path(tempfile.mkdtemp(dir=self._folder)), text, self.services, **given)
        try:
            made.start()
            yield made
        finally:
            made.stop()

    @contextmanager
    def as_program(self, *theirs: str) -> Iterator[running.Gateway]:
        """All these rows in one `sentinel serve`."""
        lines = [line for name in theirs for line in self._guide.rows[name].ours]
        text = completed(self._guide.base, (*lines, *OWN_PLACE))
        with running.gateway(self._folder, self.services.placed(text)) as program:
            yield program


def admitted(gateway: Gateway, count: int) -> tuple[int, float]:
    """How many of so many quick requests got through, and how many seconds that took."""
    began = time.monotonic()
    answers = [gateway.ask() for _ in range(count)]
    refused = [answer for answer in answers if answer.status == 429]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.status for answer in answers} <= {200, 429}
    return count - len(refused), time.monotonic() - began
