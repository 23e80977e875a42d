"""[[notify]] and [reports]: who is told what, when, and by which way."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.config import hours_notation
from gateway.config.schema import Notation
from gateway.config.values import Duration, WebUrl, key
from gateway.domain.hours import Daily, Hours
from gateway.domain.incident import Severity

HoursText = Annotated[Hours, Notation(hours_notation.hours, 'hours such as "mon-fri 08:00-20:00 Europe/Berlin"')]
DailyText = Annotated[Daily, Notation(hours_notation.daily, 'a time of day such as "08:00 Europe/Berlin"')]


class NotifyEntry(msgspec.Struct, frozen=True):
    """One place that is told."""

    kind: Literal["slack", "slack_app", "pagerduty", "email", "teams", "webhook"]
    name: str = ""
    # What is told, and when.
    severities: tuple[Severity, ...] | None = None
    tenants: tuple[str, ...] = ()
    hours: HoursText | None = None
    outside: str = "later"
    after_s: Duration | None = key("after", None)
    remind_s: Duration | None = key("remind", None)
    reminders: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    per_hour: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    # Where it goes.
    url_env: str = ""
    url: WebUrl = ""
    secret_env: str = ""
    token_env: str = ""
    channel: str = ""
    channel_env: str = ""
    approvers: tuple[str, ...] = ()
    routing_key_env: str = ""
    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user_env: str = ""
    password_env: str = ""
    sender: str = key("from", "")
    to: tuple[str, ...] = ()


class Reports(msgspec.Struct, frozen=True):
    """What is told regularly."""

    daily: DailyText | None = None
    channels: tuple[str, ...] = ()
