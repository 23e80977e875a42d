"""Rows as a worker appends them, for tests of collecting and storing."""

from __future__ import annotations

from typing import Any

from gateway.domain.traffic import RECORD_FIELDS, RequestRecord

MINUTE = 1_800_000_000  # a multiple of 60

_ROW: dict[str, Any] = {
    "id": "r-0",
    "completed_at": float(MINUTE),
    "method": "GET",
    "path": "/orders/7",
    "query": "",
    "status": 200,
    "route": "orders",
    "upstream": "orders",
    "target": "10.0.0.5:9000",
    "tenant": "acme",
    "subject": "ana",
    "client": "203.0.113.9",
    "user_agent": "curl/8",
    "error": "",
    "bytes_in": 0,
    "bytes_out": 100,
    "duration_us": 5_000,
    "wait_us": 10,
    "auth_us": 20,
    "limit_us": 30,
    "connect_us": 40,
    "upstream_us": 4_800,
    "stream_us": 100,
    "attempts": 1,
    "trace_id": "0123456789abcdef0123456789abcdef",
    "span_id": "0123456789abcdef",
    "parent_id": "",
}


def row(**changes: Any) -> tuple[object, ...]:
    """One finished request as a tuple."""
    values = _ROW | changes
    return tuple(values[name] for name in RECORD_FIELDS)


def record(**changes: Any) -> RequestRecord:
    """The same as control reads it."""
    return RequestRecord(**(_ROW | changes))
