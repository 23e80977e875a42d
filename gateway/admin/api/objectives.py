"""Service level objectives: how each stands, how fast its budget burns, and the daily report."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from gateway.admin.api.endpoint import Api, Call, Endpoint
from gateway.admin.api.shapes import Listing, Time, time_of
from gateway.domain.identity import Role
from gateway.domain.incident import Severity
from gateway.domain.objectives import ADVICE, BudgetLevel, ObjectiveState


class BurnShape(msgspec.Struct, frozen=True, kw_only=True):
    """How fast the budget burns over two windows; 1 spends it exactly. Too fast in both: ``firing``."""

    long_s: float
    short_s: float
    threshold: float
    severity: Severity
    long: float
    short: float
    firing: bool


class ObjectiveShape(msgspec.Struct, frozen=True, kw_only=True):
    """An objective after the last whole minute. ``remaining`` is a share of the budget, below 0 overspent."""

    name: str
    route: str
    upstream: str
    objective: float
    latency_s: float | None
    window_s: float
    at: Time
    known_since: Time
    requests: int
    bad: int
    achieved: float
    remaining: float
    level: BudgetLevel
    advice: str
    burns: tuple[BurnShape, ...]


async def list_slos(api: Api, call: Call) -> Listing[ObjectiveShape]:  # noqa: ARG001 - every handler takes both
    """Objectives with what is left of their error budgets and how fast these burn."""
    return Listing(items=tuple(_shown(state) for state in api.ports.objectives()))


async def get_slo_report(api: Api, call: Call) -> Response:  # noqa: ARG001 - every handler takes both
    """The daily report of all objectives as Markdown, to be sent on."""
    return Response(api.ports.objective_report(), media_type="text/markdown; charset=utf-8")


def _shown(state: ObjectiveState) -> ObjectiveShape:
    objective = state.objective
    return ObjectiveShape(
        name=objective.name,
        route=objective.route,
        upstream=objective.upstream,
        objective=objective.objective,
        latency_s=objective.latency_s,
        window_s=objective.window_s,
        at=time_of(state.at),
        known_since=time_of(state.known_since),
        requests=state.requests,
        bad=state.bad,
        achieved=state.achieved,
        remaining=state.remaining,
        level=state.level,
        advice=ADVICE[state.level],
        burns=tuple(msgspec.convert(burn, BurnShape, from_attributes=True) for burn in state.burns),
    )


_TAG = "objectives"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/slos",
        handler=list_slos,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        answer=Listing[ObjectiveShape],
    ),
    Endpoint(
        method="GET",
        path="/slos/report",
        handler=get_slo_report,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        answer=str,
        media_type="text/markdown",
    ),
)
