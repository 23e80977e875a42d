"""What a log store elsewhere knows of services: figures per minute, and single lines."""

from __future__ import annotations

import msgspec

from gateway.domain.histogram import Histogram


class ServiceMinute(msgspec.Struct, frozen=True):
    """One minute of one service, as others measured it."""

    service: str  # by the name of our upstream where one is configured
    minute: int  # seconds since the epoch, a multiple of 60
    requests: int
    errors: int
    latency: Histogram  # out of percentiles, so coarser than our own
    p99_us: float


class LogLine(msgspec.Struct, frozen=True):
    """One line of a log. ``message`` is whatever somebody's program wrote: hostile text."""

    at: float
    service: str
    level: str  # in lower case
    message: str
    trace_id: str = ""
