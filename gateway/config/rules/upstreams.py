"""Rules for upstreams: targets, probes, and who calls whom."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from gateway.config.notation import UNIX, did_you_mean
from gateway.config.rules import tls
from gateway.domain.access import AuthMode
from gateway.domain.upstreams import APP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.document_upstreams import UpstreamEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_PATH = re.compile(r"/[!-~]*")
_SHORTEST_PROBE_S = 0.1
_SHORTEST_BREAK_S = 0.1
_LONGEST_BREAK_S = 3600.0
_SHORTEST_RESOLVE_S = 1.0


def judge(context: Context) -> None:
    """Judge every [[upstreams]]."""
    upstreams = context.document.upstreams
    context.unique(((_at(context, entry, "name"), entry.name) for entry in upstreams), "upstream")
    known = known_upstreams(context)
    for upstream in upstreams:
        _upstream(context, upstream, known)
    _cycles(context)


def _at(context: Context, entry: UpstreamEntry, *keys: str | int) -> Path:
    return (*context.path(entry), *keys)


def known_upstreams(context: Context) -> set[str] | None:
    """Names as written, also of entries that were refused for another reason; None where some could not be read."""
    entries = context.reading.raw.get("upstreams", [])
    if not isinstance(entries, list):
        return None
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    known = {name for name in names if isinstance(name, str)}
    return known if all(isinstance(name, str) for name in names) else None


def _upstream(context: Context, upstream: UpstreamEntry, known: set[str] | None) -> None:
    report = context.report
    context.name(_at(context, upstream, "name"), upstream.name, "an upstream")
    if not upstream.targets and report.sound(_at(context, upstream, "targets")):
        report.at_value(
            _at(context, upstream, "targets"),
            f'upstream "{upstream.name}" has no target',
            'write targets = ["http://HOST:PORT"]',
        )
    _targets(context, upstream)
    if any(target.url.host == APP for target in upstream.targets):
        _app(context, upstream)
    for index, name in enumerate(upstream.depends_on):
        where = _at(context, upstream, "depends_on", index)
        if name == upstream.name:
            report.at_value(where, f'upstream "{name}" depends on itself', "leave it out")
        elif known is not None and name not in known:
            report.at_value(where, f'unknown upstream "{name}"', did_you_mean(name, known))
    if upstream.health is not None:
        where = _at(context, upstream, "health")
        if not _PATH.fullmatch(upstream.health.path):
            found = upstream.health.path
            report.at_value((*where, "path"), f'"{found}" is not a path', f'write "/{found.lstrip("/")}"')
        if upstream.health.interval_s < _SHORTEST_PROBE_S:
            report.at_value((*where, "interval"), "probes closer than 100ms apart are load, not a check")
    tls.of_upstream(context, upstream)
    _choices(context, upstream)


def _app(context: Context, upstream: UpstreamEntry) -> None:
    """The application that embeds the gateway is called, not connected to."""
    if len(upstream.targets) > 1:
        context.report.at_value(
            _at(context, upstream, "targets"),
            f'upstream "{upstream.name}" is the embedding application and something else at once',
            'give "app:" an upstream of its own',
        )
    if upstream.health is not None:
        context.report.at_value(
            _at(context, upstream, "health"),
            "the embedding application is not probed: nothing would ask",
            "leave it out",
        )


def _choices(context: Context, upstream: UpstreamEntry) -> None:
    """How targets are chosen and left alone."""
    report = context.report
    if upstream.outlier is not None and upstream.outlier.max_ejected == 0:
        report.at_value(
            _at(context, upstream, "outlier", "max_ejected"),
            "outlier.max_ejected = 0 takes nothing out",
            "leave outlier out, or write a share such as 0.5",
        )
    if upstream.breaker is not None:
        for key, value in (("open", upstream.breaker.open_s), ("window", upstream.breaker.window_s)):
            if not _SHORTEST_BREAK_S <= value <= _LONGEST_BREAK_S:
                report.at_value(
                    _at(context, upstream, "breaker", key), f"breaker.{key} is not between 100ms and 1h", 'write "10s"'
                )
    if upstream.resolve_s < _SHORTEST_RESOLVE_S:
        report.at_value(
            _at(context, upstream, "resolve"), "names looked up more than once a second are load", 'write "30s"'
        )
    if upstream.slow_start_s > _LONGEST_BREAK_S:
        report.at_value(_at(context, upstream, "slow_start"), "slow_start is over 1h", 'write "30s"')
    if upstream.balance.hash_by == "subject":
        _subjects(context, upstream)


def _subjects(context: Context, upstream: UpstreamEntry) -> None:
    """A hash of the subject wants one."""
    for route in context.document.routes:
        if upstream.name in {route.upstream, *route.split} and route.auth is AuthMode.NONE:
            context.report.at_value(
                _at(context, upstream, "balance"),
                f'route "{route.name}" has auth = "none", so its requests have no subject to hash',
                'write balance = "hash:client", or set auth on the route',
                warning=True,
            )
            return


def _targets(context: Context, upstream: UpstreamEntry) -> None:
    server = context.document.server
    seen: set[str] = set()
    for target in upstream.targets:
        name, path = target.url.name, context.path(target)
        if name in seen:
            context.report.at_value(
                path, f'target "{name}" stands twice in upstream "{upstream.name}"', "give it a weight instead"
            )
        seen.add(name)
        if target.url.tls and _is_address(target.url.host) and _public_trust(upstream):
            context.report.at_value(
                path,
                f"no public authority certifies {target.url.host}, so this target will not be trusted",
                'name what certifies it: tls = { ca = "…" }, or what its certificate is for: { server_name = "…" }',
                warning=True,
            )
        if target.url.host == f"{UNIX}{context.folder / server.run_dir / 'control.sock'}":
            context.report.at_value(path, "that is this gateway's own control socket", "name the service")
        if target.url.port == server.port and (target.url.host == server.host or _loopback(target.url.host)):
            context.report.at_value(
                path, f'target "{name}" is this gateway itself: requests would go round for ever', "name the service"
            )


def _public_trust(upstream: UpstreamEntry) -> bool:
    """Whether the target's own address must stand in a certificate of an authority the system knows."""
    return upstream.tls is None or (upstream.tls.verify and not upstream.tls.ca_file and not upstream.tls.server_name)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cycles(context: Context) -> None:
    """Services that call each other in a ring exist; locating a cause then works less well, so it is a warning."""
    calls: Mapping[str, tuple[str, ...]] = {entry.name: entry.depends_on for entry in context.document.upstreams}
    told: set[str] = set()
    for upstream in context.document.upstreams:
        ring = _ring(upstream.name, calls)
        if ring and not told & set(ring):
            told |= set(ring)
            context.report.at_value(
                _at(context, upstream, "depends_on"),
                f"these upstreams call each other in a ring: {' → '.join((*ring, ring[0]))}",
                "causes among them cannot be told apart by who calls whom",
                warning=True,
            )


def _ring(start: str, calls: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A way from ``start`` back to it, or nothing. A service that names itself is an error of its own."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for name in calls.get(way[-1], ()):
            if name == start and len(way) > 1:
                return way
            if name not in seen and name != way[-1]:
                seen.add(name)
                ways.append((*way, name))
    return ()
