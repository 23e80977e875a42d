"""Times and names as people read them, and text made safe to show on one line. Pure."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

_MINUTE_S = 60
_HOUR_S = 3600


def plain(text: str, limit: int) -> str:
    """The text on one line, without control and direction characters, cut to ``limit`` with an ellipsis."""
    kept = "".join(
        " " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char
        for char in text[: limit * 4]
        if unicodedata.category(char) not in {"Cf", "Cs", "Co", "Cn"}
    )
    words = " ".join(kept.split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        minutes, rest = divmod(whole, _MINUTE_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole // _MINUTE_S, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def clock_time(at: float) -> str:
    """Such as ``03:12:45 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
