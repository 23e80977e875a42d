"""An event as the bytes of one JSON object: always valid, within the server's bounds, whatever the caller hands in."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The server's own bounds; what is longer is cut here, so that an event is never refused for its size.
MOST_FIELDS = 32
_LONGEST_MESSAGE = 4096
_LONGEST_NAME = 64
_LONGEST_VALUE = 1024
_LARGEST_WHOLE = 2**63 - 1


def encoded(
    *,
    event_id: str,
    agent_id: str,
    kind: str,
    severity: str,
    at: str,
    message: str,
    fields: Mapping[str, object],
    trace_id: str,
    tenant: str,
) -> bytes:
    """The event as one JSON object."""
    event: dict[str, object] = {
        "id": event_id,
        "agent_id": agent_id,
        "kind": kind,
        "severity": severity,
        "at": at,
        "message": clean(message, _LONGEST_MESSAGE),
        "fields": {
            clean(str(name), _LONGEST_NAME) or "_": _plain(value) for name, value in list(fields.items())[:MOST_FIELDS]
        },
    }
    if trace_id:
        event["trace_id"] = trace_id
    if tenant:
        event["tenant"] = tenant
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode()


def clean(text: str, most: int) -> str:
    """The text cut to ``most`` characters, without what JSON or a database cannot hold."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_LARGEST_WHOLE <= value <= _LARGEST_WHOLE:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return clean(value if isinstance(value, str) else str(value), _LONGEST_VALUE)
