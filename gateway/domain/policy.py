"""What the operator set for detection, diagnosis, remediation and notification; compiled from sentinel.toml."""

from __future__ import annotations

import msgspec

from gateway.domain.hours import Daily, Hours
from gateway.domain.incident import Severity
from gateway.domain.plan import Mode, Risk


class DetectSettings(msgspec.Struct, frozen=True):
    """When something counts as wrong."""

    error_share: float = 0.05  # closed minutes above it are anomalous, given min_requests
    min_requests: int = 20  # fewer in a minute say nothing
    latency_p95_s: float | None = None  # absolute ceiling per route; None: only relative detectors
    min_points: int = 10  # baseline minutes before a z-score is believed
    baseline_s: float = 3600.0
    fire_minutes: int = 4  # closed minutes that must be out of usual …
    fire_of: int = 5  # … among so many, the newest one included
    clear_s: float = 60.0  # an incident is over when all but one in twelve five-second bins of that were clear
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
    steps: int = 4  # rounds of questions before the answer is wanted
    per_incident_tokens: int = 60_000
    per_day_usd: float = 5.0


class OutsideCommand(msgspec.Struct, frozen=True):
    """One of [actions]: what the operator lets be done outside the gateway, and for which upstream.

    ``kind`` and ``do`` say what; ``settings`` holds the rest of the table, none of it a secret: a name that ends in
    ``_env`` or ``_file`` says where that stands.
    """

    name: str
    kind: str  # webhook, ssh, kubernetes, aws
    upstream: str
    do: str = ""  # kubernetes: restart, scale, undo; aws: redeploy, capacity, terminate
    risk: Risk = Risk.MODERATE
    dry_run: bool = True
    per_hour: int = 1
    timeout_s: float = 30.0
    settle_s: float = 60.0  # how long its effect takes to show in traffic
    undo: str = ""  # another of [actions] that takes it back
    only_undo: bool = False  # never proposed by itself
    settings: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """One of its settings; empty when it is not set."""
        return dict(self.settings).get(name, "")


class RemediateSettings(msgspec.Struct, frozen=True):
    """What may run by itself, and how far."""

    mode: Mode = Mode.APPROVE
    max_ejected: float = 0.5  # share of an upstream's targets that may be out at once
    eject_for_s: float = 600.0  # time to live of an ejection
    approval_ttl_s: float = 1800.0  # an undecided action lapses after this
    max_shed: float = 0.5  # share of an upstream's requests that may be turned away here
    hold_for_s: float = 600.0  # time to live of every other action in the gateway
    commands: tuple[OutsideCommand, ...] = ()  # what may be done outside
    ran: tuple[tuple[str, float, str], ...] = ()  # which of them ran lately: name, when, and the action's id


class NotifyChannel(msgspec.Struct, frozen=True):
    """One place that is told. What is secret stands in an environment variable; a field that ends in ``_env`` names it.

    ``outside`` of ``hours`` a message waits ("later"), is left out ("drop"), or goes to the channel of that name.
    """

    name: str
    kind: str  # slack, slack_app, pagerduty, email, teams, webhook
    url_env: str = ""
    url: str = ""  # only where it holds no secret
    secret_env: str = ""  # webhook: key for the signature; slack_app: signing secret
    severities: tuple[Severity, ...] = (Severity.P1, Severity.P2, Severity.P3, Severity.P4)
    tenants: tuple[str, ...] = ()  # empty: incidents of everybody
    hours: Hours | None = None
    outside: str = "later"
    after_s: float | None = None  # told only of what nobody acknowledged for so long
    remind_s: float | None = None  # told again and again while nobody acknowledges
    reminders: int = 3  # at most so often
    per_hour: int = 60  # more messages are drawn together
    token_env: str = ""  # slack_app
    channel: str = ""  # slack_app: id of the channel, or in the variable channel_env
    channel_env: str = ""
    approvers: tuple[str, ...] = ()  # slack_app: user ids, alone or linked to a dashboard user: U123=ana@example.org
    routing_key_env: str = ""  # pagerduty
    host: str = ""  # email: the mail server
    port: int = 587
    security: str = "starttls"  # starttls, tls, none
    user_env: str = ""
    password_env: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()


class ReportSettings(msgspec.Struct, frozen=True):
    """What is told regularly, and to which channels; none named: every channel that takes text for people."""

    daily: Daily | None = None
    channels: tuple[str, ...] = ()
