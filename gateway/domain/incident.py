"""Anomalies, and the incident they belong to. The life cycle is the table below; code only looks it up."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.domain.diagnosis import Diagnosis
from gateway.domain.plan import Action
from gateway.errors import ConflictError


class Severity(StrEnum):
    """P1 wakes people, P4 waits for the morning."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


class Signal(StrEnum):
    """What went wrong."""

    ERROR_RATE = "error_rate"  # errors per request
    LATENCY = "latency"  # p95, microseconds
    TRAFFIC = "traffic"  # requests per second
    SATURATION = "saturation"  # share of requests turned away here for want of room
    BUDGET = "budget"  # an error budget's burn rate
    SELF = "self"  # a part of the gateway itself is in trouble: how much, in that part's own measure
    ALERT = "alert"  # somebody else's monitoring says so: how many of its alerts fire


class Place(msgspec.Struct, frozen=True):
    """Where: a combination of dimensions; an empty field means "any"."""

    route: str = ""
    upstream: str = ""
    target: str = ""
    tenant: str = ""
    status: int = 0
    part: str = ""  # of the gateway itself: "redis", "notify:ops"

    def __str__(self) -> str:
        """Such as ``upstream payments, target 127.0.0.1:9001``; ``all traffic`` when empty."""
        named = [
            f"{name} {value}"
            for name, value in (
                ("route", self.route),
                ("upstream", self.upstream),
                ("target", self.target),
                ("tenant", self.tenant),
                ("status", self.status),
                ("the gateway's own", self.part),
            )
            if value
        ]
        return ", ".join(named) or "all traffic"


class Anomaly(msgspec.Struct, frozen=True):
    """One detector's finding at one place."""

    detector: str  # its name, such as "threshold" or "hard_failure"
    signal: Signal
    place: Place
    severity: Severity
    observed: float  # in the signal's unit
    expected: float
    score: float  # z, or a likelihood-ratio statistic: comparable within one detector
    requests: int  # how many stand behind it
    onset: float  # seconds since the epoch: when it seems to have begun
    seen_at: float
    reason: str  # one sentence, built from numbers and configured names only


class AlertSource(StrEnum):
    """Whose alert it is, by the endpoint it came to."""

    ALERTMANAGER = "alertmanager"
    GRAFANA = "grafana"
    DATADOG = "datadog"
    GENERIC = "generic"
    ELASTICSEARCH = "elasticsearch"  # of no endpoint: found by us in its figures

    @property
    def spoken(self) -> str:
        """The name people know."""
        return "Another monitor" if self is AlertSource.GENERIC else self.value.capitalize()


class AlertWords(msgspec.Struct, frozen=True):
    """What the alert itself says: somebody else's text, cut, but as hostile as any. Never part of our sentences."""

    name: str = ""
    summary: str = ""
    description: str = ""
    link: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class ExternalAlert(msgspec.Struct, frozen=True):
    """An alert of somebody else's monitoring. It fires until it is resolved, or nothing was heard of it for long."""

    fingerprint: str  # 32 hex digits: the same alert of the same source, however often it is told
    source: AlertSource
    severity: Severity
    place: Place  # names of the configuration; empty: nothing it names is configured here
    starts_at: float
    received_at: float  # first heard of, this time
    heard_at: float  # last heard of
    words: AlertWords = AlertWords()
    ended_at: float | None = None  # None while it fires
    resolved: bool = False  # whether its own monitoring ended it; else it was not heard of for too long
    set_aside: bool = False  # the incident it spoke of was closed by hand: it says no more until it fires anew


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "OPEN"
    ANALYZING = "ANALYZING"
    MITIGATING = "MITIGATING"
    CLOSED = "CLOSED"


TRANSITIONS: dict[IncidentState, frozenset[IncidentState]] = {
    IncidentState.OPEN: frozenset({IncidentState.ANALYZING, IncidentState.CLOSED}),
    IncidentState.ANALYZING: frozenset({IncidentState.MITIGATING, IncidentState.CLOSED}),
    IncidentState.MITIGATING: frozenset({IncidentState.ANALYZING, IncidentState.CLOSED}),
    IncidentState.CLOSED: frozenset(),
}


class TimelineEntry(msgspec.Struct, frozen=True):
    """One line of an incident's story. ``kind`` is an event name such as ``incident.opened`` or ``action.verified``."""

    at: float
    kind: str
    text: str
    actor: str = "sentinel"


class Incident(msgspec.Struct, frozen=True):
    """One disturbance and all that was found out and done. Saved whole; ``version`` rises with every change."""

    id: str
    dedup_key: str
    state: IncidentState
    severity: Severity
    signal: Signal
    place: Place  # where it shows (the symptom)
    title: str
    opened_at: float
    onset: float
    updated_at: float
    version: int = 1
    tenant: str = ""  # empty: concerns the operator, not one tenant
    closed_at: float | None = None
    close_reason: str = ""
    last_anomaly_at: float = 0.0
    anomalies: tuple[Anomaly, ...] = ()  # the latest of each (detector, signal, place), at most 50
    diagnosis: Diagnosis | None = None
    actions: tuple[Action, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()  # at most 500
    untold: str = ""  # why people were not told of it (a silence, say); empty: they are told
    related: tuple[str, ...] = ()  # other incidents that may have to do with it, none swallowed by the other
    flapping: bool = False  # the same came and went again and again: it stays open until it is calm for long
    acknowledged_by: str = ""  # who takes care of it; empty: nobody said so yet
    acknowledged_at: float | None = None
    alerts: tuple[ExternalAlert, ...] = ()  # of other monitoring that speak of it, the latest of each, at most 20

    def moved_to(self, state: IncidentState) -> Incident:
        """This incident in another state.

        Raises:
            ConflictError: the table does not allow the step.
        """
        if state not in TRANSITIONS[self.state]:
            raise ConflictError(f"incident {self.id} is {self.state}; it cannot become {state}")
        return msgspec.structs.replace(self, state=state)


class Change(msgspec.Struct, frozen=True):
    """Something that was changed on purpose, for "what changed just before": a configuration revision, a deploy."""

    at: float
    kind: str  # "config", "deploy", "directive"
    title: str
    reference: str = ""  # revision number or deploy id
    actor: str = ""
    place: Place = Place()
    diff: str = ""
