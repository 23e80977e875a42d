"""Why people are not told of an incident: it is silenced, under maintenance, or the consequence of a graver one. Pure.

A silenced incident exists, is diagnosed and acted on like any other; only telling is kept back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.detect.own_trouble import explains
from gateway.domain.incident import IncidentState, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.domain.incident import Incident, Place
    from gateway.domain.silence import Maintenance, Matcher, Silence
    from gateway.domain.topology import Topology


def why_quiet(
    incident: Incident,
    open_ones: Iterable[Incident],
    silences: Sequence[Silence],
    maintenance: Sequence[Maintenance],
    topology: Topology,
    now: float,
) -> str:
    """The reason in one sentence; empty when people are to be told.

    Args:
        incident: the one in question.
        open_ones: all incidents that are open.
        silences: made by people; those out of their time are passed over.
        maintenance: out of the configuration.
        topology: who calls whom.
        now: seconds since the epoch.
    """
    for silence in silences:
        if silence.starts_at <= now < silence.ends_at and matches(silence.matcher, incident, topology):
            until = datetime.fromtimestamp(silence.ends_at, UTC)
            return f"silenced by {silence.who} until {until:%Y-%m-%d %H:%M} UTC: {silence.why}"
    for planned in maintenance:
        if planned.hours.contain(now) and matches(planned.matcher, incident, topology):
            return f"within the maintenance {planned.name}" + (f": {planned.why}" if planned.why else "")
    return _inhibited(incident, open_ones, topology)


def matches(matcher: Matcher, incident: Incident, topology: Topology) -> bool:
    """Whether the incident is one of those meant."""
    if matcher.severities and incident.severity not in matcher.severities:
        return False
    if matcher.signals and incident.signal not in matcher.signals:
        return False
    if matcher.tenant not in {"", incident.tenant, incident.place.tenant}:
        return False
    return _at(matcher, incident.place, topology)


def _at(matcher: Matcher, place: Place, topology: Topology) -> bool:
    """An upstream takes in its targets and the routes that lead to it, but a route only itself."""
    if matcher.upstream and topology.upstream_at(place) != matcher.upstream:
        return False
    return matcher.route in {"", place.route} and matcher.target in {"", place.target}


def _inhibited(incident: Incident, open_ones: Iterable[Incident], topology: Topology) -> str:
    """Whoever calls a service with a P1 is hurt by it, and one page is enough."""
    upstream = topology.upstream_at(incident.place)
    callees = topology.callees(upstream)
    for other in open_ones:
        if other.id != incident.id and explains(other, upstream) and other.severity <= incident.severity:
            return f"the gateway's own {other.place.part} is in trouble, which explains it: incident {other.id}"
        at = topology.upstream_at(other.place)
        if (
            other.id != incident.id
            and other.severity is Severity.P1
            and other.state is not IncidentState.CLOSED
            and at in callees
            # In a ring of calls the first to break speaks, or each would keep the other quiet.
            and (other.opened_at, other.id) < (incident.opened_at, incident.id)
        ):
            return f"{at}, which it calls, has the P1 incident {other.id}"
    return ""
