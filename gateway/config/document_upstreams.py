"""The schema of [[upstreams]]: services, their targets, and how each is chosen, watched and reached."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.config.choice_notation import BalanceRule
from gateway.config.schema import Shorthand
from gateway.config.values import BalanceText, Duration, Pause, Share, TargetUrl, key


class TargetEntry(msgspec.Struct, frozen=True):
    """One address of an upstream."""

    url: TargetUrl
    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


class Health(msgspec.Struct, frozen=True):
    """Active probing of targets."""

    path: str
    interval_s: Duration = key("interval", 5.0)
    healthy: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    unhealthy: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3


class UpstreamTimeout(msgspec.Struct, frozen=True):
    """How long to wait for an upstream."""

    connect_s: Duration = key("connect", 1.0)
    header_s: Duration = key("header", 10.0)
    idle_s: Duration = key("idle", 30.0)


class BreakerEntry(msgspec.Struct, frozen=True):
    """When an upstream is left alone for a while."""

    errors: Annotated[float, msgspec.Meta(ge=0.01, le=1)] = 0.5
    requests: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20
    open_s: Duration = key("open", 10.0)
    window_s: Duration = key("window", 10.0)


class OutlierEntry(msgspec.Struct, frozen=True):
    """When one target is taken out by its own answers."""

    consecutive: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    eject_s: Duration = key("eject", 30.0)
    max_ejected: Share = 0.5


class UpstreamTlsEntry(msgspec.Struct, frozen=True):
    """How https targets are verified, and what they are shown."""

    ca_file: str = key("ca", "")
    certificate_file: str = key("certificate", "")
    key_file: str = key("key", "")
    server_name: str = ""
    verify: bool = True


class UpstreamEntry(msgspec.Struct, frozen=True):
    """A named service."""

    name: str
    targets: tuple[Annotated[TargetEntry, Shorthand("url")], ...]
    balance: BalanceText = BalanceRule()
    health: Health | None = None
    depends_on: tuple[str, ...] = ()
    timeout: UpstreamTimeout = UpstreamTimeout()
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 256
    queue: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 256
    breaker: BreakerEntry | None = None
    outlier: OutlierEntry | None = None
    panic: Share = 0.0
    slow_start_s: Pause = key("slow_start", 0.0)
    resolve_s: Duration = key("resolve", 30.0)
    tls: UpstreamTlsEntry | None = None
