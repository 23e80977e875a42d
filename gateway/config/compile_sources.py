"""From [sources] to the values that ingestion works with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.sources import AlertSettings, ElasticsearchSettings

if TYPE_CHECKING:
    from gateway.config.document import Document

_UNIT_US = {"ns": 0.001, "us": 1.0, "ms": 1000.0, "s": 1_000_000.0}


def alert_settings(document: Document) -> AlertSettings | None:
    """How alerts are taken; None where they are not."""
    entry = document.sources.alerts
    if entry is None:
        return None
    return AlertSettings(
        labels=entry.labels,
        severities=tuple((word.lower(), severity) for word, severity in entry.severities.items()),
        lapse_s=entry.lapse_s,
    )


def token_env(document: Document, source: str) -> str:
    """The variable with the token that programs show to that table of [sources]; empty where only users may."""
    return str(getattr(getattr(document.sources, source), "token_env", ""))


def elasticsearch_settings(document: Document) -> ElasticsearchSettings | None:
    """What is read out of Elasticsearch; None where nothing is."""
    entry = document.sources.elasticsearch
    if entry is None:
        return None
    return ElasticsearchSettings(
        url_env=entry.url_env,
        api_key_env=entry.api_key_env,
        log_index=entry.log_index,
        metrics_index=entry.metrics_index,
        runbook_index=entry.runbook_index,
        poll_s=entry.poll_s,
        lookback_s=entry.lookback_s,
        window_s=entry.window_s,
        max_events=entry.max_events,
        duration_us=_UNIT_US[entry.duration_unit],
        services=entry.services,
        fields=entry.fields,
    )
