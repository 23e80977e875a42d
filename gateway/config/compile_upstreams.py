"""From checked [[upstreams]] to the values of the domain. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.upstreams import Breaker, HealthCheck, Outlier, Target, Timeouts, Upstream, UpstreamTls

if TYPE_CHECKING:
    from gateway.config.document_upstreams import TargetEntry, UpstreamEntry, UpstreamTlsEntry


def upstream(entry: UpstreamEntry) -> Upstream:
    """One upstream as workers and control take it."""
    health, breaker, outlier = entry.health, entry.breaker, entry.outlier
    return Upstream(
        name=entry.name,
        targets=tuple(_target(target) for target in entry.targets),
        timeout=Timeouts(
            connect_s=entry.timeout.connect_s, header_s=entry.timeout.header_s, idle_s=entry.timeout.idle_s
        ),
        health=None
        if health is None
        else HealthCheck(health.path, health.interval_s, healthy=health.healthy, unhealthy=health.unhealthy),
        depends_on=entry.depends_on,
        max_connections=entry.max_connections,
        queue=entry.queue,
        balance=entry.balance.balance,
        hash_by=entry.balance.hash_by,
        breaker=None
        if breaker is None
        else Breaker(breaker.errors, breaker.requests, open_s=breaker.open_s, window_s=breaker.window_s),
        outlier=None if outlier is None else Outlier(outlier.consecutive, outlier.eject_s, outlier.max_ejected),
        panic=entry.panic,
        slow_start_s=entry.slow_start_s,
        resolve_s=entry.resolve_s,
        tls=UpstreamTls() if entry.tls is None else _tls(entry.tls),
    )


def _target(entry: TargetEntry) -> Target:
    url = entry.url
    return Target(name=url.name, host=url.host, port=url.port, weight=entry.weight, tls=url.tls)


def _tls(entry: UpstreamTlsEntry) -> UpstreamTls:
    return UpstreamTls(
        ca_file=entry.ca_file,
        certificate_file=entry.certificate_file,
        key_file=entry.key_file,
        server_name=entry.server_name,
        verify=entry.verify,
    )
