"""One pipelined connection to Redis, on hiredis and nothing else.

One call through a client library costs more than everything else a request needs, so the limiter brings its own.

The link connects, signs in, selects the database and loads the limiter's script by itself, again and again with
jittered backoff. Callers send ready-made protocol text, and their handler is called exactly once: with the reply, a
hiredis.ReplyError, or a LinkLostError.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from hashlib import sha1
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import hiredis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from gateway import logs
from gateway.edge.script_calls import ScriptCalls
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.metrics import WorkerCounters

CONNECT_S = 1.0  # to connect, and again to sign in and load the script
DEFAULT_PORT = 6379
BACKOFF_S = (0.05, 2.0)  # first and longest pause between two attempts
_URL_OPTIONS = frozenset({"host", "port", "db", "username", "password", "path", "connection_class", "ssl_ca_certs"})

log = logs.get("edge")


class LinkLostError(Exception):
    """The connection ended before the reply came. Handed to the handler, never raised."""


class _Connection(asyncio.Protocol):
    """One TCP, TLS or Unix connection: replies go to handlers in the order of sending."""

    def __init__(self, on_lost: Callable[[_Connection], None]) -> None:
        self._on_lost = on_lost
        self._reader: Any = hiredis.Reader()
        self._handlers: deque[Callable[[object], None]] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes, handler: Callable[[object], None]) -> None:
        self._handlers.append(handler)
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if not self._handlers:  # a push or a peer that is not Redis
                    self.abort()
                    return
                self._handlers.popleft()(reply)
        except hiredis.ProtocolError:
            log.warning("redis.protocol_error")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - what asyncio calls it with
        self._transport = None
        handlers, self._handlers = self._handlers, deque()
        lost = LinkLostError()
        for handler in handlers:
            handler(lost)
        self._on_lost(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class RedisLink:
    """The connection a worker keeps to Redis.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads it, with the options db and ssl_ca_certs.
        script: source of the script that :meth:`load_script` loads; ``sha`` is its name on the server.

    Raises:
        ConfigError: the URL is not one, or carries an option that would do nothing here.
    """

    def __init__(self, url: str, script: bytes) -> None:
        self._options = _options(url)
        self._script = script
        self.sha = sha1(script, usedforsecurity=False).hexdigest().encode("ascii")
        self.ready = False
        self.name = _name(self._options)
        self.generation = 0  # how many times it has connected
        self.on_up: Callable[[], None] = lambda: None
        self._connection: _Connection | None = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def calls(self, counters: WorkerCounters, budget_s: float, live_workers: Callable[[], int]) -> ScriptCalls:
        """The calls to this one server, for the limiter."""
        return ScriptCalls(counters, self, budget_s, live_workers)

    def start(self) -> None:
        """Connect and stay connected from now on; needs the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay_connected(), name="redis-link")

    async def close(self) -> None:
        """End the connection; handlers that still wait hear LinkLostError."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.abort()
        await asyncio.sleep(0)  # the transport's last callback, which tells the handlers

    def send(self, data: bytes, handler: Callable[[object], None]) -> None:
        """Write protocol text for one command; ``handler`` gets its reply. Only while :attr:`ready`."""
        if self._connection is None:
            handler(LinkLostError())
        else:
            self._connection.send(data, handler)

    def load_script(self) -> None:
        """Load the script again, ahead of whatever is sent next: Redis was flushed, or is another one now."""
        self.send(_packed(b"SCRIPT", b"LOAD", self._script), lambda _reply: None)

    def abort(self) -> None:
        """Drop the connection at once; a new one is made by itself."""
        if self._connection is not None:
            self._connection.abort()

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            self._lost.clear()
            try:
                await self._connect()
            except (OSError, TimeoutError, ConnectionError, hiredis.ReplyError) as error:
                self._drop()
                if failures == 0:
                    log.warning(
                        "redis.unreachable", server=self.name, reason=type(error).__name__, detail=str(error)[:200]
                    )
                first, longest = BACKOFF_S
                pause = min(longest, first * 2 ** min(failures, 10))
                failures += 1
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads a herd, guards nothing
                continue
            failures = 0
            log.info("redis.connected", server=self.name)
            self.ready = True
            self.generation += 1
            self.on_up()
            await self._lost.wait()
            log.warning("redis.lost", server=self.name)

    async def _connect(self) -> None:
        options = self._options
        connection = _Connection(self._on_lost)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_S):
            if "path" in options:
                await loop.create_unix_connection(lambda: connection, options["path"])
            else:
                await loop.create_connection(
                    lambda: connection,
                    options.get("host", "localhost"),
                    options.get("port", 6379),
                    ssl=_tls(options),
                )
        self._connection = connection
        async with asyncio.timeout(CONNECT_S):
            if "password" in options:
                user = [options["username"]] if options.get("username") else []
                await self._ask(b"AUTH", *user, options["password"])
            if options.get("db"):
                await self._ask(b"SELECT", options["db"])
            await self._ask(b"SCRIPT", b"LOAD", self._script)

    async def _ask(self, *command: bytes | str | int) -> None:
        answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def settle(reply: object) -> None:
            if not answered.done():
                answered.set_result(reply)

        self.send(_packed(*command), settle)
        reply = await answered
        if isinstance(reply, LinkLostError):
            raise ConnectionResetError("the connection was closed while signing in")
        if isinstance(reply, Exception):
            raise reply

    def _on_lost(self, connection: _Connection) -> None:
        if connection is self._connection:  # an attempt given up earlier may end later
            self.ready = False
            self._connection = None
            self._lost.set()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


def _name(options: dict[str, Any]) -> str:
    """Where it leads, for events: never with user or password."""
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _packed(*command: bytes | str | int) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub means one element only
    return packed


def cluster_seeds(url: str) -> tuple[list[tuple[str, int]], Callable[[tuple[str, int]], str]]:
    """The servers a cluster's URL names, and what makes the URL of any server's own link.

    Raises:
        ConfigError: the URL is not one of a cluster.
    """
    remedy = "write redis+cluster://HOST:6379, or several by commas; with TLS rediss+cluster://…"
    scheme, _, rest = url.partition("+cluster://")
    where, _, query = rest.partition("?")
    user, at, servers = where.rpartition("@")
    servers, _, database = servers.partition("/")
    if scheme not in {"redis", "rediss"} or database not in {"", "0"}:
        raise ConfigError("redis.url is not the URL of a Redis Cluster, whose only database is 0", remedy=remedy)

    def link_url(address: tuple[str, int]) -> str:
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"{scheme}://{user}{at}{host}:{address[1]}" + (f"?{query}" if query else "")

    seeds = []
    try:
        for server in servers.split(","):
            parts = urlsplit(f"redis://{server}")
            seeds.append((parts.hostname or "localhost", parts.port or DEFAULT_PORT))
        _options(link_url(seeds[0]))
    except ValueError as error:
        raise ConfigError("redis.url names no server of a Redis Cluster", remedy=remedy) from error
    return seeds, link_url


def _options(url: str) -> dict[str, Any]:
    try:
        options = dict(parse_url(url))  # type: ignore[no-untyped-call]  # redis-py does not annotate it
    except ValueError as error:
        raise ConfigError(
            "redis.url is not a Redis URL", remedy="write redis://host:6379/0, rediss://… or unix:///path"
        ) from error
    unknown = sorted(options.keys() - _URL_OPTIONS)
    if unknown:
        raise ConfigError(f"redis.url: the option {unknown[0]} is not supported", remedy="leave it out")
    if options.get("connection_class") is UnixDomainSocketConnection and "path" not in options:
        raise ConfigError("redis.url: a unix URL needs the path of the socket", remedy="write unix:///run/redis.sock")
    return options


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    if options.get("connection_class") is not SSLConnection:
        return None
    return ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
