"""Reads a runbook (Markdown behind a few lines of front matter) and says which words an incident looks for. Pure.

::

    ---
    title: The database pool is exhausted
    services: [payments, orders]
    signals: [error_rate, latency]
    actions: [eject_target]
    ---
    Markdown for people.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.domain.incident import Signal
from gateway.domain.plan import ActionKind
from gateway.domain.runbook import Runbook
from gateway.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.diagnosis import Hypothesis
    from gateway.domain.incident import Incident
    from gateway.domain.runbook import Match

MOST_CHARACTERS = 64_000
_MOST_TITLE = 120
_MOST_LISTED = 20
_LISTS = ("services", "signals", "actions")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# What people call what our names stand for.
_SPOKEN = {
    "error_rate": ("error", "errors", "failing", "5xx"),
    "latency": ("slow", "latency", "timeout"),
    "traffic": ("traffic", "surge", "drop", "load"),
    "upstream_unavailable": ("refused", "connection", "down", "crash"),
    "upstream_timeout": ("timeout", "pool", "lock", "database"),
    "upstream_protocol": ("protocol", "port"),
    "upstream_truncated": ("truncated", "crash", "restart"),
    "app_failed": ("exception", "crash", "traceback"),
    "overloaded": ("overload", "queue", "saturation"),
}


class RunbookError(InvalidInputError):
    """A runbook that cannot be read. ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message, field=f"line {line}", remedy="see docs/how-to/runbooks.md")
        self.line = line


def parse(identifier: str, text: str, *, source: str, now: float) -> Runbook:
    """The runbook in a text.

    Raises:
        RunbookError: with the line that is wrong.
    """
    if not _ID.fullmatch(identifier):
        raise RunbookError("the name may hold a to z, digits and dashes, at most 63", 1)
    if len(text) > MOST_CHARACTERS:
        raise RunbookError(f"longer than {MOST_CHARACTERS} characters", 1)
    lines = text.replace("\x00", "\ufffd").splitlines()
    if not lines or lines[0].strip() != "---":
        raise RunbookError("a runbook begins with a line of three dashes and its front matter", 1)
    fields: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip() == "---":
            return _made(identifier, fields, "\n".join(lines[number:]).strip(), source, now)
        _read(line, number, fields)
    raise RunbookError("the front matter does not end: a second line of three dashes is missing", len(lines))


def _read(line: str, number: int, fields: dict[str, tuple[str, int]]) -> None:
    if not line.strip() or line.lstrip().startswith("#"):
        return
    name, colon, value = line.partition(":")
    name = name.strip()
    if not colon:
        raise RunbookError('expected "name: value"', number)
    if name not in {"title", *_LISTS}:
        raise RunbookError("unknown field; there are title, services, signals and actions", number)
    if name in fields:
        raise RunbookError(f"{name} stands twice", number)
    fields[name] = (value.strip(), number)


def _made(identifier: str, fields: dict[str, tuple[str, int]], body: str, source: str, now: float) -> Runbook:
    title, line = fields.get("title", ("", 1))
    title = " ".join(title.strip("\"'").split())
    if not title or len(title) > _MOST_TITLE or not title.isprintable():
        raise RunbookError(f"title is needed, at most {_MOST_TITLE} printable characters", line)
    if not body:
        raise RunbookError("there is nothing behind the front matter", line)
    lists = {name: _list(*fields.get(name, ("", 1))) for name in _LISTS}
    for name, known in (("signals", frozenset(map(str, Signal))), ("actions", frozenset(map(str, ActionKind)))):
        if unknown := [one for one in lists[name] if one not in known]:
            message = f"{name}: {unknown[0][:40]!r} is unknown; there are {', '.join(sorted(known))}"
            raise RunbookError(message, fields[name][1])
    return Runbook(
        identifier,
        title,
        lists["services"],
        lists["signals"],
        lists["actions"],
        body,
        source,
        now,
    )


def _list(value: str, line: int) -> tuple[str, ...]:
    if value.startswith("[") != value.endswith("]"):
        raise RunbookError("a list needs both its brackets", line)
    names = tuple(dict.fromkeys(one.strip().strip("\"'") for one in value.strip("[]").split(",") if one.strip()))
    if len(names) > _MOST_LISTED or any(len(one) > 100 for one in names):  # noqa: PLR2004 - longer than any name of ours
        raise RunbookError(f"at most {_MOST_LISTED} names of at most 100 characters", line)
    return names


def sought(incident: Incident, hypotheses: Iterable[Hypothesis], endings: Iterable[str] = ()) -> tuple[str, ...]:
    """The words an incident looks for, all of them ours: no caller has a say in what is found."""
    found: list[str] = list(_SPOKEN.get(incident.signal, ()))
    for ending in endings:
        found += _SPOKEN.get(ending, ())
    standing = [one for one in hypotheses if not one.ruled_out][:2]
    found += [one.upstream for one in standing] + [incident.place.upstream, incident.place.route]
    return tuple(dict.fromkeys(word for one in found for word in re.findall(r"\w+", one.lower())))


def fitting(matches: Iterable[Match], incident: Incident, upstreams: Iterable[str], *, most: int = 3) -> list[Match]:
    """Those that are for this signal and one of these services, or for any; the ones that name both come first."""
    services = set(upstreams)
    kept = [
        (bool(services & set(one.runbook.services)), str(incident.signal) in one.runbook.signals, one.score, one)
        for one in matches
        if (not one.runbook.services or services & set(one.runbook.services))
        and (not one.runbook.signals or str(incident.signal) in one.runbook.signals)
    ]
    kept.sort(key=lambda item: item[:3], reverse=True)
    return [item[3] for item in kept[:most]]
