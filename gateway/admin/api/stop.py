"""The switch that stops all actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin import audited
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Time, time_of
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from gateway.domain.stop import Stop


class StopBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why all actions are stopped."""

    why: Annotated[str, msgspec.Meta(max_length=300)] = ""


class StopShape(msgspec.Struct, frozen=True, kw_only=True):
    """Whether all actions are stopped, and who turned the switch last; ``at`` is null when nobody ever did."""

    stopped: bool
    by: str
    at: Time | None
    why: str


async def get_stop(api: Api, call: Call) -> StopShape:  # noqa: ARG001 - a handler's form
    """Whether all actions are stopped."""
    return shape(await api.ports.stop.look())


async def stop_actions(api: Api, call: Call) -> StopShape:
    """Stop all actions on every node: nothing is executed or approved. What runs stays, and can be taken back."""
    return await _turn(api, call, on=True, why=call.body.why)


async def release_actions(api: Api, call: Call) -> StopShape:
    """Let actions run again. What was proposed meanwhile waits for a person."""
    return await _turn(api, call, on=False, why="")


async def _turn(api: Api, call: Call, *, on: bool, why: str) -> StopShape:
    actor = actor_of(api, call)
    turned = await api.ports.stop.turn(on=on, by=audited.name_of(actor), why=why)
    call.subject, call.detail = "all actions", {"why": why} if why else {}
    return shape(turned)


def shape(stop: Stop) -> StopShape:
    """As the API shows it."""
    return StopShape(stopped=stop.on, by=stop.by, at=time_of(stop.at) if stop.at else None, why=stop.why)


_TAG = "actions"
ENDPOINTS = (
    Endpoint(method="GET", path="/stop", handler=get_stop, tag=_TAG, role=Role.VIEWER, answer=StopShape),
    Endpoint(
        method="POST",
        path="/stop",
        handler=stop_actions,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        body=StopBody,
        answer=StopShape,
        verb="actions.stopped",
    ),
    Endpoint(
        method="DELETE",
        path="/stop",
        handler=release_actions,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        answer=StopShape,
        verb="actions.released",
    ),
)
