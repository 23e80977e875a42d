"""Incidents about ourselves: which symptoms last, and what is opened for them. Pure.

A symptom speaks once it was seen in three of the last four looks (some need one), and goes on speaking with every look
that sees it. Its incident closes when it was silent for half a minute.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from gateway.detect.grouping import FLAPS, Grouper, Join, Open
from gateway.detect.own_parts import Symptom, symptoms
from gateway.domain.incident import Anomaly, IncidentState, Place, Severity, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.detect.grouping import Decision
    from gateway.domain.incident import Incident
    from gateway.domain.own_health import OwnFacts
    from gateway.domain.topology import Topology
    from gateway.domain.window import Window

NAME = "own_trouble"
_LOOKS, _SEEN = 4, 3
_ORDER = tuple(Severity)


class _Watched:
    """One symptom over time."""

    def __init__(self) -> None:
        self.looks: deque[tuple[float, bool]] = deque(maxlen=_LOOKS)
        self.onset: float | None = None  # while it speaks
        self.counted_before = 0


class OwnTrouble:
    """Speaks of our own parts like a detector of traffic.

    Args:
        facts: as they were gathered last.
        open_ones: incidents that are open, so that a control that takes over does not wait for a second opinion.
    """

    def __init__(self, facts: Callable[[], OwnFacts], open_ones: Callable[[], Iterable[Incident]]) -> None:
        self._facts = facts
        self._open_ones = open_ones
        self._watched: dict[str, _Watched] = {}
        self._seen_at = 0.0

    def examine(self, window: Window, now: float) -> list[Anomaly]:  # noqa: ARG002 - a detector like the others
        """Symptoms that last; nothing where no new facts came since the last call."""
        facts = self._facts()
        if facts.at <= self._seen_at:
            return []
        self._seen_at = facts.at
        found = {one.name: one for one in symptoms(facts, now)}
        onsets = {one.place.part: one.onset for one in self._open_ones() if one.signal is Signal.SELF}
        anomalies = []
        for name in sorted(found.keys() | self._watched.keys()):
            watched = self._watched.setdefault(name, _Watched())
            symptom = found.get(name)
            watched.looks.append((now, symptom is not None))
            if symptom is not None and self._speaks(watched, symptom, onsets.get(name), now):
                anomalies.append(_anomaly(symptom, watched, now))
            elif not any(seen for _, seen in watched.looks):
                del self._watched[name]
        return anomalies

    def _speaks(self, watched: _Watched, symptom: Symptom, known_onset: float | None, now: float) -> bool:
        if len([1 for _, seen in watched.looks if seen]) == 1:
            watched.counted_before = min(watched.counted_before or symptom.counted, symptom.counted)
        if watched.onset is None and known_onset is not None:
            watched.onset = known_onset
        if watched.onset is None and (symptom.at_once or sum(seen for _, seen in watched.looks) >= _SEEN):
            watched.onset = now if symptom.at_once else next(at for at, seen in watched.looks if seen)
        return watched.onset is not None


def _anomaly(symptom: Symptom, watched: _Watched, now: float) -> Anomaly:
    rose = max(0, symptom.counted - watched.counted_before)
    so_far = f"; {rose:,} {symptom.counting} so far" if rose and symptom.counting else ""
    return Anomaly(
        detector=NAME,
        signal=Signal.SELF,
        place=Place(part=symptom.name, upstream=symptom.upstream),
        severity=symptom.severity,
        observed=symptom.observed,
        expected=symptom.expected,
        score=float(_LOOKS - _ORDER.index(symptom.severity)),
        requests=rose,
        onset=watched.onset if watched.onset is not None else now,
        seen_at=now,
        reason=f"{symptom.said}: {symptom.effect}{so_far}",
    )


class WithOurs(Grouper):
    """Groups troubles of traffic, and beside them our own: neither takes in the other, but they name each other."""

    def __init__(self, cooldown_s: float = 1800.0) -> None:
        super().__init__(cooldown_s)
        self._our_cooldown_s = cooldown_s

    def decide(
        self, anomalies: Sequence[Anomaly], incidents: Iterable[Incident], topology: Topology, now: float
    ) -> list[Decision]:
        """As :meth:`Grouper.decide`."""
        known = list(incidents)
        traffic = [one for one in anomalies if one.signal is not Signal.SELF]
        others = [one for one in known if one.signal is not Signal.SELF]
        decisions = [
            linked(one, topology.upstream_at(one.place), known) if isinstance(one, Open) else one
            for one in super().decide(traffic, others, topology, now)
        ]
        ours = [one for one in anomalies if one.signal is Signal.SELF]
        return [*decisions, *decide(ours, known, self._our_cooldown_s, now)]


def decide(anomalies: Sequence[Anomaly], known: Sequence[Incident], cooldown_s: float, now: float) -> list[Decision]:
    """What to do about findings of ours: each part has an incident of its own.

    Args:
        anomalies: of :class:`OwnTrouble` alone.
        known: open incidents, and those closed within the cooldown.
        cooldown_s: so many times within it and it flaps: then one stays open until it is calm.
        now: seconds since the epoch.
    """
    decisions: list[Decision] = []
    for anomaly in anomalies:
        key = f"self:{anomaly.place.part}"
        same = [one for one in known if one.dedup_key == key]
        home = next((one for one in same if one.state is not IncidentState.CLOSED), None)
        if home is not None:
            decisions.append(Join(home.id, anomaly.severity, "the same part of the gateway", (anomaly,)))
            continue
        times = 1 + sum(now - (one.closed_at or 0.0) < cooldown_s for one in same)
        flapping = times >= FLAPS
        title = anomaly.reason.partition(": ")[0]
        why = "a part of the gateway itself"
        if flapping:
            title = f"Flapping: {title[:1].lower()}{title[1:]}"
            why += f"; it came {times} times within {cooldown_s / 60:.0f} min: this one stays open until it is calm"
        decisions.append(
            Open(
                dedup_key=key,
                severity=anomaly.severity,
                signal=Signal.SELF,
                place=anomaly.place,
                onset=anomaly.onset,
                title=title,
                why=why,
                anomalies=(anomaly,),
                related=tuple(one.id for one in same) + _hurt(anomaly.place, known),
                flapping=flapping,
            )
        )
    return decisions


def linked(decision: Open, upstream: str, open_ones: Iterable[Incident]) -> Open:
    """An opening about an upstream that trouble of ours explains, with that trouble's incident named."""
    ours = tuple(one.id for one in open_ones if explains(one, upstream))
    return msgspec.structs.replace(decision, related=(*decision.related, *ours)) if ours else decision


def explains(incident: Incident, upstream: str) -> bool:
    """Whether an incident is trouble of ours that hurts this upstream's requests."""
    return (
        incident.signal is Signal.SELF
        and incident.state is not IncidentState.CLOSED
        and upstream != ""
        and any(anomaly.place.upstream == upstream for anomaly in incident.anomalies)
    )


def _hurt(place: Place, known: Iterable[Incident]) -> tuple[str, ...]:
    """Open incidents that this trouble may be behind."""
    return tuple(
        one.id
        for one in known
        if place.upstream
        and one.place.upstream == place.upstream
        and one.state is not IncidentState.CLOSED
        and one.signal is not Signal.SELF
    )
