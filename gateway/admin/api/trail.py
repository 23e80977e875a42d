"""The trail of decisions and changes, and the health of control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import JSONResponse, Response

from gateway import __version__
from gateway.admin import tenancy
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import AuditShape, Listing, PageQuery, listing
from gateway.diagnose.own_trouble import steps_of
from gateway.domain.identity import Role
from gateway.domain.incident import Severity

if TYPE_CHECKING:
    from gateway.domain.audit import AuditEntry
    from gateway.domain.paging import Page


class Health(msgspec.Struct, frozen=True):
    """``status`` is "ready" or "not ready", and then ``reasons`` says why."""

    status: str
    version: str
    reasons: tuple[str, ...]


class TroubleShape(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the gateway in trouble: what is wrong, what it means for traffic, and what to do first."""

    part: str
    about: str
    severity: Severity
    said: str
    effect: str
    remedy: str


async def list_troubles(api: Api, call: Call) -> Listing[TroubleShape]:  # noqa: ARG001 - every handler takes both
    """Which of this node's own parts are in trouble; the same facts open incidents. Empty: all is well."""
    return Listing(
        items=tuple(
            TroubleShape(
                part=one.part,
                about=one.about,
                severity=one.severity,
                said=one.said,
                effect=one.effect,
                remedy=steps_of(one.part)[0],
            )
            for one in api.ports.troubles()
        )
    )


async def list_audit(api: Api, call: Call) -> Listing[AuditShape]:
    """Who did what, newest first."""
    asked: PageQuery = call.query

    async def read(cursor: str) -> Page[AuditEntry]:
        return await api.ports.audit.page(limit=asked.limit, cursor=cursor)

    page = await tenancy.own_page(actor_of(api, call), read, asked.cursor, limit=asked.limit)
    return listing(page, AuditShape)


async def get_health(api: Api, call: Call) -> Response:  # noqa: ARG001 - every handler takes both
    """Whether control is ready; 503 with the reasons when it is not."""
    return health(tuple(api.ports.not_ready()))


def health(reasons: tuple[str, ...]) -> JSONResponse:
    """The answer of /api/v1/health and /health/ready."""
    value = Health(status="not ready" if reasons else "ready", version=__version__, reasons=reasons)
    return JSONResponse(msgspec.to_builtins(value), status_code=503 if reasons else 200)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/audit",
        handler=list_audit,
        tag="audit",
        role=Role.OPERATOR,
        query=PageQuery,
        answer=Listing[AuditShape],
    ),
    Endpoint(
        method="GET",
        path="/health/parts",
        handler=list_troubles,
        tag="health",
        role=Role.VIEWER,
        staff=True,
        answer=Listing[TroubleShape],
    ),
    Endpoint(method="GET", path="/health", handler=get_health, tag="health", role=None, answer=Health, errors=(503,)),
)
