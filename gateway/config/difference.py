"""What differs between two configurations: a unified diff, and one plain sentence per change. Pure."""

from __future__ import annotations

import difflib
import json
import tomllib
from typing import TYPE_CHECKING, Any

from gateway.config.reading import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.document import Document
    from gateway.config.positions import Path

_ABSENT = object()
_LISTED = {"upstreams": "upstream", "routes": "route", "notify": "notifier"}
# What only takes effect when the processes start again: listeners, files and connections opened once.
_AT_START = (
    ("server", "host"),
    ("server", "port"),
    ("server", "workers"),
    ("server", "driver"),
    ("server", "run_dir"),
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
    return list(_tables(tomllib.loads(before), tomllib.loads(after), (), listed=_LISTED))


def needs_restart(before: Document, after: Document) -> list[str]:
    """Keys that changed but are only read at the start of the processes, such as ``server.port``."""
    return [
        f"{section}.{attribute.removesuffix('_bytes')}"
        for section, attribute in _AT_START
        if getattr(getattr(before, section), attribute) != getattr(getattr(after, section), attribute)
    ]


def _tables(before: dict[str, Any], after: dict[str, Any], path: Path, *, listed: Mapping[str, str]) -> Iterator[str]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _tables(old, new, (*path, key), listed={})
        elif key in listed:
            yield from _entries(key, _by_name(old), _by_name(new))
        else:
            yield f"{dotted((*path, key))} {_shown(old)} → {_shown(new)}"


def _entries(section: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Tables in lists belong together by their names, so that a new route at the top is one change, not all."""
    what = _LISTED[section]
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield f"{what} {name} removed"
        elif name not in before:
            yield f"{what} {name} added"
        else:
            yield from (f"{what} {name}: {change}" for change in _tables(before[name], after[name], (), listed={}))


def _by_name(entries: Any) -> dict[str, Any]:
    if not isinstance(entries, list):
        return {}
    return {entry.get("name") or entry.get("kind", ""): entry for entry in entries if isinstance(entry, dict)}


def _shown(value: Any) -> str:
    return "(default)" if value is _ABSENT else json.dumps(value, ensure_ascii=False, default=str)
