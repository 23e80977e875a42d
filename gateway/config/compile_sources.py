"""From [sources] to the values that ingestion works with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.sources import AlertSettings

if TYPE_CHECKING:
    from gateway.config.document import Document


def alert_settings(document: Document) -> AlertSettings | None:
    """How alerts are taken; None where they are not."""
    entry = document.sources.alerts
    if entry is None:
        return None
    return AlertSettings(
        token_env=entry.token_env,
        labels=entry.labels,
        severities=tuple((word.lower(), severity) for word, severity in entry.severities.items()),
        lapse_s=entry.lapse_s,
    )


def deploys_token_env(document: Document) -> str:
    """The variable with the token that tells of deploys; empty where only users may."""
    return document.sources.deploys.token_env if document.sources.deploys is not None else ""
