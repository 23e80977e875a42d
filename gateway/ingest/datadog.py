"""A Datadog webhook with the payload of dashboards/datadog-webhook.json, which its user pastes there.

Datadog has no format of its own: it fills in the variables of https://docs.datadoghq.com/integrations/webhooks/#variables.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.domain.incident import AlertWords
from gateway.ingest.reported import Body, Reported
from gateway.ingest.shape import Item, ShapeError

SCHEMA = "sentinel-datadog-1"
_FIRING = frozenset({"triggered", "re-triggered", "no data", "re-no data", "warn", "re-warn", "renotify"})
_RESOLVED = "recovered"
_TEMPLATE = "paste dashboards/datadog-webhook.json as the payload"
_NEEDED = ("id", "transition")
_VARIABLE = re.compile(r"\$[A-Z_]+")
_NO_PRIORITY = frozenset({"", "null", "none", "normal", "low"})  # of the event, not of the monitor


def parse(value: Any) -> Body:
    """The one alert of a delivery. Raises ShapeError."""
    item = Item(value)
    if item.text("schema") != SCHEMA:
        raise ShapeError("schema", f'is not "{SCHEMA}"; {_TEMPLATE}')
    for name in _NEEDED:
        if _VARIABLE.fullmatch(item.text(name)):
            raise ShapeError(name, f"holds a variable that was not filled in; {_TEMPLATE}")
    # What a kind of monitor does not have stays as it was pasted: that is nothing said.
    item = Item({name: text for name, text in value.items() if not _VARIABLE.fullmatch(str(text))})
    transition = item.wanted("transition").strip().lower()
    if transition != _RESOLVED and transition not in _FIRING:
        raise ShapeError("transition", 'is none of Datadog\'s, such as "Triggered" or "Recovered"')
    labels = _tags(item.text("tags")) | {"monitor": item.wanted("id")}
    if host := item.text("host"):
        labels.setdefault("host", host)
    firing, updated = transition != _RESOLVED, item.moment("updated")
    reported = Reported(
        # The scope tells the groups of a monitor apart; a monitor of one group has an empty one.
        key=f"{item.wanted('id')}\x1f{item.text('scope')}",
        firing=firing,
        severity=_severity(item, transition),
        starts_at=(item.moment("date") or updated) if firing else None,
        ended_at=None if firing else updated,
        labels=labels,
        words=AlertWords(
            name=item.text("title"),
            summary=item.text("status"),
            description=item.text("message"),
            link=item.text("link"),
            labels=tuple(sorted(labels.items())),
        ),
    )
    return Body((reported,))


def _severity(item: Item, transition: str) -> str:
    """The monitor's priority if it has one; else how it stands: a warning is milder than an alert."""
    priority = item.text("priority").strip().lower()
    if priority not in _NO_PRIORITY:
        return priority
    return "warning" if "warn" in transition else item.text("type")


def _tags(text: str) -> dict[str, str]:
    """``service:payments,env:prod`` as labels; of a repeated key the first counts, a bare tag has no value."""
    found: dict[str, str] = {}
    for tag in text.split(",")[:64]:
        key, _, value = tag.strip().partition(":")
        if key and value:
            found.setdefault(key[:256], value[:256])
    return found
