"""The webhook contact point of Grafana's unified alerting: Alertmanager's alerts with links to panel and dashboard.

https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway.ingest.alertmanager import alert
from gateway.ingest.reported import Body, Reported, each
from gateway.ingest.shape import Item

# A rule without data or with a broken query fires as "DatasourceNoData" or "DatasourceError"; its own name is here.
_NAMES = ("rulename", "alertname")
# What the contact point's button "Test" sends: it fires and is never resolved.
_TEST = {"alertname": "TestAlert", "instance": "Grafana"}
_LINKS = ("panelURL", "dashboardURL", "generatorURL")


def parse(value: Any) -> Body:
    """The alerts of a delivery. Its version counts Grafana's own format, so it is not asked for. Raises ShapeError."""
    body = each(Item(value).many("alerts"), "alerts", partial(alert, name_labels=_NAMES, link_keys=_LINKS))
    return Body(tuple(one for one in body.alerts if not _is_test(one)), body.wrong)


def _is_test(reported: Reported) -> bool:
    return all(reported.labels.get(name) == value for name, value in _TEST.items())
