"""Looks at single parts of the gateway: Redis, certificates, names, the database's clock. None of them raises."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from gateway.domain.limits import WhenUnavailable
from gateway.domain.own_health import CertificateFacts, LimitedRoutes, NameFacts
from gateway.edge.certificates import context
from gateway.edge.redis_link import cluster_seeds
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.access import ServerTls
    from gateway.domain.routing import Route
    from gateway.domain.upstreams import Upstream

ANSWER_S = 2.0
MOST_NAMES = 50
MOST_CERTIFICATES = 50
_CLUSTER = "+cluster://"


async def ask_redis(url: str) -> tuple[str, float]:
    """Why Redis is no use, in our words (empty: it answers), and by how many seconds our clock is ahead of its."""
    from redis import exceptions
    from redis.asyncio import Redis

    refused = "no server is named"
    for link in _links(url):
        client = Redis.from_url(link, socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S, retry=None)
        try:
            async with asyncio.timeout(ANSWER_S * 2):
                seconds, microseconds = await client.time()
            return "", time.time() - (seconds + microseconds / 1e6)
        except exceptions.AuthenticationError:
            refused = "it refuses the user or password"
        except (exceptions.TimeoutError, TimeoutError):
            refused = f"no answer within {ANSWER_S:.0f} s"
        except (exceptions.ConnectionError, OSError):
            refused = "no connection can be made"
        except exceptions.RedisError as error:
            refused = f"it answers with an error ({type(error).__name__})"
        finally:
            await client.aclose()
    return refused, 0.0


def _links(url: str) -> list[str]:
    if _CLUSTER not in url:
        return [url]
    try:
        seeds, link_url = cluster_seeds(url)
    except ConfigError:
        return []
    return [link_url(seed) for seed in seeds]


def certificates(tls: ServerTls | None, upstreams: Iterable[Upstream]) -> tuple[CertificateFacts, ...]:
    """Every certificate we show; reads files, so call it in a thread."""
    found = []
    if tls is not None:
        problem = ""
        try:
            context(tls)
        except ConfigError:
            problem = "key and certificate cannot be used"
        found.append(_certificate(tls.certificate_file, "clients", problem))
    for upstream in upstreams:
        if upstream.tls.certificate_file and len(found) < MOST_CERTIFICATES:
            found.append(_certificate(upstream.tls.certificate_file, f"upstream {upstream.name}", ""))
    return tuple(found)


def _certificate(file: str, shown_to: str, problem: str) -> CertificateFacts:
    try:
        chain = x509.load_pem_x509_certificates(Path(file).read_bytes())
        ends = min(one.not_valid_after_utc.timestamp() for one in chain)
    except (OSError, ValueError):
        return CertificateFacts(file, shown_to, 0.0, problem or "the file cannot be read")
    return CertificateFacts(file, shown_to, ends, problem)


async def unresolved(upstreams: Iterable[Upstream]) -> tuple[NameFacts, ...]:
    """Names of targets that do not resolve from here now."""
    asked: dict[str, list[str]] = {}
    for upstream in upstreams:
        for target in upstream.targets:
            if _is_name(target.host) and len(asked) < MOST_NAMES:
                asked.setdefault(target.host, []).append(upstream.name)
    answers = await asyncio.gather(*(_resolves(name) for name in asked))
    lost: dict[str, list[str]] = {}
    for (name, users), resolves in zip(asked.items(), answers, strict=True):
        if not resolves:
            for user in dict.fromkeys(users):
                lost.setdefault(user, []).append(name)
    return tuple(NameFacts(upstream, tuple(names)) for upstream, names in lost.items())


def _is_name(host: str) -> bool:
    if ":" in host and "/" in host:  # a Unix socket, or the embedding application
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return not host.startswith(("app:", "unix:"))
    return False


async def _resolves(name: str) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return False
    return True


def limited_routes(routes: Iterable[Route]) -> LimitedRoutes:
    """Routes that ask the limiter, by what they do without Redis."""
    names: dict[WhenUnavailable, list[str]] = {choice: [] for choice in WhenUnavailable}
    for route in routes:
        if route.limits or route.quotas:
            names[route.limit_unavailable].append(route.name)
    return LimitedRoutes(
        tuple(names[WhenUnavailable.LOCAL]), tuple(names[WhenUnavailable.OPEN]), tuple(names[WhenUnavailable.CLOSED])
    )
