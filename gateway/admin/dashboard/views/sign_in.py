"""Signing in and out, and the one-time page that creates the first administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.domain.identity import Role
from gateway.errors import SentinelError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.admin.sessions import SignedIn

HOME = "/dashboard"


def safe_next(path: str) -> str:
    """Where to go after signing in: only pages of the dashboard, never another host."""
    rest = path.removeprefix(HOME)
    if rest == path or (rest and rest[0] not in "/?") or "\\" in path or not path.isprintable() or ".." in path:
        return HOME
    return path


class SignIn:
    """``/dashboard/sign-in``, ``/dashboard/sign-out``, ``/dashboard/setup``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._auth = pages.auth

    def routes(self) -> list[BaseRoute]:
        """The three pages."""
        leave = self._pages.page(Role.VIEWER, self.sign_out)
        return [
            Route("/dashboard/sign-in", self.form, methods=["GET"]),
            Route("/dashboard/sign-in", self.sign_in, methods=["POST"]),
            Route("/dashboard/sign-out", leave, methods=["POST"]),
            Route("/dashboard/setup", self.setup_form, methods=["GET"]),
            Route("/dashboard/setup", self.set_up, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        """The empty form; who is signed in already goes on."""
        onward = safe_next(request.query_params.get("next", HOME))
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A strict cookie stays behind when a link in a chat leads here; coming once more from our own page brings
            # it along, so nobody who is signed in has to type a password at night.
            return self._pages.bare(request, "again.html", onward=onward)
        if await self._auth.identify(request) is not None:
            return RedirectResponse(onward, 303)
        return await self._show(request, onward=onward)

    async def sign_in(self, request: Request) -> Response:
        """Check the password and open a session."""
        fields = await self._auth.form(request)
        onward, email = safe_next(fields.get("next", HOME)), fields.get("email", "")
        try:
            opened = await self._auth.sessions.sign_in(request, email, fields.get("password", ""))
        except SentinelError as error:
            return await self._show(request, onward=onward, email=email, error=error)
        return self._enter(request, opened, onward)

    async def sign_out(self, request: Request) -> Response:
        """End the session here and on the server."""
        await self._auth.sessions.sign_out(request)
        response = RedirectResponse("/dashboard/sign-in", 303)
        self._auth.clear_cookie(request, response)
        return response

    async def setup_form(self, request: Request) -> Response:
        """The form, if the link is still good."""
        token = request.query_params.get("token", "")
        is_open = self._auth.sessions.setup_is_open(token)
        return self._pages.bare(
            request, "setup.html", status=200 if is_open else 403, open=is_open, token=token, email="", problem=""
        )

    async def set_up(self, request: Request) -> Response:
        """Create the first administrator and sign in."""
        fields = await self._auth.form(request)
        token, email = fields.get("token", ""), fields.get("email", "")
        try:
            opened = await self._auth.sessions.set_up(request, token, email, fields.get("password", ""))
        except SentinelError as error:
            is_open = self._auth.sessions.setup_is_open(token)
            return self._pages.bare(
                request,
                "setup.html",
                status=error.status,
                open=is_open,
                token=token,
                email=email,
                problem=f"{error}. {error.remedy}".strip() if is_open else str(error),
            )
        return self._enter(request, opened, HOME)

    def _enter(self, request: Request, opened: SignedIn, onward: str) -> Response:
        response = RedirectResponse(quote(onward, safe="/?&=%#:+,.-_~"), 303)
        self._auth.set_cookie(request, response, opened.token, opened.session)
        return response

    async def _show(
        self, request: Request, *, onward: str, email: str = "", error: SentinelError | None = None
    ) -> Response:
        return self._pages.bare(
            request,
            "sign_in.html",
            status=error.status if error else 200,
            next=onward,
            email=email,
            problem=f"{error}. {error.remedy}".strip() if error else "",
            no_users=await self._pages.ports.users.count() == 0,
        )
