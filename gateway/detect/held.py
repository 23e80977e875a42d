"""What is in trouble now, and since when: no baseline learns it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.incident import IncidentState, Signal
from gateway.domain.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.incident import Incident, Place


class Held:
    """Every place of an upstream with an open incident: the upstream, its targets and the routes that lead to it.

    A change of traffic is left out: more or fewer callers may be how things are from now on, and hurt nobody. So is
    what only others' alerts speak of: here nothing is unusual, and such an alert may fire for days.
    """

    def __init__(self, incidents: Iterable[Incident] = (), topology: Topology | None = None) -> None:
        self._topology = topology or Topology()
        self._since: dict[str, float] = {}
        for incident in incidents:
            if incident.state is IncidentState.CLOSED or incident.signal in {Signal.TRAFFIC, Signal.ALERT}:
                continue
            for place in (incident.place, *(anomaly.place for anomaly in incident.anomalies)):
                upstream = self._topology.upstream_at(place)
                if upstream:
                    self._since[upstream] = min(incident.onset, self._since.get(upstream, incident.onset))

    def __bool__(self) -> bool:
        """Whether anything is in trouble."""
        return bool(self._since)

    def __eq__(self, other: object) -> bool:
        """Whether the same is in trouble since the same time."""
        return isinstance(other, Held) and self._since == other._since

    __hash__ = None  # type: ignore[assignment] # compared, never looked up

    @property
    def earliest(self) -> float:
        """When the oldest of the troubles began; infinity without any."""
        return min(self._since.values(), default=float("inf"))

    def since(self, place: Place) -> float | None:
        """When the trouble at this place began; None where all is well."""
        return self._since.get(self._topology.upstream_at(place)) if self._since else None
