"""Telling people and programs: the live stream of news, and the notifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from starlette.responses import Response

from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Listing, Time, shown
from gateway.domain.identity import Role
from gateway.domain.incident import Severity
from gateway.notify.webhook import document

if TYPE_CHECKING:
    from gateway.notify.message import Message


class NewsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which news to follow."""

    incident: str = ""
    severity: Literal["", "P1", "P2", "P3", "P4"] = ""

    def fits(self, news: Message) -> bool:
        """Whether the reader wants this one."""
        return self.incident in {"", news.incident_id} and self.severity in {"", news.severity}


class TestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which notifier; empty: all."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""


class NotifierShape(msgspec.Struct, frozen=True, kw_only=True):
    """One place that is told; nothing of its secrets."""

    name: str
    kind: str
    severities: tuple[Severity, ...]
    tenants: tuple[str, ...]


class TrialShape(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one test message; without ``error`` it arrived."""

    name: str
    kind: str
    error: str
    remedy: str


class UndeliveredShape(msgspec.Struct, frozen=True, kw_only=True):
    """A message that did not arrive: given up, or tried and waiting."""

    key: str
    channel: str
    created_at: Time
    attempts: int
    given_up: bool
    error: str


def news_event(news: Message) -> bytes:
    """One piece of news as the stream carries it; its id is what a reader who comes back names."""
    return b"id: " + news.key.encode() + b"\nevent: incident\ndata: " + document(news) + b"\n\n"


async def live_events(api: Api, call: Call) -> Response:
    """News of incidents as Server-Sent Events, each the document a webhook would get.

    With Last-Event-ID the stream begins after that one, as far as it is still kept.
    """
    if call.request.method == "HEAD":  # what GET would answer, without following anything
        return Response(media_type="text/event-stream")

    async def still_allowed() -> bool:
        return await api.auth.is_still_valid(call.request)

    return api.live.response(
        api.ports.news.subscribe(call.request.headers.get("last-event-id", "")[:256]),
        actor=actor_of(api, call),
        wanted=call.query,
        event=news_event,
        still_allowed=still_allowed,
    )


async def list_notifiers(api: Api, call: Call) -> Listing[NotifierShape]:  # noqa: ARG001 - the shape of a handler
    """Where people are told."""
    return Listing(items=tuple(shown(one, NotifierShape) for one in api.ports.notifiers.configured))


async def list_undelivered(api: Api, call: Call) -> Listing[UndeliveredShape]:  # noqa: ARG001 - the shape of a handler
    """The latest messages that did not arrive: given up, or tried and waiting."""
    found = await api.ports.notifiers.undelivered()
    return Listing(items=tuple(shown(one, UndeliveredShape) for one in found))


async def test_notifiers(api: Api, call: Call) -> Listing[TrialShape]:
    """Send a test message and say what came of it."""
    tried = await api.ports.notifiers.test(call.body.name)
    call.subject = f"notifier {call.body.name or 'all'}"
    return Listing(items=tuple(shown(one, TrialShape) for one in tried))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/events/live",
        handler=live_events,
        tag="incidents",
        role=Role.VIEWER,
        query=NewsQuery,
        answer=str,
        media_type="text/event-stream",
        errors=(429,),
    ),
    Endpoint(
        method="GET",
        path="/notifiers",
        handler=list_notifiers,
        tag="notifiers",
        role=Role.VIEWER,
        staff=True,
        answer=Listing[NotifierShape],
    ),
    Endpoint(
        method="GET",
        path="/notifiers/undelivered",
        handler=list_undelivered,
        tag="notifiers",
        role=Role.VIEWER,
        staff=True,
        answer=Listing[UndeliveredShape],
    ),
    Endpoint(
        method="POST",
        path="/notifiers/test",
        handler=test_notifiers,
        tag="notifiers",
        role=Role.OPERATOR,
        staff=True,
        body=TestBody,
        answer=Listing[TrialShape],
        verb="notifier.tested",
        errors=(404,),
    ),
)
