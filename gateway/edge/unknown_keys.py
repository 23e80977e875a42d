"""Tells control, by a counter in the spool, that tokens name keys which a fetched key set does not hold."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.edge.steps import Steps
    from gateway.metrics import WorkerCounters

LOOK_S = 0.5
UNKNOWN_KEYS = "sentinel_unknown_keys_total"


async def report_unknown_keys(steps: Steps, counters: WorkerCounters) -> None:
    """Pass the tallies on until cancelled; a request itself only adds one to a number."""
    while True:
        await asyncio.sleep(LOOK_S)
        for url, amount in steps.runtime.authenticator.take_unknown_keys().items():
            counters.count(UNKNOWN_KEYS, url, amount=amount)
