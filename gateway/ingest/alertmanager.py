"""The webhook of Prometheus Alertmanager, version 4 of its format.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. Grafana's alerts have the same core.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway.domain.incident import AlertWords
from gateway.ingest.reported import Body, Reported, each, same_labels
from gateway.ingest.shape import LONGEST_NAME, Item, ShapeError

VERSION = "4"
_SEVERITIES = ("severity", "priority", "level")
_SUMMARIES = ("summary", "message", "title")
_DESCRIPTIONS = ("description", "details")
_LINKS = ("runbook_url", "dashboard_url")


def parse(value: Any) -> Body:
    """The alerts of a delivery. Raises ShapeError when it holds none that could be read at all."""
    body = Item(value)
    if body.has("version") and (version := body.text("version")) != VERSION:
        shown = version if version.isalnum() and len(version) <= 8 else "another"  # noqa: PLR2004 - a version, not prose
        raise ShapeError("version", f'is "{shown}"; this endpoint reads version "{VERSION}"')
    return each(body.many("alerts"), "alerts", partial(alert, name_labels=("alertname",), link_keys=("generatorURL",)))


def alert(value: Any, path: str, *, name_labels: tuple[str, ...], link_keys: tuple[str, ...]) -> Reported:
    """One alert of Alertmanager or Grafana. Raises ShapeError."""
    item = Item(value, path)
    status = item.wanted("status")
    if status not in {"firing", "resolved"}:
        raise ShapeError(item.at("status"), 'is neither "firing" nor "resolved"')
    labels, notes = item.labels("labels"), item.texts("annotations")
    links = [notes.get(name, "") for name in _LINKS] + [item.text(key) for key in link_keys]
    return Reported(
        key=item.text("fingerprint", longest=LONGEST_NAME) or same_labels(labels),
        firing=status == "firing",
        severity=first(labels, _SEVERITIES),
        starts_at=item.moment("startsAt"),
        ended_at=item.moment("endsAt") if status == "resolved" else None,
        labels=labels,
        words=AlertWords(
            name=first(labels, name_labels),
            summary=first(notes, _SUMMARIES),
            description=first(notes, _DESCRIPTIONS),
            link=next((link for link in links if link), ""),
            labels=tuple(sorted(labels.items())),
        ),
    )


def first(texts: dict[str, str], names: tuple[str, ...]) -> str:
    """The first of these that says anything."""
    return next((texts[name] for name in names if texts.get(name)), "")
