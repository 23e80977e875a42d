"""Deploys: told by pipelines and people, shown and looked at where something broke just after."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec

from gateway.admin import audited
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Listing, Time, listing, shown
from gateway.domain.deploy import Deploy
from gateway.domain.identity import Role
from gateway.errors import InvalidInputError

MOST_AHEAD_S = 300.0  # clocks differ by seconds; a deploy that is still to come is none
_EARLIEST = 946_684_800.0  # the year 2000
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, msgspec.Meta(max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]
Link = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^(https?://[^\s\x00-\x1f\x7f]+)?$")]


class NewDeploy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was put into service. ``service`` is best the name of an upstream or route; ``at`` is now when left out."""

    service: Word
    version: Word
    at: Time | None = None
    url: Link = ""
    actor: Text = ""


class DeployShape(msgspec.Struct, frozen=True, kw_only=True):
    """A deploy as it was told."""

    id: str
    service: str
    version: str
    at: Time
    created_at: Time
    url: str
    actor: str


class DeployQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in the list, and of which service."""

    service: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


async def list_deploys(api: Api, call: Call) -> Listing[DeployShape]:
    """Deploys, newest first."""
    asked: DeployQuery = call.query
    page = await api.ports.deploys.page(service=asked.service, limit=asked.limit, cursor=asked.cursor)
    return listing(page, DeployShape)


async def add_deploy(api: Api, call: Call) -> DeployShape:
    """Tell of a deploy. Diagnosis then names it where errors begin just after; telling the same again changes nothing.

    ``at`` may lie in the past, at most five minutes in the future.
    """
    body: NewDeploy = call.body
    now = api.ports.clock()
    at = now if body.at is None else body.at.timestamp()
    if at > now + MOST_AHEAD_S:
        raise InvalidInputError("a deploy that is still to come is none", field="at", remedy="Tell it when it is done.")
    if at < _EARLIEST:
        raise InvalidInputError("is before the year 2000", field="at")
    identity = sha256(msgspec.json.encode((body.service, body.version, round(at, 3)))).hexdigest()
    who = body.actor or audited.name_of(actor_of(api, call))
    deploy = Deploy(f"de-{identity[:12]}", body.service, body.version, at, now, body.url, who)
    await api.ports.deploys.add(deploy)
    call.subject, call.detail = f"deploy {deploy.id}", {"service": deploy.service, "version": deploy.version}
    return shown(deploy, DeployShape)


async def delete_deploy(api: Api, call: Call) -> None:
    """Forget a deploy that was told by mistake."""
    gone = await api.ports.deploys.delete(call.path("id"))
    call.subject, call.detail = f"deploy {gone.id}", {"service": gone.service, "version": gone.version}


_TAG = "deploys"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/deploys",
        handler=list_deploys,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        query=DeployQuery,
        answer=Listing[DeployShape],
    ),
    Endpoint(
        method="POST",
        path="/deploys",
        handler=add_deploy,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        program="deploys",
        body=NewDeploy,
        answer=DeployShape,
        status=201,
        verb="deploy.told",
    ),
    Endpoint(
        method="DELETE",
        path="/deploys/{id}",
        handler=delete_deploy,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        status=204,
        verb="deploy.deleted",
    ),
)
