"""The store as the pipeline uses it: the database while it answers, journal and memory while it does not.

Detection, decisions, actions and audit lines go on during an outage; what they save arrives later.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.audit import AuditEntry
from gateway.domain.incident import Incident, IncidentState
from gateway.domain.paging import Page
from gateway.domain.plan import ActionState
from gateway.errors import NotFoundError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.store.actions import Actions
    from gateway.store.audit import Audit
    from gateway.store.incidents import Incidents
    from gateway.store.journal import Journal

KNOWN = 500  # incidents kept in memory to be shown and decided on while the database is away

_decode_incident = msgspec.json.Decoder(Incident).decode
_decode_entry = msgspec.json.Decoder(AuditEntry).decode


class JournaledIncidents:
    """Incidents that are never lost to an outage and can be read during one."""

    def __init__(self, inner: Incidents, journal: Journal) -> None:
        self._inner = inner
        self._journal = journal
        self._known: dict[str, Incident] = {}
        journal.register("incident", self._carry)
        for incident in self._waiting():
            self._know(incident)

    async def save(self, incident: Incident) -> None:
        """Keep this version; in the journal when the database is away."""
        self._know(incident)
        try:
            await self._inner.save(incident)
        except StoreUnavailableError:
            self._journal.add("incident", incident.id, msgspec.json.encode(incident))
        else:
            await self._journal.carry_over()

    async def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED, oldest first; what the journal knows better counts."""
        found: dict[str, Incident] = {}
        try:
            await self._journal.carry_over()
            found = {incident.id: incident for incident in await self._inner.open_ones()}
        except StoreUnavailableError:
            found = dict(self._known)
        for waiting in self._waiting():
            if waiting.id not in found or found[waiting.id].version < waiting.version:
                found[waiting.id] = waiting
        for incident in found.values():
            self._know(incident)
        still = [incident for incident in found.values() if incident.state is not IncidentState.CLOSED]
        return sorted(still, key=lambda incident: (incident.opened_at, incident.id))

    async def get(self, incident_id: str) -> Incident:
        """Raises NotFoundError."""
        try:
            return self._newer(await self._inner.get(incident_id))
        except (StoreUnavailableError, NotFoundError):
            if incident_id in self._known:
                return self._known[incident_id]
            raise

    async def of_action(self, action_id: str) -> Incident:
        """The incident an action belongs to. Raises NotFoundError."""
        try:
            return self._newer(await self._inner.of_action(action_id))
        except (StoreUnavailableError, NotFoundError):
            for incident in self._known.values():
                if any(action.id == action_id for action in incident.actions):
                    return incident
            raise

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        """Newest first. While the database is away: one page of what is known in memory."""
        try:
            return await self._inner.page(state=state, severity=severity, limit=limit, cursor=cursor)
        except StoreUnavailableError:
            found = [
                incident
                for incident in self._known.values()
                if _matches(incident, state) and severity in {"", str(incident.severity)}
            ]
        found.sort(key=lambda incident: (incident.opened_at, incident.id), reverse=True)
        return Page(tuple(found[: max(1, limit)]))

    def _waiting(self) -> list[Incident]:
        found = []
        for body in self._journal.of_kind("incident"):
            # One that another version wrote is left for carrying over, which sets it aside and says so.
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(_decode_incident(body))
        return found

    def _newer(self, stored: Incident) -> Incident:
        known = self._known.get(stored.id)
        return known if known is not None and known.version > stored.version else stored

    def _know(self, incident: Incident) -> None:
        known = self._known.pop(incident.id, incident)
        self._known[incident.id] = incident if incident.version >= known.version else known
        while len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    async def _carry(self, body: bytes) -> None:
        await self._inner.save(_decode_incident(body))


class JournaledAudit:
    """An audit trail that misses no line."""

    def __init__(self, inner: Audit, journal: Journal) -> None:
        self._inner = inner
        self._journal = journal
        journal.register("audit", self._carry)

    async def write(self, entry: AuditEntry) -> None:
        """Add one line; to the journal when the database is away."""
        try:
            await self._inner.write(entry)
        except StoreUnavailableError:
            body = msgspec.json.encode(entry)
            self._journal.add("audit", hashlib.sha256(body).hexdigest(), body)
        else:
            await self._journal.carry_over()

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[AuditEntry]:
        """Newest first; what waits in the journal stands at the head of the first page when the database is away."""
        try:
            return await self._inner.page(limit=limit, cursor=cursor)
        except StoreUnavailableError:
            waiting = [_decode_entry(body) for body in self._journal.of_kind("audit")]
        return Page(tuple(reversed(waiting))[: max(1, limit)])

    async def _carry(self, body: bytes) -> None:
        await self._inner.write(_decode_entry(body))


class _Claim(msgspec.Struct, frozen=True):
    action_id: str
    from_state: ActionState
    to_state: ActionState


_decode_claim = msgspec.json.Decoder(_Claim).decode


class JournaledActions:
    """Decisions that happen once, also while the database is away.

    Then this control alone decides, from memory. That is safe as long as one control leads: nobody can win the lease
    while the database is away, and what another part of a broken network decides carries a higher fencing token.
    """

    def __init__(self, inner: Actions, journal: Journal, fence: Callable[[], int] = lambda: 0) -> None:
        """``fence`` gives the leader's token as of the call."""
        self._fence = fence
        self._inner = inner
        self._journal = journal
        self._states: dict[str, ActionState] = {}
        journal.register("claim", self._carry)
        for body in journal.of_kind("claim"):
            with contextlib.suppress(msgspec.MsgspecError):
                claim = _decode_claim(body)
                self._states[claim.action_id] = claim.to_state

    async def claim(self, action_id: str, from_state: ActionState, to_state: ActionState) -> bool:
        """Move an action on; True for exactly one of any number of callers who try the same step."""
        if self._states.get(action_id, from_state) is not from_state:
            return False
        try:
            # What waits goes first: the row of an action that was planned during an outage may still be in the journal.
            await self._journal.carry_over()
            won = await self._inner.claim(action_id, from_state, to_state)
        except StoreUnavailableError:
            if self._states.get(action_id, from_state) is not from_state:
                return False  # decided while this caller was waiting for the database
            self._remember(action_id, to_state)
            body = msgspec.json.encode(_Claim(action_id, from_state, to_state))
            self._journal.add("claim", f"{action_id} {to_state}", body)
            return True
        if won:
            self._remember(action_id, to_state)
        return won

    async def begin(self, action_id: str) -> bool:
        """APPROVED → RUNNING in the store alone: what cannot be undone by waiting is not begun from memory.

        Raises:
            StoreUnavailableError: it is not begun.
        """
        if self._states.get(action_id, ActionState.APPROVED) is not ActionState.APPROVED:
            return False
        if not await self._journal.carry_over():
            raise StoreUnavailableError("what waits for the store has not arrived there yet")
        won = await self._inner.begin(action_id, self._fence())
        if won:
            self._remember(action_id, ActionState.RUNNING)
        return won

    def _remember(self, action_id: str, state: ActionState) -> None:
        self._states[action_id] = state
        while len(self._states) > KNOWN:
            del self._states[next(iter(self._states))]

    async def _carry(self, body: bytes) -> None:
        claim = _decode_claim(body)
        await self._inner.claim(claim.action_id, claim.from_state, claim.to_state)


def _matches(incident: Incident, state: str) -> bool:
    if state == "open":
        return incident.state is not IncidentState.CLOSED
    return state in {"", str(incident.state)}
