"""The switch that stops all actions: whether it is on, who turned it and why."""

from __future__ import annotations

import msgspec


class Stop(msgspec.Struct, frozen=True):
    """As it was last turned. Of two, the later one holds."""

    on: bool = False
    by: str = ""
    at: float = 0.0  # seconds since the epoch; 0: never turned
    why: str = ""
