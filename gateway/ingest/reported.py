"""An alert as its sender tells it, before anything of it is believed; and what a body of them comes to."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from gateway.domain.incident import AlertSource, AlertWords
from gateway.ingest.shape import ShapeError

MOST_PER_BODY = 1000


class Reported(msgspec.Struct, frozen=True):
    """One alert in the sender's own terms."""

    key: str  # what makes it the same alert to its sender
    firing: bool
    severity: str  # their word for it; empty: none
    starts_at: float | None
    ended_at: float | None
    labels: dict[str, str]
    words: AlertWords


class Wrong(msgspec.Struct, frozen=True):
    """What did not fit: where, and why in our own words."""

    field: str
    reason: str


class Body(msgspec.Struct, frozen=True):
    """What one delivery holds. Alerts beside a wrong one are taken all the same."""

    alerts: tuple[Reported, ...]
    wrong: tuple[Wrong, ...] = ()


Parse = Callable[[Any], Body]


def each(values: list[Any], path: str, read: Callable[[Any, str], Reported]) -> Body:
    """Read every element of a list by itself, so that a wrong one costs only itself."""
    alerts, wrong = [], []
    for position, value in enumerate(values[:MOST_PER_BODY]):
        try:
            alerts.append(read(value, f"{path}[{position}]"))
        except ShapeError as error:
            wrong.append(Wrong(error.path, str(error)))
    if len(values) > MOST_PER_BODY:
        wrong.append(Wrong(f"{path}[{MOST_PER_BODY}]", f"more than {MOST_PER_BODY} alerts in one body"))
    return Body(tuple(alerts), tuple(wrong))


def same_labels(labels: dict[str, str]) -> str:
    """The key of an alert that has none but its labels."""
    return sha256(msgspec.json.encode(sorted(labels.items()))).hexdigest()


def fingerprint(source: AlertSource, key: str) -> str:
    """Who an alert is here: 32 hex digits, whatever its sender calls it."""
    return sha256(f"{source}\x1f{key}".encode(errors="replace")).hexdigest()[:32]
