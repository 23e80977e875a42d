"""Silences: what people are not told of, by whom, why and until when."""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec

from gateway.admin import audited
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Listing, PageQuery, Time, listing, time_of
from gateway.domain.identity import Role
from gateway.domain.incident import Severity, Signal
from gateway.domain.silence import Matcher, Silence
from gateway.errors import InvalidInputError

LONGEST_S = 31 * 86_400.0  # a silence for good is a setting of [[notify]]
Name = Annotated[str, msgspec.Meta(max_length=256)]


class NewSilence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which incidents nobody is told of: everything that is set must fit, and something must be set.

    It holds from ``starts_at`` (now when left out) to ``ends_at``, at most 31 days.
    """

    ends_at: Time
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    starts_at: Time | None = None
    route: Name = ""
    upstream: Name = ""
    target: Name = ""
    tenant: Name = ""
    severities: Annotated[tuple[Severity, ...], msgspec.Meta(max_length=4)] = ()
    signals: Annotated[tuple[Signal, ...], msgspec.Meta(max_length=16)] = ()


class SilenceShape(msgspec.Struct, frozen=True, kw_only=True):
    """A silence; ``state`` is "in force", "to come" or "over"."""

    id: str
    state: str
    route: str
    upstream: str
    target: str
    tenant: str
    severities: tuple[Severity, ...]
    signals: tuple[Signal, ...]
    created_at: Time
    starts_at: Time
    ends_at: Time
    who: str
    why: str


async def list_silences(api: Api, call: Call) -> Listing[SilenceShape]:
    """Silences in force, to come, and those that ended within a month; newest first."""
    asked: PageQuery = call.query
    page = await api.ports.silences.page(limit=asked.limit, cursor=asked.cursor)
    now = api.ports.clock()
    return listing(page, SilenceShape, show=lambda silence: _shown(silence, now))


async def create_silence(api: Api, call: Call) -> SilenceShape:
    """Tell nobody of matching incidents for a while; they are found, explained and acted on all the same."""
    body: NewSilence = call.body
    now = api.ports.clock()
    silence = new_silence(
        Matcher(body.route, body.upstream, body.target, body.tenant, body.severities, body.signals),
        starts_at=now if body.starts_at is None else body.starts_at.timestamp(),
        ends_at=body.ends_at.timestamp(),
        who=audited.name_of(actor_of(api, call)),
        why=body.why,
        now=now,
    )
    await api.ports.silences.add(silence)
    call.subject, call.detail = f"silence {silence.id}", detail_of(silence)
    return _shown(silence, now)


async def end_silence(api: Api, call: Call) -> None:
    """End a silence at once; people are told of what it kept quiet and goes on."""
    ended = await api.ports.silences.end(call.path("id"))
    call.subject, call.detail = f"silence {ended.id}", detail_of(ended)


def new_silence(matcher: Matcher, *, starts_at: float, ends_at: float, who: str, why: str, now: float) -> Silence:
    """A silence that makes sense. Raises InvalidInputError."""
    if matcher.takes_everything:
        raise InvalidInputError(
            "this would keep everything quiet",
            field="upstream",
            remedy="Name a route, upstream, target, tenant, severities or signals.",
        )
    if ends_at <= max(now, starts_at):
        raise InvalidInputError("it would end before it begins, or has ended already", field="ends_at")
    if ends_at - max(now, starts_at) > LONGEST_S:
        raise InvalidInputError("this is longer than 31 days", field="ends_at")
    if starts_at > now + LONGEST_S:
        raise InvalidInputError("this is more than 31 days away", field="starts_at")
    return Silence(
        id=f"si-{secrets.token_hex(4)}",
        matcher=matcher,
        created_at=now,
        starts_at=max(now, starts_at),
        ends_at=ends_at,
        who=who,
        why=why,
    )


def detail_of(silence: Silence) -> dict[str, str]:
    """What the audit line says of it."""
    return {"matches": str(silence.matcher), "until": time_of(silence.ends_at).isoformat(), "why": silence.why}


def state_of(silence: Silence, now: float) -> str:
    """Whether it is in force, to come or over."""
    if silence.ends_at <= now:
        return "over"
    return "in force" if silence.starts_at <= now else "to come"


def _shown(silence: Silence, now: float) -> SilenceShape:
    matcher = silence.matcher
    return SilenceShape(
        id=silence.id,
        state=state_of(silence, now),
        route=matcher.route,
        upstream=matcher.upstream,
        target=matcher.target,
        tenant=matcher.tenant,
        severities=matcher.severities,
        signals=matcher.signals,
        created_at=time_of(silence.created_at),
        starts_at=time_of(silence.starts_at),
        ends_at=time_of(silence.ends_at),
        who=silence.who,
        why=silence.why,
    )


_TAG = "silences"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/silences",
        handler=list_silences,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        query=PageQuery,
        answer=Listing[SilenceShape],
    ),
    Endpoint(
        method="POST",
        path="/silences",
        handler=create_silence,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        body=NewSilence,
        answer=SilenceShape,
        status=201,
        verb="silence.made",
    ),
    Endpoint(
        method="DELETE",
        path="/silences/{id}",
        handler=end_silence,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        status=204,
        verb="silence.ended",
    ),
)
