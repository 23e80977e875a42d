"""Replays that answer without looking at anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.replay import (
    BurstEffect,
    Coverage,
    DetectorReplay,
    LimitReplay,
    ReplayedCaller,
    ReplayedIncident,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

AT = 1_790_000_000.0


def limit_replay(**changes: object) -> LimitReplay:
    """Two callers, one of whom would have been refused."""
    values = {
        "route": "orders",
        "limit": "5/s burst 5 per subject",
        "window_s": 1,
        "requests": 9431,
        "rejected": 212,
        "already_rejected": 3,
        "callers": 2,
        "callers_rejected": 1,
        "top": (
            ReplayedCaller("subject <ana> of acme", 8000, 212, 40, AT, AT + 60),
            ReplayedCaller("subject bob of acme", 1431, 0, 3),
        ),
        "bursts": (BurstEffect(2, 400, 2), BurstEffect(5, 212, 1)),
        "burst_for_all": 41,
        "coverage": Coverage(AT - 3600, AT + 3600, AT - 3500, 9000, 9100, ("Something is not known.",)),
        "shadow": 'limit = [{ limit = "5/s burst 5 per subject", mode = "shadow" }]',
        "enforce": 'limit = ["5/s burst 5 per subject"]',
    } | changes
    return LimitReplay(**values)  # type: ignore[arg-type]  # fields by name, each of its own type


class FakeReplays:
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def limit(self, route: str, limit: str, since_s: float, *, tenant: str = "") -> LimitReplay:
        """The same answer, whatever is asked."""
        self.asked.append((route, limit, since_s, tenant))
        return limit_replay()

    async def detector(self, changed: Mapping[str, str], since_s: float) -> DetectorReplay:
        """One incident fewer."""
        self.asked.append((dict(changed), since_s))
        one = ReplayedIncident(AT, AT + 600, "P3", "latency", "upstream orders", "slow", "orders:latency")
        return DetectorReplay(
            (("z.p3", "2.5", "3.0"),), AT - 3600, AT + 3600, 120, (one,), (), (one,), (), 1, ("Both sides run.",)
        )
