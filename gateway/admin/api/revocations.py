"""Tokens and client certificates that are refused though they have not expired: list, revoke, lift."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.admin.api.endpoint import Api, Call, Endpoint
from gateway.admin.api.shapes import Listing, PageQuery, Time, listing, time_of
from gateway.domain.identity import Role
from gateway.domain.revocation import Revocation
from gateway.errors import InvalidInputError

# Printable: it stands in a path, in lists and in audit lines. 256 is what workers take as an id.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
DEFAULT_S = 365 * 86_400  # longer than any sensible token lives: an early end would make the token good again
LONGEST_S = 10 * DEFAULT_S


class NewRevocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to refuse: a token's ``jti``, or the serial number of a client certificate in lower-case hex.

    It ends by itself at ``expires_at``, a year from now when left out; what it names should have expired by then.
    """

    id: Id
    expires_at: Time | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class RevocationShape(msgspec.Struct, frozen=True, kw_only=True):
    """An id that workers refuse, and until when."""

    id: str
    created_at: Time
    expires_at: Time
    reason: str


async def list_revocations(api: Api, call: Call) -> Listing[RevocationShape]:
    """Revoked ids in force, newest first."""
    asked: PageQuery = call.query
    page = await api.ports.revocations.page(limit=asked.limit, cursor=asked.cursor)
    return listing(page, RevocationShape, show=_shown)


async def revoke_id(api: Api, call: Call) -> RevocationShape:
    """Refuse a token or client certificate; workers know it within a second. One of the same id is replaced."""
    body: NewRevocation = call.body
    now = api.ports.clock()
    until = now + DEFAULT_S if body.expires_at is None else body.expires_at.timestamp()
    if until <= now:
        raise InvalidInputError("this moment has passed", field="expires_at")
    if until > now + LONGEST_S:
        raise InvalidInputError("this is more than ten years away", field="expires_at")
    revocation = Revocation(id=body.id, created_at=now, expires_at=until, reason=body.reason)
    await api.ports.revocations.revoke(revocation)
    call.subject = f"token {body.id}"
    call.detail = {"until": time_of(until).isoformat(), "reason": body.reason}
    return _shown(revocation)


async def lift_revocation(api: Api, call: Call) -> None:
    """Take a revocation back: what it names is good again, if it has not expired."""
    revoked_id = call.path("id")
    await api.ports.revocations.lift(revoked_id)
    call.subject = f"token {revoked_id}"


def _shown(revocation: Revocation) -> RevocationShape:
    return RevocationShape(
        id=revocation.id,
        created_at=time_of(revocation.created_at),
        expires_at=time_of(revocation.expires_at),
        reason=revocation.reason,
    )


_TAG = "revocations"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/revocations",
        handler=list_revocations,
        tag=_TAG,
        role=Role.ADMIN,
        staff=True,
        query=PageQuery,
        answer=Listing[RevocationShape],
    ),
    Endpoint(
        method="POST",
        path="/revocations",
        handler=revoke_id,
        tag=_TAG,
        role=Role.ADMIN,
        staff=True,
        body=NewRevocation,
        answer=RevocationShape,
        status=201,
        verb="token.revoked",
    ),
    Endpoint(
        method="DELETE",
        path="/revocations/{id}",
        handler=lift_revocation,
        tag=_TAG,
        role=Role.ADMIN,
        staff=True,
        status=204,
        verb="token.restored",
    ),
)
