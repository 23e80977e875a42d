"""What is known of requests: the record of one, the sums over many.

A worker writes a finished request as a plain tuple in the order of :data:`RECORD_FIELDS`; control decodes the same
bytes as :class:`RequestRecord`. There is one list of fields, here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from gateway.domain.histogram import Histogram, merge


class ErrorKind(StrEnum):
    """Why the gateway itself answered, or why an answer did not end well; empty on a record that ended well."""

    BAD_REQUEST = "bad_request"
    NO_ROUTE = "no_route"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    BODY_TOO_LARGE = "body_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"  # an action keeps this caller out
    SHED = "shed"  # an action takes load off the upstream
    LIMITER_UNAVAILABLE = "limiter_unavailable"
    OVERLOADED = "overloaded"
    CIRCUIT_OPEN = "circuit_open"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_PROTOCOL = "upstream_protocol"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    APP_FAILED = "app_failed"  # the application that embeds the gateway raised, or gave no answer
    CLIENT_GONE = "client_gone"
    INTERNAL = "internal"


class RequestRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One finished request. Text fields that come from the caller are hostile: escape, redact or template them.

    It holds text and numbers only, so the garbage collector need not look at it.
    Durations are microseconds and split the whole (the latency ledger): ``wait`` before the steps began, ``auth``,
    ``limit``, ``connect`` to the target, ``upstream`` until its first byte, ``stream`` until the last byte went on.
    """

    id: str  # request id, as sent back in X-Request-Id
    completed_at: float  # seconds since the epoch; decides the minute the record belongs to
    method: str
    path: str  # raw path as received, without the query; at most 2,048 characters
    query: str  # at most 1,024 characters
    status: int  # as sent to the client; 499 when it left first
    route: str  # empty when no route matched
    upstream: str
    target: str  # host:port that answered or failed last
    tenant: str
    subject: str
    client: str  # address after trusted proxies
    user_agent: str  # at most 256 characters
    error: str  # an ErrorKind, or empty
    bytes_in: int  # request body
    bytes_out: int  # response body
    duration_us: int
    wait_us: int
    auth_us: int
    limit_us: int
    connect_us: int
    upstream_us: int
    stream_us: int
    attempts: int  # connections tried upstream, 0 when the gateway answered by itself
    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits: this hop's span, the parent of what the upstream calls next
    parent_id: str  # 16 hex digits, or empty at the root of a trace


RECORD_FIELDS: tuple[str, ...] = RequestRecord.__struct_fields__


class BatchHeader(msgspec.Struct, frozen=True, array_like=True):
    """What stands before the records of one spool batch.

    ``first_sequence`` counts records per worker life, so a gap tells how many a killed worker took with it.
    ``counters`` are increments since the batch before (metric name with labels → amount): the worker's own metrics
    travel the same way as its records. Gauges are among them with their level as of the batch, unless that is 0.
    """

    worker: str  # node id + boot id + worker number: unique per worker life
    first_sequence: int
    count: int
    dropped: int  # records this worker could not keep since the batch before
    counters: dict[str, float]


class SeriesKey(NamedTuple):
    """The dimensions sums are kept by. Values come from the configuration, except tenant and status."""

    route: str
    upstream: str
    target: str
    tenant: str
    method: str
    status: int
    error: str


# Refused by the gateway itself, or broken off by the client: such an end says nothing about the upstream. Counted in,
# refusals would dilute a failing share, or look like one.
NOT_THE_UPSTREAM: frozenset[str] = frozenset(
    {
        ErrorKind.BAD_REQUEST,
        ErrorKind.NO_ROUTE,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.FORBIDDEN,
        ErrorKind.BODY_TOO_LARGE,
        ErrorKind.HEADERS_TOO_LARGE,
        ErrorKind.RATE_LIMITED,
        ErrorKind.BLOCKED,
        ErrorKind.SHED,
        ErrorKind.LIMITER_UNAVAILABLE,
        ErrorKind.INTERNAL,
        ErrorKind.CLIENT_GONE,
    }
)


def forwarded(key: SeriesKey) -> bool:
    """Whether a request went to an upstream and its end is the upstream's doing."""
    return key.upstream != "" and key.error not in NOT_THE_UPSTREAM


OTHER = "other"  # what the tail of an unbounded dimension is folded into
# The method is the caller's word; unknown ones share a series, or a scanner would make a new one with every request.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class Tally(msgspec.Struct):
    """Sums over requests; addition is associative and commutative, so any split of the traffic adds up the same."""

    requests: int = 0
    errors: int = 0  # status ≥ 500, or a truncated answer
    bytes_in: int = 0
    bytes_out: int = 0
    duration_us: int = 0
    latency: Histogram = msgspec.field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add ``other`` in place."""
        self.requests += other.requests
        self.errors += other.errors
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.duration_us += other.duration_us
        merge(self.latency, other.latency)

    @property
    def error_share(self) -> float:
        """Errors per request, 0 when there were none."""
        return self.errors / self.requests if self.requests else 0.0


class BucketKey(NamedTuple):
    """Identity of one stored minute row of one node."""

    minute: int  # seconds since the epoch, a multiple of 60
    route: str
    upstream: str
    target: str
    tenant: str
    status_class: int  # 2, 3, 4, 5; 0 for anything else


class SpoolPosition(msgspec.Struct, frozen=True, order=True):
    """How far a segment has been stored: the byte offset after the last whole batch.

    ``sequence`` is the number of the record expected next, so that a restart still knows what a worker lost.
    """

    segment: str
    offset: int
    sequence: int = 0
