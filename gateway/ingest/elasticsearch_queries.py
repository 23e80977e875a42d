"""What is asked of Elasticsearch, and what its answers mean. Pure.

Everything in an answer is somebody else's text or number: what does not have the expected shape is passed over.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gateway.domain.histogram import bin_of
from gateway.domain.other_logs import LogLine, ServiceMinute
from gateway.domain.runbook import Runbook

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.domain.histogram import Histogram
    from gateway.domain.sources import ElasticsearchFields, ElasticsearchSettings

MOST_SERVICES = 200
MOST_TRACES = 50
PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0)
_FAILED = "failure"  # of event.outcome, as the Elastic Common Schema says it
_GRAVE = ("error", "ERROR", "Error", "fatal", "FATAL", "critical", "CRITICAL", "alert", "emergency", "SEVERE", "severe")
_LONGEST_MESSAGE = 2000
_LONGEST_BODY = 64_000
_LONGEST = 1e15  # of a duration in any unit: what is larger is no measurement
_LATEST_S = 4e9
_MINUTE_S = 60
_ID = re.compile(r"[^a-z0-9]+")


def figures(fields: ElasticsearchFields, start: float, end: float) -> dict[str, Any]:
    """Requests, failures and percentiles of the duration, per service and minute of [start, end)."""
    latency = {"percentiles": {"field": fields.duration, "percents": list(PERCENTS)}}
    failed = {"filter": {"term": {fields.outcome: _FAILED}}}
    by_minute = {
        "date_histogram": {"field": fields.time, "fixed_interval": f"{_MINUTE_S}s", "min_doc_count": 1},
        "aggs": {"failed": failed, "latency": latency},
    }
    return {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": [_within(fields, start, end), {"exists": {"field": fields.duration}}]}},
        "aggs": {
            "services": {"terms": {"field": fields.service, "size": MOST_SERVICES}, "aggs": {"minutes": by_minute}}
        },
    }


def read_figures(answer: Any, settings: ElasticsearchSettings) -> list[ServiceMinute]:
    """The minutes in an answer to :func:`figures`, under the names of our upstreams."""
    found = []
    for service in _list(_path(answer, "aggregations", "services", "buckets"))[:MOST_SERVICES]:
        name = _path(service, "key")
        if not isinstance(name, str):
            continue
        for bucket in _list(_path(service, "minutes", "buckets")):
            minute = _minute(settings.services.get(name, name), bucket, settings.duration_us)
            if minute is not None:
                found.append(minute)
    return found


def _minute(service: str, bucket: Any, unit_us: float) -> ServiceMinute | None:
    at_ms, requests = _path(bucket, "key"), _path(bucket, "doc_count")
    failed = _path(bucket, "failed", "doc_count")
    values = _path(bucket, "latency", "values")
    if not (isinstance(at_ms, int | float) and isinstance(requests, int) and isinstance(failed, int)):
        return None
    if not (0 < at_ms / 1000 < _LATEST_S and 0 < requests < _LONGEST and failed >= 0):
        return None
    levels = [(percent, _path(values, f"{percent:.1f}")) for percent in PERCENTS]
    known = [
        (percent, level * unit_us)
        for percent, level in levels
        if isinstance(level, int | float) and 0 <= level < _LONGEST
    ]
    return ServiceMinute(
        service=service,
        minute=int(at_ms) // 1000,
        requests=requests,
        errors=min(failed, requests),
        latency=_histogram(requests, known),
        p99_us=known[-1][1] if known and known[-1][0] == PERCENTS[-1] else 0.0,
    )


def _histogram(requests: int, levels: Sequence[tuple[float, float]]) -> Histogram:
    """Durations as percentiles tell them: each share of the requests at the percentile that ends it."""
    histogram: Histogram = {}
    counted = 0
    for percent, level_us in levels:
        until = round(requests * percent / 100)
        index = bin_of(int(level_us))
        if until > counted:
            histogram[index] = histogram.get(index, 0) + until - counted
            counted = until
    if levels and requests > counted:
        index = bin_of(int(levels[-1][1]))
        histogram[index] = histogram.get(index, 0) + requests - counted
    return histogram


def lines(
    settings: ElasticsearchSettings, services: Iterable[str], traces: Iterable[str], start: float, end: float
) -> dict[str, Any]:
    """Log lines of [start, end): those of the traces, and the grave ones of the services; the latest first."""
    fields = settings.fields
    theirs = {upstream: name for name, upstream in settings.services.items()}
    names = sorted({name for service in services for name in (service, theirs.get(service, service))})
    either: list[dict[str, Any]] = []
    if wanted := sorted(set(traces))[:MOST_TRACES]:
        either.append({"terms": {fields.trace: wanted}})
    if names:
        grave = [{"terms": {fields.service: names}}, {"terms": {fields.level: list(_GRAVE)}}]
        either.append({"bool": {"filter": grave}})
    return {
        "query": {
            "bool": {"filter": [_within(fields, start, end)], "should": either, "minimum_should_match": 1},
        },
        "sort": [{fields.time: {"order": "desc", "unmapped_type": "date"}}],
        "_source": [fields.time, fields.service, fields.level, fields.message, fields.trace],
    }


def read_line(hit: Any, settings: ElasticsearchSettings) -> LogLine | None:
    """One hit of :func:`lines`; None for what is no log line."""
    source, fields = _path(hit, "_source"), settings.fields
    at, message = _at(_field(source, fields.time)), _field(source, fields.message)
    if at is None or not 0 < at < _LATEST_S or not isinstance(message, str) or not message:
        return None
    service = _field(source, fields.service)
    service = service if isinstance(service, str) else ""
    trace = _field(source, fields.trace)
    return LogLine(
        at=at,
        service=settings.services.get(service, service)[:128],
        level=str(_field(source, fields.level) or "")[:32].lower(),
        message=message[:_LONGEST_MESSAGE],
        trace_id=trace[:64] if isinstance(trace, str) else "",
    )


def all_runbooks() -> dict[str, Any]:
    """Every document of the index of runbooks."""
    return {"query": {"match_all": {}}, "sort": [{"_doc": {"order": "asc"}}]}


def read_runbook(hit: Any, now: float) -> Runbook | None:
    """One hit of :func:`all_runbooks`; None for what has no title or no body."""
    source, key = _path(hit, "_source"), _path(hit, "_id")
    title = _field(source, "title")
    body = next((text for name in ("body", "content", "text") if isinstance(text := _field(source, name), str)), "")
    if not isinstance(key, str) or not isinstance(title, str) or not title.strip() or not body.strip():
        return None
    services, signals, actions = (_texts(_field(source, name)) for name in ("services", "signals", "actions"))
    return Runbook(
        id=identifier(key),
        title=" ".join(title.split())[:120],
        services=services or _texts(_field(source, "service")),
        signals=signals,
        actions=actions,
        body=body[:_LONGEST_BODY],
        source="elasticsearch",
        updated_at=now,
    )


def identifier(key: str) -> str:
    """A runbook's id here: as much of theirs as our ids may hold, and a digest, so that no two become the same."""
    return f"es-{_ID.sub('-', key.lower()).strip('-')[:40]}-{sha256(key.encode(errors='replace')).hexdigest()[:8]}"


def _within(fields: ElasticsearchFields, start: float, end: float) -> dict[str, Any]:
    span = {"gte": int(start * 1000), "lt": int(end * 1000), "format": "epoch_millis"}
    return {"range": {fields.time: span}}


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _field(source: Any, name: str) -> Any:
    """A field as documents write it: under its dotted name, or as objects within objects; of a list the first."""
    if not isinstance(source, dict):
        return None
    value = source[name] if name in source else _path(source, *name.split("."))
    return value[0] if isinstance(value, list) and value and name not in {"services", "signals", "actions"} else value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(one.strip()[:63] for one in listed if isinstance(one, str) and one.strip())[:20]


def _at(value: Any) -> float | None:
    """Seconds since the epoch out of RFC 3339, or out of milliseconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) / 1000
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
