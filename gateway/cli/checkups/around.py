"""What is reached over a wire: control, the database, Redis, upstream targets, and what the model and pagers need."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import redis as redis_library

from gateway.cli.checkups.finding import Finding
from gateway.cli.checkups.here import written_in_the_future
from gateway.config import compile as compiling
from gateway.config.notation import UNIX
from gateway.control.analysis import language_model
from gateway.domain.own_health import SKEW_S, Part
from gateway.edge.rate_limit import script
from gateway.edge.redis_cluster import connection, slot_owners
from gateway.edge.redis_link import cluster_seeds
from gateway.errors import ConfigError, SentinelError
from gateway.notify import channels
from gateway.notify.http_post import Poster

if TYPE_CHECKING:
    from gateway.config.document import Document
    from gateway.config.notation import Address
    from gateway.run_folder import RunFolder
    from gateway.settings import Settings

Look = Awaitable[list[Finding]]

CONNECT_S = 3.0
TARGETS_AT_ONCE = 50
_ONLY_CONTROL_KNOWS = frozenset(
    {Part.MODEL, Part.NOTIFY, Part.CLOCK, Part.CERTIFICATE, Part.WORKERS, Part.CONTROL, Part.NAMES}
)
# When to think of scaling; what one small node with the embedded store should not be asked for.
SLOW_P95_MS = 500.0
MANY_PER_S = 1000.0
LARGE_STORE_BYTES = 10 * 1024**3


async def control(folder: RunFolder, document: Document) -> list[Finding]:
    """Whether control answers and is ready; where nothing runs, whether it could start."""
    findings = []
    if ahead := written_in_the_future(folder.snapshot, time.time()):
        findings.append(
            Finding.bad(
                "clock",
                f"the snapshot was written {ahead:.0f} s in the future: the clock was set back",
                "switch time synchronisation on; tokens and directives expire by this clock",
            )
        )
    if not _is_held(folder.lock):
        return [*findings, Finding.note("control", "nothing runs in this folder", "sentinel serve"), *_ports(document)]
    try:
        transport = httpx2.AsyncHTTPTransport(uds=str(folder.control_socket))
        async with httpx2.AsyncClient(transport=transport, base_url="http://control", timeout=CONNECT_S) as client:
            answer = await client.get("/health/ready")
            reasons = answer.json().get("reasons", [])
            routes = (await client.get("/api/v1/routes")).json().get("items", [])
            troubles = (await client.get("/api/v1/health/parts")).json().get("items", [])
    except (httpx2.HTTPError, ValueError) as error:
        return [
            *findings,
            Finding.bad(
                "control",
                f"a gateway runs, but control does not answer on {folder.control_socket} ({type(error).__name__})",
                "its log says why: it is started again by itself unless that is hopeless",
            ),
        ]
    findings += [*traffic(routes), *told_by_control(troubles)]
    if answer.is_success:
        return [*findings, Finding.good("control", "it answers and is ready")]
    return [*findings, Finding.bad("control", f"not ready: {'; '.join(reasons)}", "see the finding about that part")]


def told_by_control(troubles: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What the running gateway knows of its own parts and nobody can look at from outside."""
    return [
        (Finding.note if one["severity"] == "P4" else Finding.bad)(
            one["part"], f"{one['said']}: {one['effect']}", one["remedy"]
        )
        for one in troubles
        if one["part"] in _ONLY_CONTROL_KNOWS
    ]


def traffic(routes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """When to scale, by the last minute of every route as control's API shows it."""
    findings = [
        Finding.note(
            "traffic",
            f"half a second is not enough for 95 % of requests on {route['name']}: p95 is {p95_ms:.0f} ms",
            "sentinel tail shows where the time goes; more targets, or a faster service",
        )
        for route in routes
        if (p95_ms := route["last_minute"]["p95_ms"] or 0.0) > SLOW_P95_MS
    ]
    per_second = sum(route["last_minute"]["per_second"] for route in routes)
    text = f"{per_second:.0f} requests/s in the last minute"
    if per_second > MANY_PER_S:
        findings.append(Finding.note("traffic", text, "time for PostgreSQL, and for a second node behind one address"))
    return findings or [Finding.good("traffic", text)]


def _is_held(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def admin_address(document: Document) -> tuple[str, int] | None:
    """Where control listens by itself, or None."""
    host, _, port = document.admin.bind.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None


def _ports(document: Document) -> list[Finding]:
    """Whether somebody else sits where the gateway is to listen."""
    wanted = [("[server] port", document.server.host, document.server.port)]
    if (admin := admin_address(document)) is not None:
        wanted.append(("[admin] bind", *admin))
    findings = []
    for setting, host, port in wanted:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            text = f"cannot listen on {host}:{port} ({error.strerror or error})"
            findings.append(Finding.bad("ports", text, f"free the address, or choose another one in {setting}"))
    return findings


async def store(document: Document) -> list[Finding]:
    """Whether the database answers, is large, and has the schema this version works with."""
    from gateway.store import migrate  # not at the top: SQLAlchemy takes half a second, and --help has no use for it

    url = str(document.store.url)
    path = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
    if path is not None and not path.exists():
        return [Finding.good("store", f"{path} will be made on the first start")]
    try:
        status = await migrate.status(url)
    except ConfigError as error:
        return [Finding.bad("store", str(error), error.remedy)]
    except SentinelError as error:
        return [Finding.bad("store", str(error), error.remedy or "start the database, or mend SENTINEL_STORE__URL")]
    findings = [Finding.good("store", f"{path} answers" if path else "PostgreSQL answers")]
    if path is not None and path.stat().st_size > LARGE_STORE_BYTES:
        findings.append(Finding.note("store", f"{path} is larger than 10 GiB", "move to PostgreSQL, or keep less"))
    if status.is_current:
        findings.append(Finding.good("migrations", f"the schema is at {status.current}, the newest"))
    else:
        text = f"the schema is at {status.current or 'nothing'}, this version needs {status.head}"
        findings.append(
            Finding.note("migrations", f"{text}; serve brings it up")
            if path
            else Finding.bad("migrations", text, "sentinel migrate up")
        )
    findings += [
        Finding.note("migrations", "a role for less than all rights is missing", f"as a superuser: {statement}")
        for statement in status.statements
    ]
    return findings


async def redis(document: Document) -> list[Finding]:
    """Whether it answers in time, takes the script, and agrees about the time."""
    url = str(document.redis.url)
    if not url:
        return [Finding.good("redis", "none: limits are counted in each worker")]
    try:
        connection(url, script())  # the workers' own reading of the URL
        if "+cluster://" in url:
            return await asyncio.to_thread(_ask_cluster, url, document.redis.budget_s)
        return await asyncio.to_thread(_ask_redis, url, document.redis.budget_s)
    except ConfigError as error:
        return [Finding.bad("redis", str(error), error.remedy)]
    except (redis_library.RedisError, OSError) as error:
        name = type(error).__name__
        return [Finding.bad("redis", f"no use to the limiter: {name}: {str(error)[:200]}", _redis_remedy(error))]


def _ask_redis(url: str, budget_s: float) -> list[Finding]:
    with redis_library.Redis.from_url(url, socket_connect_timeout=CONNECT_S, socket_timeout=CONNECT_S) as client:
        client.ping()
        begun = time.perf_counter()
        client.ping()
        took_s = time.perf_counter() - begun
        client.script_load(script())
        seconds, microseconds = client.time()
        skew_s = abs(time.time() - (seconds + microseconds / 1e6))
    findings = [Finding.good("redis", f"it answers in {took_s * 1000:.1f} ms and takes the script")]
    if took_s > budget_s:
        findings = [
            Finding.bad(
                "redis",
                f"it answers in {took_s * 1000:.0f} ms; [redis] budget is {budget_s * 1000:.0f} ms, so limits would be "
                "counted in each worker",
                "bring Redis nearer, or raise the budget",
            )
        ]
    if skew_s > SKEW_S:
        text = f"its clock and ours differ by {skew_s:.0f} s"
        findings.append(Finding.bad("clock", f"Redis: {text}", "switch time synchronisation on, on both machines"))
    return findings


def _ask_cluster(url: str, budget_s: float) -> list[Finding]:
    """Every server that holds slots, found through the first that answers."""
    seeds, link_url = cluster_seeds(url)
    refused: Exception = OSError("no server is named")
    for seed in seeds:
        try:
            with redis_library.Redis.from_url(
                link_url(seed), socket_connect_timeout=CONNECT_S, socket_timeout=CONNECT_S
            ) as client:
                slots = client.execute_command("CLUSTER", "SLOTS")
        except (redis_library.ConnectionError, redis_library.TimeoutError, OSError) as error:
            refused = error
            continue
        servers = sorted({address for address in slot_owners(slots, f"{seed[0]}:{seed[1]}") if address is not None})
        return [finding for server in servers for finding in _ask_redis(link_url(server), budget_s)]
    raise refused


def _redis_remedy(error: Exception) -> str:
    if isinstance(error, redis_library.AuthenticationError):
        return "mend user and password in SENTINEL_REDIS__URL"
    if isinstance(error, (redis_library.ConnectionError, redis_library.TimeoutError, OSError)):
        return "start Redis, or mend SENTINEL_REDIS__URL; until then limits are counted in each worker"
    return "the user needs EVALSHA, SCRIPT LOAD and the commands of lua/token_bucket.lua"


async def targets(document: Document) -> list[Finding]:
    """Whether every target accepts a connection."""
    turn = asyncio.Semaphore(TARGETS_AT_ONCE)

    async def knock(upstream: str, address: Address, connect_s: float) -> Finding | None:
        try:
            async with turn, asyncio.timeout(min(connect_s, CONNECT_S)):
                if address.unix:
                    _, writer = await asyncio.open_unix_connection(address.host.removeprefix(UNIX))
                else:
                    _, writer = await asyncio.open_connection(address.host, address.port)
            writer.close()
        except (OSError, TimeoutError) as error:
            why = os.strerror(error.errno).lower() if error.errno else "no answer"
            text = f"{upstream}: {address.name} accepts no connection ({why})"
            return Finding.bad("upstreams", text, "start it, or take it out of the file")
        return None

    every = [
        (upstream.name, target.url, upstream.timeout.connect_s)
        for upstream in document.upstreams
        for target in upstream.targets
        if target.url.port or target.url.unix  # the embedding application is called, not connected to
    ]
    silent = [found for found in await asyncio.gather(*(knock(*one) for one in every)) if found is not None]
    if len(silent) < len(every) or not every:
        count = len(every) - len(silent)
        silent.insert(0, Finding.good("upstreams", f"{count} of {len(every)} targets accept connections"))
    return silent


async def model(document: Document, settings: Settings) -> list[Finding]:
    """Whether its library is installed and its key set; nobody is asked anything."""
    wanted = compiling.diagnose_settings(document)
    if wanted.provider == "none":
        return [Finding.good("model", "none: reports are written by rules")]
    try:
        made = await asyncio.to_thread(language_model, wanted, settings)
        await asyncio.to_thread(__import__, wanted.provider)
    except ConfigError as error:
        return [Finding.bad("model", str(error), error.remedy)]
    except ImportError:
        text = f"the library of {wanted.provider} is not installed; reports are written by rules"
        return [Finding.bad("model", text, "pip install 'sentinelstack[ai]'")]
    if made is not None:
        await made.close()
    return [Finding.good("model", f"{wanted.provider}, {wanted.model}: library and key are there")]


async def notifiers(document: Document, settings: Settings) -> list[Finding]:
    """Whether every channel could be used; nothing is sent."""
    configured = compiling.notify_channels(document)
    if not configured:
        return [Finding.note("notify", "nobody is told of incidents", "add a [[notify]] section")]
    try:
        channels.build(configured, settings.secret, Poster())
    except ConfigError as error:
        return [Finding.bad("notify", problem, "see docs/reference/configuration.md") for problem in error.problems]
    names = ", ".join(f"{one.name} ({one.kind})" for one in configured)
    return [Finding.good("notify", f"{names}; `sentinel notify test` sends something")]
