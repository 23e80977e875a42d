"""The schema of [sources]: signals that come from outside."""

from __future__ import annotations

import msgspec

from gateway.config.values import Duration, Texts, key
from gateway.domain.incident import Severity


class AlertsEntry(msgspec.Struct, frozen=True):
    """Alerts of other monitoring; the table's presence takes them in."""

    token_env: str = "SENTINEL_ALERTS_TOKEN"  # noqa: S105 - the name of a variable
    labels: Texts = ("service", "upstream", "job")
    severities: dict[str, Severity] = {}
    lapse_s: Duration = key("lapse", 86_400.0)


class DeploysEntry(msgspec.Struct, frozen=True):
    """Deploys told by a pipeline that is no user here; the table's presence lets it."""

    token_env: str = "SENTINEL_DEPLOYS_TOKEN"  # noqa: S105 - the name of a variable


class Sources(msgspec.Struct, frozen=True):
    """Where signals come from, besides our own traffic."""

    alerts: AlertsEntry | None = None
    deploys: DeploysEntry | None = None
