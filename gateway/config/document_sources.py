"""The schema of [sources]: signals that come from outside."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.config.values import Duration, Texts, key
from gateway.domain.incident import Severity
from gateway.domain.sources import ElasticsearchFields


class AlertsEntry(msgspec.Struct, frozen=True):
    """Alerts of other monitoring; the table's presence takes them in."""

    token_env: str = "SENTINEL_ALERTS_TOKEN"  # noqa: S105 - the name of a variable
    labels: Texts = ("service", "upstream", "job")
    severities: dict[str, Severity] = {}
    lapse_s: Duration = key("lapse", 86_400.0)


class DeploysEntry(msgspec.Struct, frozen=True):
    """Deploys told by a pipeline that is no user here; the table's presence lets it."""

    token_env: str = "SENTINEL_DEPLOYS_TOKEN"  # noqa: S105 - the name of a variable


class EventsEntry(msgspec.Struct, frozen=True):
    """Events reported by programs that are no users here; the table's presence lets them."""

    token_env: str = "SENTINEL_EVENTS_TOKEN"  # noqa: S105 - the name of a variable


class ElasticsearchEntry(msgspec.Struct, frozen=True):
    """Logs, figures and runbooks out of Elasticsearch; the table's presence reads them."""

    url_env: str = "ELASTICSEARCH_URL"
    api_key_env: str = ""
    log_index: str = "app-logs-all"
    metrics_index: str = "app-metrics-*"
    runbook_index: str = "incident-runbooks"
    poll_s: Duration = key("poll", 30.0)
    lookback_s: Duration = key("lookback", 300.0)
    window_s: Duration = key("window", 600.0)
    max_events: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    duration_unit: Literal["ns", "us", "ms", "s"] = "us"
    services: dict[str, str] = {}
    fields: ElasticsearchFields = ElasticsearchFields()


class Sources(msgspec.Struct, frozen=True):
    """Where signals come from, besides our own traffic."""

    alerts: AlertsEntry | None = None
    deploys: DeploysEntry | None = None
    events: EventsEntry | None = None
    elasticsearch: ElasticsearchEntry | None = None
