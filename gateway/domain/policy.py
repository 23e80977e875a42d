"""What the operator set for detection, diagnosis, remediation and notification; compiled from sentinel.toml."""

from __future__ import annotations

import msgspec

from gateway.domain.incident import Severity
from gateway.domain.plan import Mode


class DetectSettings(msgspec.Struct, frozen=True):
    """When something counts as wrong."""

    error_share: float = 0.05  # closed minutes above it are anomalous, given min_requests
    min_requests: int = 20  # fewer in a minute say nothing
    latency_p95_s: float | None = None  # absolute ceiling per route; None: only relative detectors
    min_points: int = 10  # baseline minutes before a z-score is believed
    baseline_s: float = 3600.0
    cooldown_s: float = 1800.0  # an identical incident is not opened again within this
    z_p1: float = 5.0
    z_p2: float = 3.5
    z_p3: float = 2.5
    z_p4: float = 2.0


class DiagnoseSettings(msgspec.Struct, frozen=True):
    """Which model may write reports, and within what."""

    provider: str = "none"  # none, anthropic, openai
    model: str = ""
    base_url: str = ""
    api_key_env: str = ""
    timeout_s: float = 20.0  # wall clock for the whole report
    per_incident_tokens: int = 20_000
    per_day_usd: float = 5.0


class RemediateSettings(msgspec.Struct, frozen=True):
    """What may run by itself, and how far."""

    mode: Mode = Mode.APPROVE
    max_ejected: float = 0.5  # share of an upstream's targets that may be out at once
    eject_for_s: float = 600.0  # time to live of an ejection
    approval_ttl_s: float = 1800.0  # an undecided action lapses after this


class NotifyChannel(msgspec.Struct, frozen=True):
    """One place that is told. The URL stands in the environment variable ``url_env`` (it often holds a secret)."""

    name: str
    kind: str  # slack, webhook
    url_env: str = ""
    url: str = ""  # only for webhook URLs without secrets
    secret_env: str = ""  # webhook: key for the signature
    severities: tuple[Severity, ...] = (Severity.P1, Severity.P2, Severity.P3, Severity.P4)
