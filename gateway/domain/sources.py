"""What the operator set for signals from outside; compiled from [sources] of sentinel.toml."""

from __future__ import annotations

import msgspec

from gateway.domain.incident import Severity


class AlertSettings(msgspec.Struct, frozen=True):
    """How alerts of other monitoring are taken."""

    labels: tuple[str, ...] = ("service", "upstream", "job")  # which of their labels name a service, best first
    severities: tuple[tuple[str, Severity], ...] = ()  # their words for how grave, in lower case, before the usual ones
    lapse_s: float = 86_400.0  # an alert that nothing was heard of for so long does not fire any more


class Received(msgspec.Struct, frozen=True):
    """What became of the alerts of one delivery, in numbers."""

    firing: int = 0  # new, or again after their end
    repeated: int = 0  # known to fire
    resolved: int = 0
    unknown: int = 0  # ends of what never began here
    stale: int = 0  # an old delivery that came after the end
    dropped: int = 0  # too many fire already
    unplaced: int = 0  # of the firing and repeated, those that name nothing configured here


class ElasticsearchFields(msgspec.Struct, frozen=True):
    """What its documents call things; by default as the Elastic Common Schema and Elastic APM do."""

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
