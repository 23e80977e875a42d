"""Replays: what a limit or detector settings would have done to recorded traffic, before they are put in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Time, shown, time_of
from gateway.config.notation import NotationError, duration
from gateway.domain.identity import Role
from gateway.errors import InvalidInputError

if TYPE_CHECKING:
    from gateway.domain.replay import DetectorReplay, LimitReplay, ReplayedIncident

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Span = Annotated[str, msgspec.Meta(min_length=2, max_length=16)]
Settings = Annotated[dict[str, Text], msgspec.Meta(min_length=1, max_length=20)]


class LimitReplayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route, a limit as sentinel.toml writes it (``50/s burst 100 per subject``), and since when: ``24h``, ``7d``."""

    route: Text
    limit: Text
    since: Span = "24h"


class DetectorReplayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of ``[detect]`` with their proposed values as text, such as ``{"z.p3": "3"}``, and since when."""

    settings: Settings
    since: Span = "24h"


class ReplayedCallerShape(msgspec.Struct, frozen=True, kw_only=True):
    """One caller; ``caller`` may hold its own words. ``peak``: most requests within one window of the limit."""

    caller: str
    requests: int
    rejected: int
    peak: int
    first_rejected_at: Time | None
    last_rejected_at: Time | None


class BurstShape(msgspec.Struct, frozen=True, kw_only=True):
    """The same rate with another burst: refusals, and callers that would have met one."""

    burst: int
    rejected: int
    callers: int


class CoverageShape(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the time stands in the records; ``counted`` is what the minute sums hold for the same minutes."""

    since: Time
    until: Time
    first_at: Time | None
    recorded: int
    counted: int
    share: float
    notes: tuple[str, ...]


class LimitReplayShape(msgspec.Struct, frozen=True, kw_only=True):
    """What would have happened to whom. ``shadow`` and ``enforce`` are lines for the route in sentinel.toml."""

    headline: str
    route: str
    limit: str
    window_s: int
    requests: int
    rejected: int
    already_rejected: int
    callers: int
    callers_rejected: int
    top: tuple[ReplayedCallerShape, ...]
    bursts: tuple[BurstShape, ...]
    burst_for_all: int | None
    coverage: CoverageShape
    shadow: str
    enforce: str


class ReplayedIncidentShape(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that detection would have opened."""

    opened_at: Time
    closed_at: Time | None
    severity: str
    signal: str
    place: str
    title: str


class ReplayedSettingShape(msgspec.Struct, frozen=True, kw_only=True):
    """A key of ``[detect]`` whose value differs."""

    name: str
    in_force: str
    proposed: str


class DetectorReplayShape(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents with the settings in force and with the proposed ones, and those that only one side has."""

    headline: str
    settings: tuple[ReplayedSettingShape, ...]
    since: Time
    until: Time
    minutes: int
    in_force: tuple[ReplayedIncidentShape, ...]
    proposed: tuple[ReplayedIncidentShape, ...]
    only_in_force: tuple[ReplayedIncidentShape, ...]
    only_proposed: tuple[ReplayedIncidentShape, ...]
    recorded: int
    notes: tuple[str, ...]


async def replay_limit(api: Api, call: Call) -> LimitReplayShape:
    """Run a proposed limit over a route's recorded requests; nothing is changed. 409 while another replay runs."""
    asked: LimitReplayBody = call.body
    tenant = actor_of(api, call).tenant
    found = await api.ports.replays.limit(asked.route, asked.limit, seconds_of_span(asked.since), tenant=tenant)
    return shown_limit(found)


async def replay_detector(api: Api, call: Call) -> DetectorReplayShape:
    """Run detection over stored minutes with other settings; nothing is changed. 409 while another replay runs."""
    asked: DetectorReplayBody = call.body
    return shown_detector(await api.ports.replays.detector(asked.settings, seconds_of_span(asked.since)))


def seconds_of_span(text: str) -> float:
    """``24h`` in seconds. Raises InvalidInputError."""
    try:
        return duration(text)
    except NotationError as error:
        raise InvalidInputError(str(error), field="since", remedy=error.remedy) from error


def shown_limit(found: LimitReplay) -> LimitReplayShape:
    """The shape of a limit's replay."""
    return shown(found, LimitReplayShape)


def shown_detector(found: DetectorReplay) -> DetectorReplayShape:
    """The shape of detector settings' replay."""
    return DetectorReplayShape(
        headline=found.headline,
        settings=tuple(
            ReplayedSettingShape(name=name, in_force=before, proposed=after) for name, before, after in found.settings
        ),
        since=time_of(found.since),
        until=time_of(found.until),
        minutes=found.minutes,
        in_force=_incidents(found.in_force),
        proposed=_incidents(found.proposed),
        only_in_force=_incidents(found.only_in_force),
        only_proposed=_incidents(found.only_proposed),
        recorded=found.recorded,
        notes=found.notes,
    )


def _incidents(found: tuple[ReplayedIncident, ...]) -> tuple[ReplayedIncidentShape, ...]:
    return tuple(shown(one, ReplayedIncidentShape) for one in found)


_TAG = "replay"
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/replay",
        handler=replay_limit,
        tag=_TAG,
        role=Role.OPERATOR,
        body=LimitReplayBody,
        answer=LimitReplayShape,
        errors=(409,),
    ),
    Endpoint(
        method="POST",
        path="/replay/detector",
        handler=replay_detector,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        body=DetectorReplayBody,
        answer=DetectorReplayShape,
        errors=(409,),
    ),
)
