"""What people wrote down for the next time: runbooks, and how one was found."""

from __future__ import annotations

import msgspec


class Runbook(msgspec.Struct, frozen=True):
    """One runbook. One that could not be read has ``error`` and the ``line`` it stands in, and is never found."""

    id: str  # of a file its name without ".md"
    title: str
    services: tuple[str, ...] = ()  # upstreams it is for; empty: any
    signals: tuple[str, ...] = ()  # values of Signal; empty: any
    actions: tuple[str, ...] = ()  # kinds of the catalogue it speaks of
    body: str = ""  # Markdown
    source: str = "api"  # "api", "file" for one out of the folder, or "elasticsearch"
    updated_at: float = 0.0
    error: str = ""
    line: int = 0


class Match(msgspec.Struct, frozen=True):
    """A runbook that fits, the better the higher ``score``, and the words of the search that it holds."""

    runbook: Runbook
    score: float
    words: tuple[str, ...]
