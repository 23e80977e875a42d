"""The webhook contact point of Grafana's unified alerting: Alertmanager's alerts with links to panel and dashboard.

https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway.ingest.alertmanager import alert
from gateway.ingest.reported import Body, each
from gateway.ingest.shape import Item

# A rule without data or with a broken query fires as "DatasourceNoData" or "DatasourceError"; its own name is here.
_NAMES = ("rulename", "alertname")
_LINKS = ("panelURL", "dashboardURL", "generatorURL")


def parse(value: Any) -> Body:
    """The alerts of a delivery. Its version counts Grafana's own format, so it is not asked for. Raises ShapeError."""
    return each(Item(value).many("alerts"), "alerts", partial(alert, name_labels=_NAMES, link_keys=_LINKS))
