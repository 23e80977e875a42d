"""Where requests go: services, their targets, and how each of them is chosen, watched and reached."""

from __future__ import annotations

from enum import StrEnum

import msgspec

APP = "app:"  # the host of the one target of an upstream that is the application around which the gateway stands


class Timeouts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Seconds: to connect, to the first byte of the answer's head, and between any two reads."""

    connect_s: float = 1.0
    header_s: float = 10.0
    idle_s: float = 30.0


class HealthCheck(msgspec.Struct, frozen=True):
    """Active probing by control: GET ``path`` every ``interval_s``; so many in a row flip the state."""

    path: str
    interval_s: float = 5.0
    healthy: int = 2
    unhealthy: int = 3


class Balance(StrEnum):
    """How the target of a request is chosen among those that may take it. All of them heed weights."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUESTS = "least_requests"  # of two drawn at random the one with fewer requests under way
    EWMA = "ewma"  # of two drawn at random the one whose recent latency times load is lower
    HASH = "hash"  # the same caller meets the same target, as far as that is up


class Breaker(msgspec.Struct, frozen=True):
    """Opens an upstream's circuit when too large a share fails; each worker judges by its own requests.

    ``errors`` is the failing share of the last ``window_s``, given at least ``requests`` of them; for ``open_s`` every
    request is then answered 503 at once, after that one at a time is let through until one succeeds.
    """

    errors: float = 0.5
    requests: int = 20
    open_s: float = 10.0
    window_s: float = 10.0


class Outlier(msgspec.Struct, frozen=True):
    """Takes one target out by what its own answers show: ``consecutive`` failures (5xx, no answer) in a row.

    The n-th ejection in a row lasts n times ``eject_s``; after it the target takes one request at a time until one
    succeeds. Never more than ``max_ejected`` of the targets are out by this.
    """

    consecutive: int = 5
    eject_s: float = 30.0
    max_ejected: float = 0.5


class UpstreamTls(msgspec.Struct, frozen=True):
    """How ``https`` targets are verified and what we show them. Files are named, not read; workers read them.

    ``server_name`` is what certificate and SNI are about, where that is not the target's host.
    """

    ca_file: str = ""  # empty: the system's
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""
    verify: bool = True


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """One address of an upstream. ``name`` is ``host:port``, the label everywhere."""

    name: str
    host: str
    port: int
    weight: int = 1
    tls: bool = False


class Upstream(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named service and its targets. ``depends_on`` names the upstreams it calls itself.

    ``hash_by`` goes with Balance.HASH: ``header:NAME`` (lower case), ``cookie:NAME``, ``subject`` or ``client``.
    ``panic`` is the share of targets in full service below which ejections (of any kind) are ignored; at 0 they are
    only when every target is out. A target that came back takes ``slow_start_s`` to reach its full weight.
    """

    name: str
    targets: tuple[Target, ...]
    timeout: Timeouts = Timeouts()
    health: HealthCheck | None = None
    depends_on: tuple[str, ...] = ()
    max_connections: int = 256  # per target and worker
    queue: int = 256  # further requests that may wait, per target and worker
    balance: Balance = Balance.ROUND_ROBIN
    hash_by: str = ""
    breaker: Breaker | None = None
    outlier: Outlier | None = None
    panic: float = 0.0
    slow_start_s: float = 0.0
    resolve_s: float = 30.0  # how often the names of targets are looked up again
    tls: UpstreamTls = UpstreamTls()

    @property
    def is_app(self) -> bool:
        """Whether it is the application that embeds the gateway, instead of a service to connect to."""
        return bool(self.targets) and self.targets[0].host == APP
