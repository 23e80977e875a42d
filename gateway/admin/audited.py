"""One audit line for every decision and every configuration applied, whichever page or endpoint it came from.

``ports = audited(ports)`` wraps the two ports that act for a named actor. Users, keys and sessions are written by the
endpoints themselves, because their ports do not know who asks.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gateway import logs
from gateway.domain.audit import AuditEntry
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.admin.ports import AdminPorts, Audit, Configuration, Decisions
    from gateway.domain.audit import ConfigDifference, ConfigRevision
    from gateway.domain.identity import Actor
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action

_log = logs.get("admin")


def audited(ports: AdminPorts) -> AdminPorts:
    """The same ports; decisions and applied configurations leave a line in ``ports.audit``."""
    return dataclasses.replace(
        ports,
        decisions=_Decisions(ports.decisions, ports.audit, ports.clock),
        configuration=_Configuration(ports.configuration, ports.audit, ports.clock),
    )


def name_of(actor: Actor) -> str:
    """As audit lines name an actor: "user ana@example.org", "cli root"."""
    return f"{actor.kind} {actor.name}"


async def write(audit: Audit, entry: AuditEntry) -> None:
    """Write the line of a change that has happened: too late to refuse it, so a dead store is only logged."""
    try:
        await audit.write(entry)
    except StoreUnavailableError as error:
        _log.error("audit.not_written", verb=entry.verb, actor=entry.actor, subject=entry.subject, error=str(error))


class _Decisions:
    def __init__(self, inner: Decisions, audit: Audit, clock: Callable[[], float]) -> None:
        self._inner, self._audit, self._clock = inner, audit, clock

    async def approve(self, action_id: str, actor: Actor, fingerprint: str = "") -> Action:
        action = await self._inner.approve(action_id, actor, fingerprint)
        await self._line(actor, "action.approved", _of(action), action.tenant, effect=action.effect)
        return action

    async def reject(self, action_id: str, actor: Actor, reason: str) -> Action:
        action = await self._inner.reject(action_id, actor, reason)
        await self._line(actor, "action.rejected", _of(action), action.tenant, reason=reason)
        return action

    async def take_back(self, action_id: str, actor: Actor, reason: str) -> Action:
        action = await self._inner.take_back(action_id, actor, reason)
        await self._line(actor, "action.taken_back", _of(action), action.tenant, reason=reason)
        return action

    async def acknowledge(self, incident_id: str, actor: Actor) -> Incident:
        incident = await self._inner.acknowledge(incident_id, actor)
        await self._line(actor, "incident.acknowledged", f"incident {incident.id}", incident.tenant)
        return incident

    async def close(self, incident_id: str, actor: Actor, reason: str) -> Incident:
        incident = await self._inner.close(incident_id, actor, reason)
        await self._line(actor, "incident.closed", f"incident {incident.id}", incident.tenant, reason=reason)
        return incident

    async def _line(self, actor: Actor, verb: str, subject: str, tenant: str, **detail: str) -> None:
        entry = AuditEntry(
            at=self._clock(), actor=name_of(actor), verb=verb, subject=subject, tenant=tenant, detail=detail
        )
        await write(self._audit, entry)


class _Configuration:
    def __init__(self, inner: Configuration, audit: Audit, clock: Callable[[], float]) -> None:
        self._inner, self._audit, self._clock = inner, audit, clock

    def text(self) -> str:
        return self._inner.text()

    def check(self, text: str) -> Sequence[str]:
        return self._inner.check(text)

    async def difference(self, text: str) -> ConfigDifference:
        return await self._inner.difference(text)

    async def revision(self, number: int) -> ConfigRevision:
        return await self._inner.revision(number)

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        return await self._inner.history(limit=limit)

    async def rollback(self, number: int, actor: Actor, note: str = "") -> ConfigRevision:
        made = await self._inner.rollback(number, actor, note)
        await self._line(actor, "config.rolled_back", made, back_to=str(number), note=note)
        return made

    async def apply(self, text: str, actor: Actor, note: str = "") -> ConfigRevision:
        made = await self._inner.apply(text, actor, note)
        await self._line(actor, "config.applied", made, note=note)
        return made

    async def _line(self, actor: Actor, verb: str, made: ConfigRevision, **detail: str) -> None:
        entry = AuditEntry(
            at=self._clock(), actor=name_of(actor), verb=verb, subject=f"revision {made.revision}", detail=detail
        )
        await write(self._audit, entry)


def _of(action: Action) -> str:
    return f"action {action.id} of incident {action.incident_id}"
