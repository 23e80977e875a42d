"""Sign in, refresh, sign out, first set-up, and who am I."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from starlette.responses import Response

from gateway.admin.api.endpoint import Api, Call, Endpoint
from gateway.admin.api.shapes import Time, UserShape, shown, time_of
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from gateway.admin.sessions import SignedIn

Text = Annotated[str, msgspec.Meta(max_length=1024)]
_encode = msgspec.json.Encoder().encode


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in. ``cookie`` also sets the session as a cookie, for pages."""

    email: Text
    password: Text
    cookie: bool = False


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first administrator; ``token`` comes from the one-time link that the first start printed."""

    token: Text
    email: Text
    password: Text


class SessionShape(msgspec.Struct, frozen=True):
    """A session: send ``token`` as ``Authorization: Bearer``. It is shown once."""

    token: str
    expires_at: Time
    user: UserShape


class Me(msgspec.Struct, frozen=True):
    """Who the caller is; ``csrf_token`` is for cookie sessions, to be sent as ``X-CSRF-Token``."""

    kind: str
    name: str
    role: Role
    tenant: str
    csrf_token: str


async def login(api: Api, call: Call) -> Response:
    """Sign in. Failures slow down further attempts of the same account and address."""
    signed_in = await api.auth.sessions.sign_in(call.request, call.body.email, call.body.password)
    response = _answer(signed_in)
    if call.body.cookie:
        api.auth.set_cookie(call.request, response, signed_in.token, signed_in.session)
    return response


async def setup(api: Api, call: Call) -> Response:
    """Create the first administrator with the one-time link that the first start printed."""
    body = call.body
    return _answer(await api.auth.sessions.set_up(call.request, body.token, body.email, body.password), status=201)


async def refresh(api: Api, call: Call) -> Response:
    """Exchange the session's token for a new one; the old one stops working."""
    signed_in = await api.auth.sessions.refresh(call.request)
    response = _answer(signed_in)
    if api.auth.caller(call.request).via == "cookie":
        api.auth.set_cookie(call.request, response, signed_in.token, signed_in.session)
    return response


async def logout(api: Api, call: Call) -> Response:
    """End the session."""
    await api.auth.sessions.sign_out(call.request)
    response = Response(status_code=204)
    api.auth.clear_cookie(call.request, response)
    return response


async def me(api: Api, call: Call) -> Me:
    """Who am I."""
    actor = api.auth.actor(call.request)
    token = api.auth.csrf_token(call.request)
    return Me(kind=actor.kind, name=actor.name, role=actor.role, tenant=actor.tenant, csrf_token=token)


def _answer(signed_in: SignedIn, *, status: int = 200) -> Response:
    shape = SessionShape(
        token=signed_in.token,
        expires_at=time_of(signed_in.session.expires_at),
        user=shown(signed_in.user, UserShape),
    )
    return Response(_encode(shape), status, media_type="application/json")


_TAG = "sessions"
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/auth/login",
        handler=login,
        tag=_TAG,
        role=None,
        body=Login,
        answer=SessionShape,
        errors=(401, 403, 429),
    ),
    Endpoint(
        method="POST",
        path="/auth/setup",
        handler=setup,
        tag=_TAG,
        role=None,
        body=Setup,
        answer=SessionShape,
        status=201,
        errors=(403, 409, 429),
    ),
    Endpoint(
        method="POST",
        path="/auth/refresh",
        handler=refresh,
        tag=_TAG,
        role=Role.VIEWER,
        answer=SessionShape,
    ),
    Endpoint(
        method="POST",
        path="/auth/logout",
        handler=logout,
        tag=_TAG,
        role=Role.VIEWER,
        status=204,
    ),
    Endpoint(method="GET", path="/auth/me", handler=me, tag=_TAG, role=Role.VIEWER, answer=Me),
)
