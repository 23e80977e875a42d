"""The incidents control is busy with: in memory, and saved version by version.

Every change to an incident goes through :meth:`Casebook.save`, which adds lines to its story, makes the next version
and keeps it, before anything that follows from it is done.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.domain.incident import Incident, IncidentState, TimelineEntry
from gateway.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.detect.grouping import Join, Open
    from gateway.domain.plan import Action

MAX_ANOMALIES = 50
MAX_TIMELINE = 500
MAX_RELATED = 20


class IncidentStore(Protocol):
    """Where incidents are kept; a wrapper journals them while the database is away."""

    async def save(self, incident: Incident) -> None:
        """Idempotent by id and version."""
        ...

    async def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED."""
        ...


class Casebook:
    """Open incidents, and closed ones for as long as a cooldown needs them.

    Args:
        store: where every version is kept.
        on_open: told the open incidents after every change.
        on_action: told every action that changed.
    """

    def __init__(
        self,
        store: IncidentStore,
        *,
        on_open: Callable[[Sequence[Incident]], None],
        on_action: Callable[[Action], None],
    ) -> None:
        self._store = store
        self._on_open = on_open
        self._on_action = on_action
        self._known: dict[str, Incident] = {}

    async def load(self) -> None:
        """Take over what is open according to the store; what this book knows later versions of stays as it is."""
        found = {incident.id: incident for incident in await self._store.open_ones()}
        closed = {one.id: one for one in self._known.values() if one.state is IncidentState.CLOSED}
        ahead = {
            one.id: one for one in self._known.values() if one.id in found and one.version >= found[one.id].version
        }
        self._known = closed | found | ahead
        self._on_open(self.open_ones)

    def __contains__(self, incident_id: str) -> bool:
        return incident_id in self._known

    def __getitem__(self, incident_id: str) -> Incident:
        return self._known[incident_id]

    @property
    def all(self) -> Sequence[Incident]:
        """Open ones, and closed ones within the cooldown."""
        return tuple(self._known.values())

    @property
    def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED, oldest first."""
        found = [one for one in self._known.values() if one.state is not IncidentState.CLOSED]
        return sorted(found, key=lambda one: (one.opened_at, one.id))

    def open_one(self, incident_id: str) -> Incident:
        """An incident in the book. Raises NotFoundError."""
        incident = self._known.get(incident_id)
        if incident is None:
            raise NotFoundError(f"there is no open incident {incident_id!r}")
        return incident

    def of_action(self, action_id: str) -> Action:
        """An action of an incident in the book. Raises NotFoundError."""
        for incident in self._known.values():
            for action in incident.actions:
                if action.id == action_id:
                    return action
        raise NotFoundError(f"there is no action {action_id!r} in an open incident")

    def note(self, incident: Incident) -> None:
        """Remember a change that is not worth a version: the same anomaly seen again, a verification under way."""
        self._known[incident.id] = incident

    async def save(self, incident: Incident, *entries: TimelineEntry) -> Incident:
        """The next version of ``incident`` with these lines added to its story; kept before this returns."""
        incident = msgspec.structs.replace(
            incident,
            version=incident.version + 1,
            updated_at=entries[-1].at if entries else incident.updated_at,
            timeline=(*incident.timeline, *entries)[-MAX_TIMELINE:],
        )
        self._known[incident.id] = incident
        await self._store.save(incident)
        self._on_open(self.open_ones)
        return incident

    async def acknowledge(self, incident_id: str, who: str, now: float) -> Incident:
        """Note that somebody takes care of it.

        Raises:
            NotFoundError: it is not in the book.
            ConflictError: somebody does already, or it is closed.
        """
        incident = self.open_one(incident_id)
        if incident.state is IncidentState.CLOSED:
            raise ConflictError(f"incident {incident_id} is CLOSED; there is nothing left to take care of")
        if incident.acknowledged_by:
            raise ConflictError(f"incident {incident_id} was acknowledged by {incident.acknowledged_by} already")
        incident = msgspec.structs.replace(incident, acknowledged_by=who, acknowledged_at=now)
        entry = TimelineEntry(now, "incident.acknowledged", f"{who} takes care of it.", actor=who)
        return await self.save(incident, entry)

    async def save_action(self, action: Action, *entries: TimelineEntry) -> Incident:
        """As :meth:`save`, for one action of an incident."""
        incident = await self.save(with_action(self._known[action.incident_id], action), *entries)
        self._on_action(action)
        return incident

    def relate(self, incident: Incident) -> None:
        """Name an incident in the open ones it names itself; kept with their next version."""
        for other in self.open_ones:
            if other.id in incident.related and incident.id not in other.related:
                self.note(msgspec.structs.replace(other, related=(*other.related, incident.id)[-MAX_RELATED:]))

    def forget_closed(self, before: float) -> None:
        """Let go of what was closed before that time."""
        for incident in self.all:
            if incident.closed_at is not None and incident.closed_at < before:
                del self._known[incident.id]


def with_action(incident: Incident, action: Action) -> Incident:
    """The incident with that action in place of its earlier self, or added at the end."""
    if any(one.id == action.id for one in incident.actions):
        actions = tuple(action if one.id == action.id else one for one in incident.actions)
    else:
        actions = (*incident.actions, action)
    return msgspec.structs.replace(incident, actions=actions)


def opened(decision: Open, now: float) -> Incident:
    """The incident that a grouping decision opens."""
    # The id follows from what it is, so that whoever leads opens the same incident once.
    identity = sha256(f"{decision.dedup_key}\x1f{decision.onset:.0f}".encode()).hexdigest()
    return Incident(
        id=f"in-{identity[:8]}",
        dedup_key=decision.dedup_key,
        state=IncidentState.OPEN,
        severity=decision.severity,
        signal=decision.signal,
        place=decision.place,
        title=decision.title,
        opened_at=now,
        onset=decision.onset,
        updated_at=now,
        version=0,
        last_anomaly_at=now,
        anomalies=decision.anomalies[:MAX_ANOMALIES],
        related=decision.related,
        flapping=decision.flapping,
    )


def joined(incident: Incident, decision: Join, now: float) -> Incident:
    """The incident with what belongs to it as well; the latest of each finding is kept, the graver severity counts."""
    latest = {(one.detector, one.signal, one.place): one for one in (*incident.anomalies, *decision.anomalies)}
    incident = msgspec.structs.replace(
        incident,
        anomalies=tuple(latest.values())[-MAX_ANOMALIES:],
        severity=min(incident.severity, decision.severity),  # P1 sorts before P4
        last_anomaly_at=now,
    )
    if (own := decision.measured) is None:
        return incident
    return msgspec.structs.replace(incident, signal=own.signal, place=own.place, onset=own.onset, title=own.title)
