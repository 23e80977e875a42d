"""The schema of [[slos]] and [[maintenance]]: what is promised, and when nobody needs to be told."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.config.hours_notation import hours
from gateway.config.schema import Notation
from gateway.config.values import Duration, key
from gateway.domain.hours import Hours
from gateway.domain.incident import Severity, Signal

Promise = Annotated[float, msgspec.Meta(ge=0, le=1)]


class SloEntry(msgspec.Struct, frozen=True):
    """One service level objective."""

    name: str
    route: str = ""
    upstream: str = ""
    objective: Promise = 0.999
    window_s: Duration = key("window", 30 * 86400.0)
    latency_s: Duration | None = key("latency", None)


class MaintenanceEntry(msgspec.Struct, frozen=True):
    """Hours of the week at which nobody is told."""

    name: str
    hours: Annotated[Hours, Notation(hours, 'hours such as "sun 02:00-04:00 Europe/Berlin"')]
    route: str = ""
    upstream: str = ""
    severities: tuple[Severity, ...] = ()
    signals: tuple[Signal, ...] = ()
    why: str = ""
