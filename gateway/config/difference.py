"""What differs between two configurations: a unified diff, and one plain sentence per change. Pure."""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, Any

from gateway.config.difference_words import ABSENT, Tables, change, changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.document import Document

_LISTED = {
    "upstreams": "upstream",
    "routes": "route",
    "notify": "notifier",
    "slos": "objective",
    "maintenance": "maintenance",
}
_NAMED = {"plans": "plan", "tenants": "tenant", "actions": "action"}
# What only takes effect when the processes start again: listeners, files and connections opened once.
_AT_START = (
    ("server", "host"),
    ("server", "port"),
    ("server", "workers"),
    ("server", "driver"),
    ("server", "run_dir"),
    ("server", "drain_s"),
    ("admin", "bind"),
    ("admin", "url"),
    ("admin", "metrics"),
    ("admin", "metrics_token_env"),
    ("store", "url"),
    ("redis", "url"),
    ("log", "spool_max_bytes"),
    ("log_output", "level"),
)


def unified(before: str, after: str, *, before_name: str = "in force", after_name: str = "new") -> str:
    """A unified diff of the two texts, empty when they are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm="")
    return "\n".join(lines)


def summary(before: str, after: str) -> list[str]:
    """One line per change: ``route orders: limit "100/s per route" → "50/s per route"``. Both texts are valid TOML."""
    return list(_sections(tomllib.loads(before), tomllib.loads(after)))


def key_of(attribute: str) -> str:
    """The key in the file; attributes carry units."""
    return attribute.removesuffix("_bytes").removesuffix("_s")


def needs_restart(before: Document, after: Document) -> list[str]:
    """Keys that changed but are only read at the start of the processes, such as ``server.port``."""
    return [
        f"{section}.{key_of(attribute)}"
        for section, attribute in _AT_START
        if getattr(getattr(before, section), attribute) != getattr(getattr(after, section), attribute)
    ]


def _sections(before: Tables, after: Tables) -> Iterator[str]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, ABSENT), after.get(key, ABSENT)
        if old == new:
            continue
        if key in _LISTED:
            yield from _entries(_LISTED[key], _by_name(old), _by_name(new))
            continue
        old, new = ({} if value is ABSENT else value for value in (old, new))
        if key in _NAMED:
            yield from _entries(_NAMED[key], old, new)
        else:
            yield from change(old, new, (key,))


def _entries(what: str, before: Tables, after: Tables) -> Iterator[str]:
    """Tables in lists belong together by their names, so that a new route at the top is one change, not all."""
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield f"{what} {name} removed"
        elif name not in before:
            yield f"{what} {name} added"
        elif before[name] != after[name]:
            yield from (f"{what} {name}: {line}" for line in changes(before[name], after[name]))


def _by_name(entries: Any) -> Tables:
    if not isinstance(entries, list):
        return {}
    return {entry.get("name") or entry.get("kind", ""): entry for entry in entries if isinstance(entry, dict)}
