"""Buckets, routes, upstreams, and the numbers of the overview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin import tenancy
from gateway.admin.api import numbers
from gateway.admin.api.endpoint import Api, Call, Endpoint, Handler, actor_of
from gateway.admin.api.numbers import Limited, Numbers, Point
from gateway.admin.api.shapes import IncidentRow, Listing, Time, seconds_of, shown, time_of
from gateway.domain.access import AuthMode
from gateway.domain.identity import Role
from gateway.domain.limits import Limit, WhenUnavailable
from gateway.domain.snapshot import DirectiveKind
from gateway.domain.traffic import Tally
from gateway.domain.upstreams import HealthCheck, Timeouts
from gateway.errors import InvalidInputError

if TYPE_CHECKING:
    from gateway.domain.identity import Actor
    from gateway.domain.incident import Incident
    from gateway.domain.paging import Page
    from gateway.domain.upstreams import Upstream
    from gateway.domain.window import Where

LONGEST_SPAN_S = 2 * 86400  # every bucket row of the span is read into memory
MOST_POINTS = 3000
_MINUTE_S = 60
_OVERVIEW_INCIDENTS = 20


class BucketQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which minutes, at most two days of them; by default the last hour. ``step`` is seconds, a multiple of 60."""

    route: str = ""
    upstream: str = ""
    target: str = ""
    tenant: str = ""
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None
    step: Annotated[int, msgspec.Meta(ge=60, le=86400, multiple_of=60)] = 60


class RouteShape(msgspec.Struct, frozen=True, kw_only=True):
    """One route with its effective chain and its last minute."""

    name: str
    path: str
    methods: tuple[str, ...]
    host: str
    upstream: str
    strip_prefix: str
    auth: AuthMode
    scopes: tuple[str, ...]
    limits: tuple[Limit, ...]
    limit_unavailable: WhenUnavailable
    incident: str  # id of the open incident on it, or empty
    last_minute: Numbers


class DirectiveShape(msgspec.Struct, frozen=True, kw_only=True):
    """What control has told the edge, and until when. ``share`` is how much of what it holds back is let through."""

    id: str
    kind: DirectiveKind
    upstream: str
    target: str
    share: float
    issued_at: Time
    expires_at: Time
    source: str
    reason: str
    action_id: str
    route: str
    caller: str
    amount: float


class TargetShape(msgspec.Struct, frozen=True, kw_only=True):
    """One address: ok, ejected, trial or unhealthy; ``directive`` says why it does not get its full share."""

    name: str
    weight: int
    state: str
    last_minute: Numbers
    directive: DirectiveShape | None


class UpstreamShape(msgspec.Struct, frozen=True, kw_only=True):
    """One service and its targets."""

    name: str
    targets: tuple[TargetShape, ...]
    depends_on: tuple[str, ...]
    health: HealthCheck | None
    timeout: Timeouts
    last_minute: Numbers


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What matters now, in one answer."""

    at: Time
    revision: int
    ready: bool
    reasons: tuple[str, ...]
    last_minute: Numbers
    series: tuple[Point, ...]  # the last 15 minutes in steps of 30 s
    upstreams: tuple[UpstreamShape, ...]
    incidents: tuple[IncidentRow, ...]  # open ones, newest first
    directives: tuple[DirectiveShape, ...]
    limited: tuple[Limited, ...]


async def list_buckets(api: Api, call: Call) -> Listing[Point]:
    """Requests, error share and percentiles over time, from stored minutes."""
    asked: BucketQuery = call.query
    start, end = _span(asked, api.ports.clock())
    actor = actor_of(api, call)
    rows = await api.ports.buckets.read(start, end, route=asked.route)
    kept = (
        (key, tally)
        for key, tally in rows
        if tenancy.sees(actor, key)
        and asked.tenant in {"", key.tenant}
        and asked.upstream in {"", key.upstream}
        and asked.target in {"", key.target}
    )
    return Listing(items=numbers.points(kept, start, end, asked.step))


async def list_routes(api: Api, call: Call) -> Listing[RouteShape]:
    """The routes in force, in order of the configuration, with their last minute."""
    snapshot, actor = api.ports.snapshot(), actor_of(api, call)
    sums = numbers.by_route(api.ports.window, api.ports.clock(), where=tenancy.own_series(actor))
    incidents = {} if actor.tenant else snapshot.open_incidents  # they may be the operator's or another tenant's
    return Listing(
        items=tuple(
            RouteShape(
                name=route.name,
                path=route.path,
                methods=tuple(sorted(route.methods)),
                host=route.host,
                upstream=route.upstream,
                strip_prefix=route.strip_prefix,
                auth=route.auth,
                scopes=tuple(sorted(route.scopes)),
                limits=route.limits,
                limit_unavailable=route.limit_unavailable,
                incident=incidents.get(route.name, ""),
                last_minute=numbers.numbers(sums.get(route.name, Tally()), numbers.LAST_S),
            )
            for route in snapshot.routes
        )
    )


async def list_upstreams(api: Api, call: Call) -> Listing[UpstreamShape]:
    """The upstreams in force: their targets, the state of each, and the last minute."""
    return Listing(items=_upstreams(api, tenancy.own_series(actor_of(api, call))))


async def get_overview(api: Api, call: Call) -> Overview:
    """What matters now: numbers, upstreams, open incidents, directives in force, who hits limits."""
    actor = actor_of(api, call)
    where = tenancy.own_series(actor)
    ports, now = api.ports, api.ports.clock()
    start, end = numbers.last_minute(now)
    reasons = () if actor.tenant else tuple(ports.not_ready())
    return Overview(
        at=time_of(now),
        revision=ports.snapshot().revision,
        ready=not ports.not_ready(),
        reasons=reasons,
        last_minute=numbers.numbers(ports.window.total(start, end, where=where), numbers.LAST_S),
        series=api.sparklines.of(actor.tenant, now, where=where),
        upstreams=_upstreams(api, where),
        incidents=await _open_incidents(api, actor),
        directives=tuple(shown(directive, DirectiveShape) for directive in ports.snapshot().directives),
        limited=numbers.hit_limits(ports.window, now, where=where),
    )


def _span(asked: BucketQuery, now: float) -> tuple[int, int]:
    """Whole minutes of the span asked for. Raises InvalidInputError."""
    end = int(seconds_of(asked.to, default=now - now % _MINUTE_S)) // _MINUTE_S * _MINUTE_S
    start = int(seconds_of(asked.from_, default=end - 3600.0)) // _MINUTE_S * _MINUTE_S
    if start < 0:
        raise InvalidInputError("there is nothing before 1970", field="from")
    if start >= end:
        raise InvalidInputError("the span is empty: from must be before to", field="from")
    if end - start > LONGEST_SPAN_S:
        raise InvalidInputError("the span is longer than two days", field="from", remedy="Ask for it in parts.")
    if (end - start) // asked.step > MOST_POINTS:
        raise InvalidInputError(f"more than {MOST_POINTS} points", field="step", remedy="Use a longer step.")
    return start, end


async def _open_incidents(api: Api, actor: Actor) -> tuple[IncidentRow, ...]:
    async def read(cursor: str) -> Page[Incident]:
        return await api.ports.incidents.page(state="open", limit=_OVERVIEW_INCIDENTS, cursor=cursor)

    page = await tenancy.own_page(actor, read, "", limit=_OVERVIEW_INCIDENTS)
    return tuple(shown(incident, IncidentRow) for incident in page.items)


def _upstreams(api: Api, where: Where | None) -> tuple[UpstreamShape, ...]:
    sums = numbers.by_target(api.ports.window, api.ports.clock(), where=where)
    return tuple(_upstream(api, upstream, sums) for upstream in api.ports.snapshot().upstreams)


def _upstream(api: Api, upstream: Upstream, sums: dict[tuple[str, str], Tally]) -> UpstreamShape:
    whole = Tally()
    for (name, _), tally in sums.items():
        if name == upstream.name:
            whole.add(tally)
    states = api.ports.target_states()
    directives = {
        (directive.upstream, directive.target): shown(directive, DirectiveShape)
        for directive in api.ports.snapshot().directives
        if directive.target
    }
    targets = tuple(
        TargetShape(
            name=target.name,
            weight=target.weight,
            state=states.get((upstream.name, target.name), "ok"),
            last_minute=numbers.numbers(sums.get((upstream.name, target.name), Tally()), numbers.LAST_S),
            directive=directives.get((upstream.name, target.name)),
        )
        for target in upstream.targets
    )
    return UpstreamShape(
        name=upstream.name,
        targets=targets,
        depends_on=upstream.depends_on,
        health=upstream.health,
        timeout=upstream.timeout,
        last_minute=numbers.numbers(whole, numbers.LAST_S),
    )


def _reading(path: str, handler: Handler, answer: object, query: type[msgspec.Struct] | None = None) -> Endpoint:
    return Endpoint(
        method="GET", path=path, handler=handler, tag="traffic", role=Role.VIEWER, query=query, answer=answer
    )


ENDPOINTS = (
    _reading("/overview", get_overview, Overview),
    _reading("/buckets", list_buckets, Listing[Point], BucketQuery),
    _reading("/routes", list_routes, Listing[RouteShape]),
    _reading("/upstreams", list_upstreams, Listing[UpstreamShape]),
)
