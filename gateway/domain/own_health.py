"""What the gateway knows of its own parts: facts as they were gathered, and the limits beyond which one is in trouble.

The limits stand here once, so that ``sentinel doctor``, readiness and incidents about ourselves agree.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

MIB = 1024 * 1024
LEAST_FREE_BYTES = 256 * MIB  # a minute of busy spool, with room for the database beside it
SPOOL_FULL = 0.5  # of the spool's bound: whoever ships it does not keep up
SKEW_S = 5.0  # between two clocks, or a jump of one: tokens and directives end by the clock
AWAY_S = 30.0  # control is started again within seconds; longer means that nobody looked at traffic
DAY_S = 86_400


class Part(StrEnum):
    """What may be in trouble."""

    REDIS = "redis"
    STORE = "store"
    SPOOL = "spool"
    DISK = "disk"
    KEY_SET = "key set"
    MODEL = "model"
    NOTIFY = "notify"
    CLOCK = "clock"
    CERTIFICATE = "certificate"
    WORKERS = "workers"
    CONTROL = "control"
    NAMES = "names"


class RedisFacts(msgspec.Struct, frozen=True):
    """The limiter's store. ``error`` is empty while it answers; the counters rise from the start of this process."""

    error: str = ""
    without: int = 0  # limit checks that workers of this node decided without it


class StoreFacts(msgspec.Struct, frozen=True):
    """The database. What waits is not lost; what was dropped is."""

    up: bool = True
    waiting_bytes: int = 0  # in the spool
    journal_waiting: int = 0
    journal_dropped: int = 0


class SpoolFacts(msgspec.Struct, frozen=True):
    """Records on their way into the store."""

    waiting_bytes: int = 0
    bound_bytes: int = 0
    dropped: int = 0  # records lost since the start of this process


class DiskFacts(msgspec.Struct, frozen=True):
    """The disk under the run folder."""

    free_bytes: int
    total_bytes: int
    path: str


class KeySetFacts(msgspec.Struct, frozen=True):
    """One issuer's keys."""

    host: str  # of the URL; the URL itself may hold more than is anybody's business
    error: str = ""
    keys: int = 0  # in force
    unknown: int = 0  # tokens whose key is not among them, since the start of this process


class ModelFacts(msgspec.Struct, frozen=True):
    """The last report that was asked of a model. ``failures`` counts those in a row that it did not write."""

    provider: str
    failures: int = 0
    tried_at: float = 0.0


class ChannelFacts(msgspec.Struct, frozen=True):
    """One channel's deliveries. ``failures`` counts those in a row that did not arrive."""

    name: str
    kind: str
    failures: int = 0
    tried_at: float = 0.0


class ClockFacts(msgspec.Struct, frozen=True):
    """This machine's clock against itself, and against those of Redis and the database (ours less theirs)."""

    jumped_s: float = 0.0  # the last jump; positive: forward
    jumped_at: float = 0.0
    skew_s: dict[str, float] = {}


class CertificateFacts(msgspec.Struct, frozen=True):
    """A certificate we show. ``problem`` says why the files cannot be used; what was loaded before stays in force."""

    file: str
    shown_to: str  # "clients", "upstream payments"
    expires_at: float = 0.0
    problem: str = ""


class WorkerFacts(msgspec.Struct, frozen=True):
    """Workers of this node."""

    alive: int
    wanted: int


class AwayFacts(msgspec.Struct, frozen=True):
    """The time before this control began, when another had ended without a word."""

    since: float
    until: float
    waiting_bytes: int = 0  # of records that had waited


class NameFacts(msgspec.Struct, frozen=True):
    """Names of targets that do not resolve from here, by upstream."""

    upstream: str
    names: tuple[str, ...]


class LimitedRoutes(msgspec.Struct, frozen=True):
    """Routes with limits, by what they do without Redis."""

    local: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


class OwnFacts(msgspec.Struct, frozen=True):
    """All of it at one moment; None or empty: not in use, or not known."""

    at: float = 0.0
    node: str = ""
    redis: RedisFacts | None = None
    limited: LimitedRoutes = LimitedRoutes()
    store: StoreFacts = StoreFacts()
    spool: SpoolFacts = SpoolFacts()
    disk: DiskFacts | None = None
    key_sets: tuple[KeySetFacts, ...] = ()
    model: ModelFacts | None = None
    channels: tuple[ChannelFacts, ...] = ()
    clock: ClockFacts = ClockFacts()
    certificates: tuple[CertificateFacts, ...] = ()
    workers: WorkerFacts | None = None
    away: AwayFacts | None = None
    names: tuple[NameFacts, ...] = ()


def size_of(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - the unit's own step
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
