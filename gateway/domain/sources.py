"""What the operator set for signals from outside; compiled from [sources] of sentinel.toml."""

from __future__ import annotations

import msgspec

from gateway.domain.incident import Severity


class AlertSettings(msgspec.Struct, frozen=True):
    """How alerts of other monitoring are taken."""

    token_env: str  # the variable whose value they must show
    labels: tuple[str, ...] = ("service", "upstream", "job")  # which of their labels name a service, best first
    severities: tuple[tuple[str, Severity], ...] = ()  # their words for how grave, in lower case, before the usual ones
    lapse_s: float = 86_400.0  # an alert that nothing was heard of for so long does not fire any more


class ElasticsearchFields(msgspec.Struct, frozen=True):
    """What its documents call things."""

    time: str = "@timestamp"
    service: str = "service.name"
    level: str = "log.level"
    message: str = "message"
    trace: str = "trace.id"
    outcome: str = "event.outcome"
    duration: str = "transaction.duration.us"


class ElasticsearchSettings(msgspec.Struct, frozen=True):
    """Where Elasticsearch is and what is read out of it; an empty index is not read."""

    url_env: str  # the variable with its address, perhaps with user and password in it
    api_key_env: str = ""  # the variable with an API key, as Elasticsearch encodes it
    log_index: str = ""
    metrics_index: str = ""
    runbook_index: str = ""
    poll_s: float = 30.0
    lookback_s: float = 300.0  # the span one poll asks for
    window_s: float = 600.0  # correlated events lie within this of an incident's onset
    max_events: int = 50
    duration_us: float = 1.0  # microseconds in one unit of the duration field
    services: dict[str, str] = {}  # its name of a service → the upstream here, where they differ
    fields: ElasticsearchFields = ElasticsearchFields()
