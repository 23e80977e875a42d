"""Where other monitoring reports its alerts, and what became of bodies that could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from gateway.admin.api.endpoint import Api, Call, Endpoint
from gateway.admin.api.shapes import AlertShape, Listing, PageQuery, Time, listing, time_of
from gateway.domain.identity import Role
from gateway.domain.sources import Received

if TYPE_CHECKING:
    from gateway.domain.dead_letter import DeadLetter


class AlertBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body as its sender makes it; unknown fields are passed over.

    ``alertmanager``: the webhook of Alertmanager, version 4. ``grafana``: a webhook contact point. ``datadog``: the
    payload of dashboards/datadog-webhook.json. ``generic``: one alert ``{"id", "status", "service", "severity",
    "title", "text", "url", "starts_at", "ends_at", "labels"}`` of which ``title`` or ``id`` must be there, or several
    as ``{"alerts": […]}``.
    """

    alerts: tuple[dict[str, Any], ...] = ()


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A body that could not be read: where it was sent to, and the path of the first value that was wrong."""

    id: str
    at: Time
    source: str
    field: str
    reason: str
    size_bytes: int


class DeadLetterShape(DeadLetterRow, frozen=True, kw_only=True):
    """The same with the body itself, its sender's own words, cut at 16,384 characters."""

    body: str


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters are gone."""

    purged: Annotated[int, msgspec.Meta(ge=0)]


async def receive_alerts(api: Api, call: Call) -> Received:
    """Take in alerts of other monitoring: ``source`` is alertmanager, grafana, datadog or generic.

    They open incidents or join those that are open, and a resolved one closes what nothing else speaks of. A body with
    something wrong in it is answered 422 and kept as a dead letter; good alerts beside a wrong one are taken.
    """
    return await api.ports.alerts.receive(call.path("source"), await call.request.body())


async def list_alerts(api: Api, call: Call) -> Listing[AlertShape]:
    """Alerts of other monitoring, those heard of last first; one that ended is kept for a month."""
    asked: PageQuery = call.query
    return listing(await api.ports.alerts.page(limit=asked.limit, cursor=asked.cursor), AlertShape)


async def list_dead_letters(api: Api, call: Call) -> Listing[DeadLetterRow]:
    """Bodies that could not be read, newest first, at most 500 of the last 30 days."""
    asked: PageQuery = call.query
    page = await api.ports.dead_letters.page(limit=asked.limit, cursor=asked.cursor)
    return listing(page, DeadLetterRow)


async def get_dead_letter(api: Api, call: Call) -> DeadLetterShape:
    """One dead letter with its body."""
    return _whole(await api.ports.dead_letters.get(call.path("id")))


async def purge_dead_letters(api: Api, call: Call) -> Purged:
    """Let go of all dead letters."""
    gone = await api.ports.dead_letters.purge()
    call.subject, call.detail = "dead letters", {"purged": str(gone)}
    return Purged(purged=gone)


async def purge_dead_letter(api: Api, call: Call) -> None:
    """Let go of one dead letter."""
    call.subject = f"dead letter {call.path('id')}"
    await api.ports.dead_letters.purge(call.path("id"))


def _whole(letter: DeadLetter) -> DeadLetterShape:
    return DeadLetterShape(
        id=letter.id,
        at=time_of(letter.at),
        source=letter.source,
        field=letter.field,
        reason=letter.reason,
        size_bytes=letter.size_bytes,
        body=letter.body,
    )


_TAG = "alerts"
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/alerts/{source}",
        handler=receive_alerts,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        program="alerts",
        reads=AlertBody,
        answer=Received,
    ),
    Endpoint(
        method="GET",
        path="/alerts",
        handler=list_alerts,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        query=PageQuery,
        answer=Listing[AlertShape],
    ),
    Endpoint(
        method="GET",
        path="/dead-letters",
        handler=list_dead_letters,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        query=PageQuery,
        answer=Listing[DeadLetterRow],
    ),
    Endpoint(
        method="GET",
        path="/dead-letters/{id}",
        handler=get_dead_letter,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        answer=DeadLetterShape,
    ),
    Endpoint(
        method="DELETE",
        path="/dead-letters",
        handler=purge_dead_letters,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        answer=Purged,
        verb="dead_letters.purged",
    ),
    Endpoint(
        method="DELETE",
        path="/dead-letters/{id}",
        handler=purge_dead_letter,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        status=204,
        verb="dead_letter.purged",
    ),
)
