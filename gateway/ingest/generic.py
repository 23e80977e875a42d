"""Alerts of any other monitoring, in a small schema of our own: one object, or ``{"alerts": [object, …]}``.

    {"id": "disk-7", "status": "firing", "service": "payments", "severity": "critical", "title": "…", "text": "…",
     "url": "https://…", "starts_at": "2026-11-21T09:30:00Z", "ends_at": null, "labels": {"zone": "b"}}

Only ``title`` or ``id`` must be there; without ``status`` it fires, and unknown keys are passed over.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.incident import AlertWords
from gateway.ingest.reported import Body, Reported, each, same_labels
from gateway.ingest.shape import LONGEST_NAME, Item, ShapeError

_FIRING = frozenset({"firing", "open", "alerting", "triggered"})
_RESOLVED = frozenset({"resolved", "closed", "ok"})


def parse(value: Any) -> Body:
    """The alerts of a body. Raises ShapeError when it is no object or its only alert is wrong."""
    body = Item(value)
    if body.has("alerts"):
        return each(body.many("alerts"), "alerts", _alert)
    return Body((_alert(value, ""),))


def _alert(value: Any, path: str) -> Reported:
    item = Item(value, path)
    status = (item.text("status") or "firing").lower()
    if status not in _FIRING | _RESOLVED:
        raise ShapeError(item.at("status"), 'is neither "firing" nor "resolved"')
    title, key = item.text("title"), item.text("id", longest=LONGEST_NAME)
    if not title and not key:
        raise ShapeError(item.at("title"), "is missing, and so is id: one of them must be there")
    labels = item.labels("labels")
    if service := item.text("service", longest=LONGEST_NAME):
        labels["service"] = service
    firing = status in _FIRING
    return Reported(
        key=key or same_labels(labels | {"title": title}),
        firing=firing,
        severity=item.text("severity"),
        starts_at=item.moment("starts_at"),
        ended_at=None if firing else item.moment("ends_at"),
        labels=labels,
        words=AlertWords(
            name=title or key,
            summary=item.text("text"),
            link=item.text("url"),
            labels=tuple(sorted(labels.items())),
        ),
    )
