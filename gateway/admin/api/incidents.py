"""Incidents and the decisions people take on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from gateway.admin import tenancy
from gateway.admin.api.endpoint import Api, Call, Endpoint, Handler, actor_of
from gateway.admin.api.shapes import (
    ActionShape,
    DiagnosisShape,
    IncidentRow,
    IncidentShape,
    Listing,
    TimelineShape,
    listing,
    shown,
)
from gateway.domain.diagnosis import Evidence
from gateway.domain.identity import Role
from gateway.domain.paging import Page
from gateway.errors import NotFoundError

if TYPE_CHECKING:
    from gateway.domain.incident import Incident

Reason = Annotated[str, msgspec.Meta(max_length=1000)]
Given = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class IncidentQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which incidents; newest first. ``state`` "open" is everything that is not CLOSED."""

    state: Literal["", "open", "OPEN", "ANALYZING", "MITIGATING", "CLOSED"] = ""
    severity: Literal["", "P1", "P2", "P3", "P4"] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


class AcknowledgeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is asked: who does it is known."""


class CloseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the incident is over."""

    reason: Given


class RejectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the action is declined."""

    reason: Reason = ""


class ApproveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``fingerprint`` is the action's own, as it was shown: the approval then holds for exactly that."""

    fingerprint: Annotated[str, msgspec.Meta(max_length=64)] = ""


async def list_incidents(api: Api, call: Call) -> Listing[IncidentRow]:
    """Incidents, newest first."""
    asked: IncidentQuery = call.query

    async def read(cursor: str) -> Page[Incident]:
        return await api.ports.incidents.page(
            state=asked.state, severity=asked.severity, limit=asked.limit, cursor=cursor
        )

    page = await tenancy.own_page(actor_of(api, call), read, asked.cursor, limit=asked.limit)
    return listing(page, IncidentRow)


async def get_incident(api: Api, call: Call) -> IncidentShape:
    """One incident whole."""
    return shown(await _own(api, call), IncidentShape)


async def get_timeline(api: Api, call: Call) -> Listing[TimelineShape]:
    """The story of an incident, in order of time."""
    incident = await _own(api, call)
    return listing(Page(items=incident.timeline), TimelineShape)


async def get_evidence(api: Api, call: Call) -> Listing[Evidence]:
    """The facts an incident's claims rest on."""
    incident = await _own(api, call)
    return Listing(items=incident.diagnosis.evidence if incident.diagnosis else ())


async def get_diagnosis(api: Api, call: Call) -> DiagnosisShape:
    """Hypotheses and report of an incident."""
    incident = await _own(api, call)
    if incident.diagnosis is None:
        raise NotFoundError(
            f"incident {incident.id} has no diagnosis yet", remedy="It is made within seconds of opening; ask again."
        )
    return shown(incident.diagnosis, DiagnosisShape)


async def get_plan(api: Api, call: Call) -> Listing[ActionShape]:
    """The actions of an incident: proposed, running and done."""
    incident = await _own(api, call)
    return listing(Page(items=incident.actions), ActionShape)


async def acknowledge_incident(api: Api, call: Call) -> IncidentShape:
    """Say that one takes care of an incident: reminders end, and nobody else is called. 409 says who was first."""
    incident = await _own(api, call)
    return shown(await api.ports.decisions.acknowledge(incident.id, actor_of(api, call)), IncidentShape)


async def close_incident(api: Api, call: Call) -> IncidentShape:
    """Close an incident by hand: pending actions lapse, running ones are taken back."""
    incident = await _own(api, call)
    closed = await api.ports.decisions.close(incident.id, actor_of(api, call), call.body.reason)
    return shown(closed, IncidentShape)


async def approve_action(api: Api, call: Call) -> ActionShape:
    """Run a pending action. 409 says who was first."""
    action_id = await _own_action(api, call)
    return shown(await api.ports.decisions.approve(action_id, actor_of(api, call), call.body.fingerprint), ActionShape)


async def reject_action(api: Api, call: Call) -> ActionShape:
    """Decline a pending action. 409 says who was first."""
    action_id = await _own_action(api, call)
    return shown(await api.ports.decisions.reject(action_id, actor_of(api, call), call.body.reason), ActionShape)


async def take_back_action(api: Api, call: Call) -> ActionShape:
    """Take an action that is in force back at once; stopping all actions does not stop this. 409 where it is not."""
    action_id = await _own_action(api, call)
    return shown(await api.ports.decisions.take_back(action_id, actor_of(api, call), call.body.reason), ActionShape)


async def _own(api: Api, call: Call) -> Incident:
    incident_id = call.path("id")
    incident = await api.ports.incidents.get(incident_id)
    return tenancy.own(actor_of(api, call), incident, f"incident {incident_id}")


async def _own_action(api: Api, call: Call) -> str:
    """The action's id, once it is certain that the caller may see its incident."""
    action_id = call.path("id")
    incident = await api.ports.incidents.of_action(action_id)
    tenancy.own(actor_of(api, call), incident, f"action {action_id}")
    return action_id


def _reading(path: str, handler: Handler, answer: object, query: type[msgspec.Struct] | None = None) -> Endpoint:
    return Endpoint(
        method="GET", path=path, handler=handler, tag="incidents", role=Role.VIEWER, query=query, answer=answer
    )


def _deciding(path: str, handler: Handler, body: type[msgspec.Struct], answer: object) -> Endpoint:
    return Endpoint(
        method="POST",
        path=path,
        handler=handler,
        tag="incidents",
        role=Role.OPERATOR,
        body=body,
        answer=answer,
        errors=(409,),
    )


ENDPOINTS = (
    _reading("/incidents", list_incidents, Listing[IncidentRow], IncidentQuery),
    _reading("/incidents/{id}", get_incident, IncidentShape),
    _reading("/incidents/{id}/timeline", get_timeline, Listing[TimelineShape]),
    _reading("/incidents/{id}/evidence", get_evidence, Listing[Evidence]),
    _reading("/incidents/{id}/diagnosis", get_diagnosis, DiagnosisShape),
    _reading("/incidents/{id}/plan", get_plan, Listing[ActionShape]),
    _deciding("/incidents/{id}/acknowledge", acknowledge_incident, AcknowledgeBody, IncidentShape),
    _deciding("/incidents/{id}/close", close_incident, CloseBody, IncidentShape),
    _deciding("/actions/{id}/approve", approve_action, ApproveBody, ActionShape),
    _deciding("/actions/{id}/reject", reject_action, RejectBody, ActionShape),
    _deciding("/actions/{id}/take-back", take_back_action, RejectBody, ActionShape),
)
