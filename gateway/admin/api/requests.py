"""Request records: search, one, and the live tail."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from gateway.admin import tenancy
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.live import LiveQuery, request_event
from gateway.admin.api.shapes import Listing, RequestRow, Time, listing, seconds_of, shown
from gateway.domain.identity import Role
from gateway.domain.paging import Page, RequestFilter


class RequestQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests; newest first. ``status`` is exact or 1..5 for a class; ``q`` is part of path, id or trace id."""

    route: str = ""
    upstream: str = ""
    target: str = ""
    tenant: str = ""
    status: Annotated[int, msgspec.Meta(ge=0, le=599)] = 0
    since: Time | None = None
    until: Time | None = None
    q: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


async def list_requests(api: Api, call: Call) -> Listing[RequestRow]:
    """Search request records, newest first."""
    asked: RequestQuery = call.query
    wanted = RequestFilter(
        route=asked.route,
        status=asked.status,
        tenant=asked.tenant,
        upstream=asked.upstream,
        target=asked.target,
        since=seconds_of(asked.since),
        until=seconds_of(asked.until),
        text=asked.q,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    actor = actor_of(api, call)
    page = await api.ports.requests.search(tenancy.own_filter(actor, wanted))
    return listing(Page(items=tuple(row for row in page.items if tenancy.sees(actor, row)), next=page.next), RequestRow)


async def get_request(api: Api, call: Call) -> RequestRow:
    """One request record."""
    request_id = call.path("id")
    record = await api.ports.requests.get(request_id)
    return shown(tenancy.own(actor_of(api, call), record, f"request {request_id}"), RequestRow)


async def follow_requests(api: Api, call: Call) -> Response:
    """Follow requests as Server-Sent Events named ``request``; a slow reader loses the oldest."""
    if call.request.method == "HEAD":  # what GET would answer, without following anything
        return Response(media_type="text/event-stream")

    async def still_allowed() -> bool:
        return await api.auth.is_still_valid(call.request)

    return api.live.response(
        api.ports.live.subscribe(),
        actor=actor_of(api, call),
        wanted=call.query,
        event=request_event,
        still_allowed=still_allowed,
    )


_TAG = "requests"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/requests",
        handler=list_requests,
        tag=_TAG,
        role=Role.VIEWER,
        query=RequestQuery,
        answer=Listing[RequestRow],
    ),
    Endpoint(
        method="GET",
        path="/requests/live",
        handler=follow_requests,
        tag=_TAG,
        role=Role.VIEWER,
        query=LiveQuery,
        answer=RequestRow,
        media_type="text/event-stream",
        errors=(429,),
    ),
    Endpoint(
        method="GET",
        path="/requests/{id}",
        handler=get_request,
        tag=_TAG,
        role=Role.VIEWER,
        answer=RequestRow,
    ),
)
