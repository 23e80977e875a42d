"""What was done, by whom: one line per decision or change."""

from __future__ import annotations

import msgspec


class AuditEntry(msgspec.Struct, frozen=True):
    """One act. ``verb`` is an event name such as ``action.approved``; ``detail`` holds no secrets."""

    at: float  # seconds since the epoch
    actor: str  # "user ana@example.org", "cli", "system"
    verb: str
    subject: str  # what it was done to: "action a-1", "key k-2"
    tenant: str = ""
    detail: dict[str, str] = {}


class ConfigRevision(msgspec.Struct, frozen=True):
    """One configuration that was in force: its whole text, and how it came about."""

    revision: int
    at: float
    actor: str
    text: str
    note: str = ""


class ConfigDifference(msgspec.Struct, frozen=True):
    """What putting a text in force would change: nothing of it has happened. All is empty where nothing differs."""

    problems: tuple[str, ...] = ()  # why it cannot be applied; then there is no more to say
    warnings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # one plain sentence each
    restart: tuple[str, ...] = ()  # keys that take effect when the processes start again
    unified: str = ""  # from the text in force
