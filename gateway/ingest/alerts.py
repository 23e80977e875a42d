"""From the raw body of a webhook to alerts, whichever monitoring sent it. Nothing in a body makes this raise."""

from __future__ import annotations

import msgspec

from gateway.domain.incident import AlertSource
from gateway.ingest import alertmanager, datadog, generic, grafana
from gateway.ingest.reported import Body, Parse, Wrong
from gateway.ingest.shape import ShapeError

_PARSERS: dict[AlertSource, Parse] = {
    AlertSource.ALERTMANAGER: alertmanager.parse,
    AlertSource.GRAFANA: grafana.parse,
    AlertSource.DATADOG: datadog.parse,
    AlertSource.GENERIC: generic.parse,
}

KINDS = tuple(_PARSERS)  # of which there is an endpoint


def read(source: AlertSource, raw: bytes) -> Body:
    """What the body holds, and what in it is wrong."""
    try:
        return _PARSERS[source](msgspec.json.decode(raw))
    except ShapeError as error:
        return Body((), (Wrong(error.path, str(error)),))
    except RecursionError:
        return Body((), (Wrong("", "is nested too deeply"),))
    except UnicodeError:
        return Body((), (Wrong("", "is not UTF-8"),))
    except msgspec.MsgspecError as error:
        return Body((), (Wrong("", f"is not JSON: {error}"),))
