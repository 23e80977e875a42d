"""Rules for the program itself: listeners, the run folder, the database, Redis."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from gateway.config.notation import NotationError, bind_address, host_name
from gateway.config.rules import clients, header_fields, paths, tls

if TYPE_CHECKING:
    from gateway.config.document_routes import RouteEntry
    from gateway.config.notation import Address
    from gateway.config.rules.context import Context

SOCKET_NAME = "control.sock"  # the longest name of a socket in the run folder
LONGEST_SOCKET = 107  # sun_path holds 108 bytes on Linux with its final NUL
# What control answers on; in shared mode no route may take these.
RESERVED = ("/", "/dashboard", "/api/v1", "/v1/events", "/v1/agents", "/metrics", "/docs", "/openapi.json", "/health")
_STORE = re.compile(r"(sqlite:///(?!:memory:).+|postgresql://.+)")
_REDIS_OPTIONS = frozenset({"db", "ssl_ca_certs"})  # of the URL's query: what a worker's connection understands
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix", "redis+cluster", "rediss+cluster"})
_SLOWEST_BUDGET_S = 1.0
_SHORTEST_DRAIN_S, _LONGEST_DRAIN_S = 1.0, 3600.0


def judge(context: Context) -> None:
    """Judge [server], [admin], [store] and [redis]."""
    _server(context)
    clients.of_server(context)
    header_fields.of_server(context)
    tls.of_server(context)
    _admin(context)
    _store(context)
    _redis(context)


def admin_address(bind: str) -> Address | None:
    """Where control listens by itself, or None on the shared port."""
    return None if bind == "shared" else bind_address(bind)


def admin_prefixes(bind: str) -> tuple[str, ...]:
    """The paths that belong to control on the data port; none when it listens by itself."""
    return RESERVED if bind == "shared" else ()


def _server(context: Context) -> None:
    server, report = context.document.server, context.report
    if not host_name(server.host) and server.host:
        report.at_value(
            ("server", "host"), f'"{server.host}" is not a host name or an IP address', 'for all: "0.0.0.0" or "::"'
        )
    elif not server.host:
        report.at_value(("server", "host"), "server.host is empty", 'for all addresses write "0.0.0.0" or "::"')
    if not _SHORTEST_DRAIN_S <= server.drain_s <= _LONGEST_DRAIN_S:
        report.at_value(("server", "drain"), "server.drain is not between 1s and 1h", 'write "10s"')
    socket = context.folder / server.run_dir / SOCKET_NAME
    length = len(bytes(socket))
    if not server.run_dir:
        report.at_value(("server", "run_dir"), "server.run_dir is empty", 'write run_dir = "run"')
    elif length > LONGEST_SOCKET:
        report.at_value(
            ("server", "run_dir"),
            f"the socket {socket} would have a path of {length} bytes, the system allows {LONGEST_SOCKET}",
            'choose a shorter run_dir, such as "/run/sentinel"',
        )


def _admin(context: Context) -> None:
    admin, report = context.document.admin, context.report
    if admin.metrics == "token":
        context.secret(("admin", "metrics_token_env"), admin.metrics_token_env, "the token for /metrics")
    if admin.bind == "shared":
        _shared(context)
        return
    try:
        address = bind_address(admin.bind)
    except NotationError as error:
        report.at_value(("admin", "bind"), f"admin.bind: {error}", error.remedy or 'or "shared"', offset=error.offset)
        return
    server = context.document.server
    if address.port == server.port and (address.host == server.host or _everywhere(address.host, server.host)):
        report.at_value(
            ("admin", "bind"),
            f"admin.bind takes the port {server.port} of the data port",
            'choose another port, or bind = "shared"',
        )
    if not loopback(address.host):
        report.at_value(
            ("admin", "bind"),
            f"the admin plane answers plain HTTP on {address.name}, beyond this machine",
            "keep it on 127.0.0.1 behind a TLS terminator",
            warning=True,
        )


def _everywhere(*hosts: str) -> bool:
    return any(host in {"0.0.0.0", "::"} for host in hosts)


def loopback(host: str) -> bool:
    """Whether the host is this machine, without asking anybody."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shared(context: Context) -> None:
    admin, report = context.document.admin, context.report
    if admin.metrics == "open":
        report.at_value(
            ("admin", "metrics"), "on a shared port every client could read /metrics", 'set metrics = "token"'
        )
    for route in context.document.routes:
        where = (*context.path(route), "match", "path")
        if taken := _taken(route):
            report.at_value(
                where,
                f'route "{route.name}" takes {taken}, which belongs to the admin plane on the shared port',
                'choose another path for the route, or set bind = "127.0.0.1:8001" in [admin]',
            )


def _taken(route: RouteEntry) -> str:
    """The reserved path this route would take, or empty."""
    return next((reserved for reserved in RESERVED if paths.could_match(route.match.path, reserved)), "")


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return "@" in url


def _store(context: Context) -> None:
    where, url = ("store", "url"), context.document.store.url
    report = context.report
    if not _STORE.fullmatch(url):
        report.at_value(
            where,
            "store.url is not a database this version knows",
            'write "sqlite:///run/sentinel.db" or "postgresql://…"',
        )
    elif _has_password(url) and not report.variable(where):
        report.at_value(
            where, "store.url holds a password", "set the whole URL in SENTINEL_STORE__URL and leave it out here"
        )


def _redis(context: Context) -> None:
    where, redis, report = ("redis", "url"), context.document.redis, context.report
    if redis.url and redis.url.partition("://")[0] not in _REDIS_SCHEMES:
        report.at_value(where, "redis.url is not a Redis URL", 'write "redis://HOST:6379/0", with TLS "rediss://…"')
    elif unknown := sorted(parse_qs(urlsplit(redis.url).query).keys() - _REDIS_OPTIONS):
        report.at_value(where, f'redis.url: the option "{unknown[0]}" is not supported', "leave it out")
    elif _has_password(redis.url) and not report.variable(where):
        report.at_value(
            where, "redis.url holds a password", "set the whole URL in SENTINEL_REDIS__URL and leave it out here"
        )
    if redis.budget_s > _SLOWEST_BUDGET_S:
        report.at_value(
            ("redis", "budget"),
            "redis.budget is over 1s: every request would wait that long for a slow Redis",
            'write "25ms"',
        )
    workers = context.document.server.workers
    limited = any(route.limit for route in context.document.routes) or any(context.document.plans.values())
    if not redis.url and workers > 1 and limited:
        report.at_value(
            ("server", "workers"),
            f"without Redis each of the {workers} workers counts for itself, so limits are divided by {workers}",
            "set SENTINEL_REDIS__URL for exact limits",
            warning=True,
        )
