"""The event log: programs report events, people and programs read them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin import problems
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Listing, Time, listing, seconds_of
from gateway.domain.event import EventFilter, EventSeverity, Fact, Receipt, Refusal
from gateway.domain.identity import Role
from gateway.domain.paging import Page
from gateway.ingest.event_reading import NewEvent, TraceId

if TYPE_CHECKING:
    from starlette.responses import Response

_MOST_PROBLEMS = 20
_UNPROCESSABLE = 422


class NewEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Up to 1,000 events. One event alone, or a bare list of them, is taken as well."""

    events: tuple[NewEvent, ...]


class EventQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events, newest first. ``kind`` ending in a dot is a beginning; ``severity`` is this grave or graver."""

    kind: Annotated[str, msgspec.Meta(max_length=64)] = ""
    severity: EventSeverity | None = None
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None
    trace_id: TraceId = ""
    tenant: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


class EventShape(msgspec.Struct, frozen=True, kw_only=True):
    """One event, in the words of the program that reported it."""

    id: str
    agent_id: str
    kind: str
    severity: EventSeverity
    at: Time
    received_at: Time
    message: str
    fields: dict[str, Fact]
    tenant: str
    trace_id: str


class AgentQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose agents; empty: everybody's."""

    tenant: str = ""


class AgentShape(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever reported events within a day, and how many."""

    agent_id: str
    tenant: str
    events: int
    last_at: Time


async def list_agents(api: Api, call: Call) -> Listing[AgentShape]:
    """Agents that reported something within a day, the latest first, at most 200."""
    wanted: AgentQuery = call.query
    found = await api.ports.events.agents(actor_of(api, call).tenant or wanted.tenant or None)
    return listing(Page(items=tuple(found)), AgentShape)


async def report_events(api: Api, call: Call) -> Receipt | Response:
    """Report events. Each item is judged by itself: the good ones are kept, the others listed with the wrong field.

    422 where none was good. Sending the same event again is harmless: it is counted as a duplicate.
    """
    receipt = await api.ports.events.take(await call.request.body(), tenant=actor_of(api, call).tenant)
    if receipt.stored or receipt.duplicates:
        return receipt
    return problems.problem(
        _UNPROCESSABLE,
        f"no event was taken; {_named(receipt.refused[0])}",
        field=_place(receipt.refused[0]),
        problems=tuple(_named(one) for one in receipt.refused[:_MOST_PROBLEMS]),
        remedy="/docs shows what is expected.",
    )


def _place(refusal: Refusal) -> str:
    return f"events[{refusal.index}]" + (f".{refusal.field}" if refusal.field else "")


def _named(refusal: Refusal) -> str:
    return f"{_place(refusal)}: {refusal.detail}"


async def list_events(api: Api, call: Call) -> Listing[EventShape]:
    """Events of one agent, newest first by the time they happened."""
    asked: EventQuery = call.query
    own = actor_of(api, call).tenant
    wanted = EventFilter(
        agent_id=call.path("agent_id"),
        tenant=own or asked.tenant or None,
        kind=asked.kind,
        severity=asked.severity,
        since=seconds_of(asked.from_),
        until=seconds_of(asked.to),
        trace_id=asked.trace_id,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return listing(await api.ports.events.page(wanted), EventShape)


_TAG = "events"
_PREFIX = "/v1"
ENDPOINTS = (
    Endpoint(
        method="POST",
        prefix=_PREFIX,
        path="/events",
        handler=report_events,
        tag=_TAG,
        role=Role.OPERATOR,
        program="events",
        reads=NewEvents,
        answer=Receipt,
        errors=(429,),
    ),
    Endpoint(
        method="GET",
        prefix=_PREFIX,
        path="/agents",
        handler=list_agents,
        tag=_TAG,
        role=Role.VIEWER,
        query=AgentQuery,
        answer=Listing[AgentShape],
    ),
    Endpoint(
        method="GET",
        prefix=_PREFIX,
        path="/agents/{agent_id}/events",
        handler=list_events,
        tag=_TAG,
        role=Role.VIEWER,
        query=EventQuery,
        answer=Listing[EventShape],
    ),
)
