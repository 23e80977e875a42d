"""One disturbance, one incident: what to open, what to join and what to keep quiet about.

Anomalies of one upstream belong together, whichever route, target or signal they show at. Anomalies of a caller
belong to its callee's disturbance when both went wrong at about the same time: the caller is only hurt. The dedup key
names the causal upstream and the signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.detect.places import spoken
from gateway.detect.severity import graver_than, gravest
from gateway.domain.incident import AlertSource, Anomaly, Incident, IncidentState, Place, Severity, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.domain.topology import Topology

# A caller's trouble follows its callee's within timeouts and retries; three minutes is many times those.
_TOGETHER_S = 180.0
# A P1 that began this long after the last one was closed is a new outage, not its tail.
_FRESH_S = 60.0
# What creeps is closed as soon as it stands still for a minute, and goes on growing through the cooldown.
_FAR_WORSE = 2.0

# So many times opened and closed within the cooldown is no series of incidents but one that flaps.
FLAPS = 3
_MOST_RELATED = 10

# Failing says more about a cause than slowness, and both more than a change of traffic.
# What others say comes after what was measured here.
_SIGNALS = (Signal.ERROR_RATE, Signal.SATURATION, Signal.LATENCY, Signal.BUDGET, Signal.ALERT, Signal.TRAFFIC)


class Open(msgspec.Struct, frozen=True):
    """Open an incident with these findings."""

    dedup_key: str
    severity: Severity
    signal: Signal
    place: Place
    onset: float
    title: str
    why: str
    anomalies: tuple[Anomaly, ...]
    related: tuple[str, ...] = ()  # incidents that may have to do with it
    flapping: bool = False


class Measured(msgspec.Struct, frozen=True):
    """What an incident is by our own traffic."""

    signal: Signal
    place: Place
    onset: float
    title: str


class Join(msgspec.Struct, frozen=True):
    """Add these findings to an open incident; ``severity`` is theirs, for raising the incident's if graver.

    ``measured`` is set where so far only others' alerts spoke of it: what the traffic shows is told from now on.
    """

    incident_id: str
    severity: Severity
    why: str
    anomalies: tuple[Anomaly, ...]
    measured: Measured | None = None


class Suppress(msgspec.Struct, frozen=True):
    """Say nothing: the same was closed a moment ago, or an open incident explains it."""

    dedup_key: str
    incident_id: str  # that one
    why: str
    anomalies: tuple[Anomaly, ...]


Decision = Open | Join | Suppress


class Grouper:
    """Decides for one detection pass. Holds no state of its own, so any leader decides alike."""

    def __init__(self, cooldown_s: float = 1800.0) -> None:
        self._cooldown_s = cooldown_s

    def decide(
        self, anomalies: Sequence[Anomaly], incidents: Iterable[Incident], topology: Topology, now: float
    ) -> list[Decision]:
        """What to do about ``anomalies``.

        Args:
            anomalies: all findings of this pass.
            incidents: the open ones and those closed within the cooldown, in any order.
            topology: who calls whom.
            now: seconds since the epoch.
        """
        known = list(incidents)
        open_ones = sorted(
            (one for one in known if one.state is not IncidentState.CLOSED), key=lambda one: (one.onset, one.id)
        )
        closed = [one for one in known if one.state is IncidentState.CLOSED]
        decisions: list[Decision] = []
        waiting: dict[str, list[Anomaly]] = {}
        joining: dict[str, tuple[str, list[Anomaly]]] = {}
        for upstream, found in _by_upstream(anomalies, topology).items():
            if (home := _home(upstream, found, open_ones, topology)) is None:
                if (why_less := _less_asked(upstream, found, open_ones, topology)) is None:
                    waiting[upstream] = found
                else:
                    decisions.append(
                        Suppress(f"{upstream}:{Signal.TRAFFIC}", why_less[0].id, why_less[1], tuple(found))
                    )
            else:
                joining.setdefault(home[0].id, (home[1], []))[1].extend(found)
        for incident_id, (why, found) in joining.items():
            before = next(one for one in open_ones if one.id == incident_id)
            measured = _measured(before, found, topology)
            decisions.append(Join(incident_id, _severity(found), why, tuple(found), measured))
        for cause, members in _disturbances(waiting, topology).items():
            decision = self._open_or_suppress(cause, members, waiting, closed, now)
            if isinstance(decision, Open):
                decision = self._in_context(decision, cause, open_ones, closed, topology, now)
            decisions.append(decision)
        return decisions

    def _in_context(
        self,
        opening: Open,
        cause: str,
        open_ones: list[Incident],
        closed: list[Incident],
        topology: Topology,
        now: float,
    ) -> Open:
        """The opening with what it may have to do with, and whether it flaps."""
        lately = [one for one in closed if now - (one.closed_at or 0.0) < self._cooldown_s]
        same_place = [one for one in lately if _partial(one.dedup_key) == _partial(opening.dedup_key)]
        beside = [one for one in open_ones if cause and topology.related(cause, topology.upstream_at(one.place))]
        times = 1 + sum(one.dedup_key == opening.dedup_key for one in same_place)
        opening = msgspec.structs.replace(
            opening, related=tuple(one.id for one in (*beside, *same_place))[-_MOST_RELATED:]
        )
        if times < FLAPS:
            return opening
        return msgspec.structs.replace(
            opening,
            title=f"Flapping: {opening.title[:1].lower()}{opening.title[1:]}",
            why=f"{opening.why}; it came {times} times within {self._cooldown_s / 60:.0f} min: "
            "this one stays open until it is calm",
            flapping=True,
        )

    def _open_or_suppress(
        self,
        cause: str,
        members: list[str],
        waiting: dict[str, list[Anomaly]],
        closed: list[Incident],
        now: float,
    ) -> Decision:
        own = waiting[cause]
        found = tuple(anomaly for member in members for anomaly in waiting[member])
        signal = min((anomaly.signal for anomaly in own), key=_SIGNALS.index)
        opening = Open(
            dedup_key=f"{cause or 'gateway'}:{signal}",
            severity=_severity(found),
            signal=signal,
            place=_symptom(cause, own, signal),
            onset=min(anomaly.onset for anomaly in found),
            title=_title(cause, own, signal),
            why=_why_together(cause, members),
            anomalies=found,
        )
        if signal is Signal.BUDGET and (spender := _spender(cause, opening.onset, closed)) is not None:
            why = f"incident {spender.id} spent it and was closed a moment ago; the long windows still remember"
            return Suppress(opening.dedup_key, spender.id, why, found)
        before = max(
            (one for one in closed if one.dedup_key == opening.dedup_key),
            key=lambda one: one.closed_at or 0.0,
            default=None,
        )
        if before is None or now - (before.closed_at or 0.0) >= self._cooldown_s:
            return opening
        return _again(opening, before, self._cooldown_s, now)


def _slowest(anomalies: Iterable[Anomaly]) -> float:
    """How far the slowest finding lies beyond what was expected."""
    return max((one.observed - one.expected for one in anomalies if one.signal is Signal.LATENCY), default=0.0)


def _partial(dedup_key: str) -> str:
    """The place without the signal: what may be another face of the same."""
    return dedup_key.partition(":")[0]


def _spender(cause: str, onset: float, closed: list[Incident]) -> Incident | None:
    """The incident of the same service during which its budget began to burn; not one about the budget itself."""
    spent = (
        one
        for one in closed
        if _partial(one.dedup_key) == (cause or "gateway")
        and one.signal is not Signal.BUDGET
        and onset <= (one.closed_at or 0.0)
    )
    return max(spent, key=lambda one: one.closed_at or 0.0, default=None)


def _again(opening: Open, before: Incident, cooldown_s: float, now: float) -> Decision:
    """Whether what was closed a moment ago may open again."""
    closed_at = before.closed_at or 0.0
    ago = f"{now - closed_at:.0f} s ago"
    if graver_than(opening.severity, before.severity):
        why = f"{opening.why}; the same was closed {ago} as {before.severity}, it is {opening.severity} now"
        return msgspec.structs.replace(opening, why=why)
    known = _slowest(before.anomalies)
    if opening.signal is Signal.LATENCY and _slowest(opening.anomalies) >= _FAR_WORSE * known > 0:
        why = f"{opening.why}; the same was closed {ago}, and it is at least twice as slow now"
        return msgspec.structs.replace(opening, why=why)
    if opening.severity is Severity.P1 and opening.onset >= closed_at + _FRESH_S:
        why = f"{opening.why}; the same was closed {ago}, but this outage began afterwards"
        return msgspec.structs.replace(opening, why=why)
    why = f"incident {before.id} with the same cause was closed {ago}, within {cooldown_s:.0f} s, and it is no graver"
    return Suppress(opening.dedup_key, before.id, why, opening.anomalies)


def _by_upstream(anomalies: Sequence[Anomaly], topology: Topology) -> dict[str, list[Anomaly]]:
    groups: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        groups.setdefault(topology.upstream_at(anomaly.place), []).append(anomaly)
    return groups


def _home(
    upstream: str, found: list[Anomaly], open_ones: list[Incident], topology: Topology
) -> tuple[Incident, str] | None:
    """The open incident these findings belong to, and why."""
    for incident in open_ones:
        theirs = {topology.upstream_at(anomaly.place) for anomaly in incident.anomalies}
        theirs.add(topology.upstream_at(incident.place))
        if upstream in theirs:
            return incident, f"same upstream {upstream}" if upstream else "same place"
    onset = min(anomaly.onset for anomaly in found)
    for incident in open_ones:
        other = topology.upstream_at(incident.place)
        apart_s = abs(onset - incident.onset)
        if other and upstream and apart_s <= _TOGETHER_S and topology.related(other, upstream):
            caller, callee = (other, upstream) if upstream in topology.callees(other) else (upstream, other)
            return incident, f"{caller} calls {callee}, and both went wrong within {apart_s:.0f} s"
    return None


def _less_asked(
    upstream: str, found: list[Anomaly], open_ones: list[Incident], topology: Topology
) -> tuple[Incident, str] | None:
    """The open incident because of which an upstream is asked less, and why: who would ask it fails before that.

    Nothing is wrong at the upstream, so the finding is not joined: what breaks there later is an incident of its own.
    """
    if not upstream or any(one.signal is not Signal.TRAFFIC or one.observed >= one.expected for one in found):
        return None
    callers = {name for name in topology.depends_on if upstream in topology.callees(name)}
    for incident in open_ones:
        if incident.signal in {Signal.TRAFFIC, Signal.BUDGET}:
            continue
        hurt = {topology.upstream_at(one.place) for one in incident.anomalies if one.signal is not Signal.TRAFFIC}
        hurt.add(topology.upstream_at(incident.place))
        broken = sorted(name for name in callers if name in hurt or topology.callees(name) & hurt)
        if broken:
            return incident, f"{', '.join(broken)} would call {upstream}, and is hurt by incident {incident.id}"
    return None


def _disturbances(waiting: dict[str, list[Anomaly]], topology: Topology) -> dict[str, list[str]]:
    """Causal upstream → the upstreams of its disturbance, itself first.

    A cause is an anomalous upstream none of whose callees is anomalous at about the same time; a change of traffic
    alone makes nobody a cause of others. With a cycle of calls the earliest stands for all.
    """
    onset = {upstream: min(anomaly.onset for anomaly in found) for upstream, found in waiting.items()}
    harmful = {
        upstream
        for upstream, found in waiting.items()
        if any(anomaly.signal is not Signal.TRAFFIC for anomaly in found)
    }
    order = sorted(waiting, key=lambda upstream: (onset[upstream], upstream))
    explained_by: dict[str, list[str]] = {
        upstream: [
            callee
            for callee in order
            if callee in harmful
            and callee in topology.callees(upstream)
            and abs(onset[callee] - onset[upstream]) <= _TOGETHER_S
        ]
        for upstream in order
    }
    groups: dict[str, list[str]] = {upstream: [upstream] for upstream in order if not explained_by[upstream]}
    for upstream in order:
        if upstream in groups:
            continue
        cause = next((callee for callee in explained_by[upstream] if callee in groups), None)
        if cause is None:
            groups[upstream] = [upstream]
        else:
            groups[cause].append(upstream)
    return groups


def _severity(found: Iterable[Anomaly]) -> Severity:
    return gravest([anomaly.severity for anomaly in found])


def _symptom(cause: str, own: list[Anomaly], signal: Signal) -> Place:
    """The upstream, and the target if exactly one of its targets shows the signal; a route where no upstream is."""
    if not cause:
        return own[0].place
    targets = {anomaly.place.target for anomaly in own if anomaly.place.target and anomaly.signal is signal}
    return Place(upstream=cause, target=targets.pop() if len(targets) == 1 else "")


def _measured(incident: Incident, found: list[Anomaly], topology: Topology) -> Measured | None:
    """What our own findings make of an incident that only alerts spoke of; None where they say nothing new."""
    own = [one for one in found if one.signal not in {Signal.ALERT, Signal.TRAFFIC, Signal.BUDGET}]
    if incident.signal is not Signal.ALERT or not own:
        return None
    signal = min((one.signal for one in own), key=_SIGNALS.index)
    cause = topology.upstream_at(next(one.place for one in own if one.signal is signal))
    own = [one for one in own if topology.upstream_at(one.place) == cause]
    onset = min(one.onset for one in own)
    return Measured(signal, _symptom(cause, own, signal), onset, _title(cause, own, signal))


def _title(cause: str, own: list[Anomaly], signal: Signal) -> str:
    place = _symptom(cause, own, signal)
    telling = [anomaly for anomaly in own if anomaly.signal is signal and anomaly.place == place] or [
        anomaly for anomaly in own if anomaly.signal is signal
    ]
    worst = max(telling, key=lambda anomaly: (anomaly.observed, anomaly.requests))
    where = spoken(place)
    if signal is Signal.ERROR_RATE:
        return f"{worst.observed * 100:.0f} % of requests fail at {where}"
    if signal is Signal.LATENCY:
        return f"{where[0].upper()}{where[1:]} is slow: p95 {worst.observed / 1000:.0f} ms"
    if signal is Signal.SATURATION:
        return f"{worst.observed * 100:.0f} % of requests to {where} are turned away for want of room"
    if signal is Signal.ALERT:
        return f"{AlertSource(worst.detector).spoken} reports trouble at {where}"
    if signal is Signal.BUDGET:
        return f"The error budget of {where} burns {worst.observed:.1f} times too fast"
    direction = "fell" if worst.observed < worst.expected else "rose"
    return f"Traffic {direction} to {worst.observed:.1f} requests/s at {spoken(worst.place)}"


def _why_together(cause: str, members: list[str]) -> str:
    callers = [member for member in members if member != cause]
    if not callers:
        return f"all findings concern upstream {cause}" if cause else "findings at one place"
    return f"{', '.join(callers)} {'calls' if len(callers) == 1 else 'call'} {cause} and went wrong with it"
