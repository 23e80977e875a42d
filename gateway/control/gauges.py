"""What /metrics says about control itself: incidents, actions, targets, workers, revision."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from gateway.domain.incident import Severity
from gateway.domain.plan import ActionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.admin.exposition import Meters
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action
    from gateway.domain.snapshot import Snapshot

T = TypeVar("T")

MOST_REMEMBERED = 10_000
_TAKES_ALL = 1
_TAKES_LESS = 0


class Gauges:
    """Raises and sets what no record carries.

    Args:
        meters: the registry.
        snapshot: what is in force.
        publish: given which incident each affected route has, for problem documents.
    """

    def __init__(
        self,
        meters: Meters,
        *,
        snapshot: Callable[[], Snapshot],
        publish: Callable[[Mapping[str, str]], object],
    ) -> None:
        self._meters = meters
        self._snapshot = snapshot
        self._publish = publish
        self._opened: dict[str, None] = {}
        self._outcomes: dict[tuple[str, str], None] = {}
        self.incidents(())

    def incidents(self, open_ones: Sequence[Incident]) -> None:
        """The open incidents after a change."""
        by_severity = Counter(incident.severity for incident in open_ones)
        self._meters.set_all("sentinel_incidents_open", {(str(one),): float(by_severity[one]) for one in Severity})
        for incident in open_ones:
            if incident.id not in self._opened:
                _remember(self._opened, incident.id)
                self._meters.count("sentinel_incidents_total", str(incident.severity))
        self._publish(self._by_route(open_ones))

    def action(self, action: Action) -> None:
        """An action after a change; each outcome of it counts once."""
        outcomes = []
        if action.state not in {ActionState.PENDING, ActionState.APPROVED, ActionState.RUNNING}:
            outcomes.append(action.state.lower())
        if action.outcome is not None and action.outcome.verdict != "watching":
            outcomes.append(action.outcome.verdict)
        for outcome in outcomes:
            if (action.id, outcome) not in self._outcomes:
                _remember(self._outcomes, (action.id, outcome))
                self._meters.count("sentinel_actions_total", str(action.kind), outcome)

    def _by_route(self, open_ones: Sequence[Incident]) -> dict[str, str]:
        """The oldest open incident that touches each route, by its own name or by its upstream's."""
        found: dict[str, str] = {}
        for incident in open_ones:
            routes = {anomaly.place.route for anomaly in incident.anomalies}
            # An alert of the whole gateway names no upstream, and nor does a route that redirects.
            upstreams = {anomaly.place.upstream for anomaly in incident.anomalies} - {""}
            for route in self._snapshot().routes:
                if route.name in routes or route.upstream in upstreams:
                    found.setdefault(route.name, incident.id)
        return found

    def look(self, states: Mapping[tuple[str, str], str], workers: int) -> None:
        """What stands at the moment."""
        self._meters.set("sentinel_snapshot_revision", self._snapshot().revision)
        self._meters.set("sentinel_workers", workers)
        self._meters.set_all(
            "sentinel_target_healthy",
            {key: _TAKES_ALL if state == "ok" else _TAKES_LESS for key, state in states.items()},
        )


def _remember(known: dict[T, None], key: T) -> None:
    known[key] = None
    while len(known) > MOST_REMEMBERED:
        del known[next(iter(known))]
