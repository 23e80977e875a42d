"""Deploys: what was put into service elsewhere, for "what changed just before"."""

from __future__ import annotations

import msgspec

MOST_DEPLOYS = 10_000  # kept; the oldest go first


class Deploy(msgspec.Struct, frozen=True):
    """One version of one service put into service. Every text is somebody else's: a commit message may stand in it."""

    id: str
    service: str
    version: str
    at: float  # when it was put into service
    created_at: float  # when we were told
    url: str = ""
    actor: str = ""
