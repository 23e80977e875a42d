"""Who is asking, and may they: sessions by cookie or bearer token, roles, form tokens, signing in and setting up.

For pages and endpoints alike::

    @auth.required(Role.OPERATOR)
    async def approve(request: Request) -> Response:
        actor = auth.actor(request)

``required`` has then proven the caller, the role, and for a cookie on an unsafe method also origin and form token. It
raises UnauthenticatedError (401) or ForbiddenError (403), which the application turns into a problem document or a
page. ``auth.page(role)`` is the same, but sends a reader who is not signed in to ``/dashboard/sign-in?next=…``.
"""

from __future__ import annotations

import asyncio
import hmac
from functools import wraps
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from starlette.responses import RedirectResponse, Response

from gateway.admin import csrf
from gateway.admin.local import local_actor
from gateway.admin.sessions import Sessions
from gateway.domain.identity import RANK, Actor, Role, Session, User
from gateway.errors import ForbiddenError, UnauthenticatedError
from gateway.identity import tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.admin.ports import AdminPorts
    from gateway.identity.passwords import Passwords
    from gateway.identity.setup_link import SetupLink
    from gateway.identity.throttle import Throttle

    Endpoint = Callable[[Request], Awaitable[Response]]

SIGN_IN_PATH = "/dashboard/sign-in"
_SCOPE_KEY = "sentinel.caller"
_COOKIE = "sentinel_session"
_SECURE_COOKIE = "__Host-sentinel_session"  # RFC 6265bis, 4.1.3.2: only this host, only HTTPS, path /


class Caller(msgspec.Struct, frozen=True):
    """A proven caller. ``via`` is "cookie", "bearer" or "socket"; ``session`` and ``user`` are None on the socket."""

    actor: Actor
    via: str
    token: str = ""
    session: Session | None = None
    user: User | None = None


class Auth:
    """Reads and writes sessions of the admin plane.

    Args:
        ports: users, sessions and the clock.
        secure: cookies get Secure and the ``__Host-`` prefix even if this process sees plain HTTP (TLS ends before it).
        setup_link: the one-time link of this node; None where no first user can be made.
        passwords: tests hand in a cheap one.
        throttle: tests hand in a short one.

    Attributes:
        sessions: ``sign_in``, ``sign_out``, ``refresh``, ``set_up``, ``setup_is_open``.
        changing_users: held while users change, so that two administrators cannot demote each other at once.
    """

    def __init__(
        self,
        ports: AdminPorts,
        *,
        secure: bool = False,
        setup_link: SetupLink | None = None,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self._users = ports.users
        self._program_token = ports.program_token
        self._clock = ports.clock
        self._secure = secure
        self.changing_users = asyncio.Lock()
        self.sessions = Sessions(ports, self.check, setup_link=setup_link, passwords=passwords, throttle=throttle)

    def is_program(self, request: Request, source: str) -> bool:
        """Whether the token of that table of [sources] is shown; then the caller is a program of no tenant."""
        token = self._program_token(source).encode()
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if not token or scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token):
            return False
        request.scope[_SCOPE_KEY] = Caller(actor=Actor(kind="program", name=source), via="bearer")
        return True

    async def identify(self, request: Request) -> Caller | None:
        """Who is asking, or None; looked up once per request."""
        if _SCOPE_KEY not in request.scope:
            request.scope[_SCOPE_KEY] = await self._look_up(request)
        caller: Caller | None = request.scope[_SCOPE_KEY]
        return caller

    async def is_still_valid(self, request: Request) -> bool:
        """Whether the caller of a long answer could still begin it: session open, user enabled, rights unchanged."""
        return (await self._look_up(request)) == await self.identify(request)

    def caller(self, request: Request) -> Caller:
        """The caller that ``required`` has proven.

        Raises:
            UnauthenticatedError: nobody was.
        """
        caller: Caller | None = request.scope.get(_SCOPE_KEY)
        if caller is None:
            raise UnauthenticatedError("nobody is signed in", remedy="Sign in first.")
        return caller

    def actor(self, request: Request) -> Actor:
        """Who acts, for ports and audit lines."""
        return self.caller(request).actor

    async def check(self, request: Request, role: Role) -> Caller:
        """Prove the caller, the role, and for a cookie on an unsafe method origin and form token.

        Raises:
            UnauthenticatedError: nobody, or the session is over.
            ForbiddenError: the role is too low, or the request was made by another site.
        """
        caller = await self.identify(request)
        if caller is None:
            raise UnauthenticatedError(
                "nobody is signed in, or the session is over",
                remedy="POST /api/v1/auth/login, then send `Authorization: Bearer <token>`.",
            )
        if caller.via == "cookie" and request.method not in csrf.SAFE_METHODS:
            csrf.check_origin(request, missing_ok=False)
            await csrf.check_token(request, caller.token)
        if RANK[caller.actor.role] < RANK[role]:
            raise ForbiddenError(
                f"this needs the role {role}; you are {caller.actor.role}",
                remedy="Ask somebody with that role, or an administrator to raise yours.",
            )
        return caller

    def required(self, role: Role) -> Callable[[Endpoint], Endpoint]:
        """Decorator: only callers of at least this role reach the endpoint."""

        def decorate(endpoint: Endpoint) -> Endpoint:
            @wraps(endpoint)
            async def guarded(request: Request) -> Response:
                await self.check(request, role)
                return await endpoint(request)

            return guarded

        return decorate

    def page(self, role: Role) -> Callable[[Endpoint], Endpoint]:
        """Decorator for pages: as ``required``, but readers who are not signed in are sent to sign in and back."""

        def decorate(endpoint: Endpoint) -> Endpoint:
            @wraps(endpoint)
            async def guarded(request: Request) -> Response:
                try:
                    await self.check(request, role)
                except UnauthenticatedError:
                    prefix = request.scope.get("root_path", "")
                    return RedirectResponse(f"{prefix}{SIGN_IN_PATH}?next={_back_to(request)}", status_code=303)
                return await endpoint(request)

            return guarded

        return decorate

    def csrf_token(self, request: Request) -> str:
        """What a form sends as ``csrf_token`` or a script as ``X-CSRF-Token``; empty while nobody is signed in."""
        caller: Caller | None = request.scope.get(_SCOPE_KEY)
        return tokens.csrf_of(caller.token) if caller is not None and caller.via == "cookie" else ""

    def set_cookie(self, request: Request, response: Response, token: str, session: Session) -> None:
        """Let the browser hold a session: unreadable for scripts, never sent along by other sites."""
        secure = self._is_secure(request)
        response.set_cookie(
            _SECURE_COOKIE if secure else _COOKIE,
            token,
            max_age=max(0, int(session.expires_at - self._clock())),
            path="/",
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    def clear_cookie(self, request: Request, response: Response) -> None:
        """Let the browser forget it."""
        secure = self._is_secure(request)
        response.delete_cookie(
            _SECURE_COOKIE if secure else _COOKIE, path="/", secure=secure, httponly=True, samesite="strict"
        )

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a posted form; see :func:`gateway.admin.csrf.form`."""
        return await csrf.form(request)

    async def _look_up(self, request: Request) -> Caller | None:
        if (local := local_actor(request)) is not None:
            return Caller(actor=local, via="socket")
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme:  # a caller that shows a token is judged by it alone, never by a cookie that came along
            return await self._of_token(bearer.strip(), "bearer") if scheme.lower() == "bearer" else None
        cookie = request.cookies.get(_SECURE_COOKIE if self._is_secure(request) else _COOKIE, "")
        return await self._of_token(cookie, "cookie")

    async def _of_token(self, token: str, via: str) -> Caller | None:
        if not token.startswith(tokens.PREFIX):
            return None
        found = await self._users.session(tokens.digest_of(token))
        if found is None:
            return None
        session, user = found
        if user.disabled or self._clock() >= session.expires_at:
            return None
        actor = Actor(kind="user", name=user.email, role=user.role, tenant=user.tenant)
        return Caller(actor=actor, via=via, token=token, session=session, user=user)

    def _is_secure(self, request: Request) -> bool:
        return self._secure or request.url.scheme == "https"


def _back_to(request: Request) -> str:
    """Where to return after signing in; only ever a path of our own, and only what can be read again with GET."""
    if request.method not in csrf.SAFE_METHODS:
        return quote(request.scope.get("root_path", "") + "/dashboard", safe="")
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(request.url.path + query, safe="")
