"""The schema of [[slos]]: what is promised of a route or an upstream."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.config.values import Duration, key

Promise = Annotated[float, msgspec.Meta(ge=0, le=1)]


class SloEntry(msgspec.Struct, frozen=True):
    """One service level objective."""

    name: str
    route: str = ""
    upstream: str = ""
    objective: Promise = 0.999
    window_s: Duration = key("window", 30 * 86400.0)
    latency_s: Duration | None = key("latency", None)
