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
