"""Every endpoint of /api/v1, in the order of the documentation."""

from __future__ import annotations

from gateway.admin.api import (
    alerts,
    configuration,
    deploys,
    events,
    incidents,
    keys,
    objectives,
    replay,
    requests,
    revocations,
    runbooks,
    session,
    silences,
    slack,
    stop,
    telling,
    traffic,
    trail,
    users,
)

ENDPOINTS = (
    *session.ENDPOINTS,
    *traffic.ENDPOINTS,
    *objectives.ENDPOINTS,
    *replay.ENDPOINTS,
    *silences.ENDPOINTS,
    *runbooks.ENDPOINTS,
    *alerts.ENDPOINTS,
    *deploys.ENDPOINTS,
    *requests.ENDPOINTS,
    *incidents.ENDPOINTS,
    *stop.ENDPOINTS,
    *telling.ENDPOINTS,
    *slack.ENDPOINTS,
    *users.ENDPOINTS,
    *keys.ENDPOINTS,
    *revocations.ENDPOINTS,
    *configuration.ENDPOINTS,
    *events.ENDPOINTS,
    *trail.ENDPOINTS,
)
