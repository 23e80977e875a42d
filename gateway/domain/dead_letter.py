"""Bodies from outside that could not be read, kept so that nothing is lost without a trace."""

from __future__ import annotations

import msgspec

MOST_DEAD_LETTERS = 500  # the oldest go first
KEPT_S = 30 * 86_400.0
MOST_CHARACTERS = 16_384  # of one body


class DeadLetter(msgspec.Struct, frozen=True):
    """One body that did not fit. ``body`` is hostile text, cut; ``size_bytes`` says how long it was."""

    id: str
    at: float
    source: str  # where it was sent to, such as "alertmanager"
    field: str  # path of the first wrong value; empty: the whole body
    reason: str  # in our own words
    size_bytes: int
    body: str = ""
