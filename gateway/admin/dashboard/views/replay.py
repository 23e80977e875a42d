"""One route: its chain, and what a limit would have done to its recorded requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from gateway.admin.api.replay import seconds_of_span
from gateway.admin.dashboard.models import routes
from gateway.admin.dashboard.render import Notice
from gateway.config.limit_notation import written
from gateway.domain.access import AuthMode
from gateway.domain.identity import Role
from gateway.domain.limits import Scope
from gateway.errors import ConflictError, InvalidInputError, NotFoundError, StoreUnavailableError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.replay import LimitReplay
    from gateway.domain.routing import Route as Configured

SPANS = ("1h", "24h", "7d", "30d")
_LENGTH = 256


class Replay:
    """``/dashboard/routes/{name}``. What was asked stands in the address, so that an answer can be sent on."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[BaseRoute]:
        """Operators may ask; nothing is changed by asking."""
        return [Route("/dashboard/routes/{name}", self._pages.page(Role.OPERATOR, self.page), methods=["GET"])]

    async def page(self, request: Request) -> Response:
        """The route, the form, and the answer where a limit stands in the address."""
        ports, actor = self._pages.ports, self._pages.auth.actor(request)
        snapshot, name = ports.snapshot(), request.path_params["name"]
        route = next((one for one in snapshot.routes if one.name == name), None)
        if route is None:
            raise NotFoundError(
                "there is no such route", remedy="It may have been renamed: look at the list of routes."
            )
        limit = request.query_params.get("limit", "").strip()[:_LENGTH]
        since = request.query_params.get("since", "24h").strip()[:_LENGTH]
        found: LimitReplay | None = None
        notice, status = None, 200
        if limit:
            try:
                found = await ports.replays.limit(name, limit, seconds_of_span(since), tenant=actor.tenant)
            except (InvalidInputError, ConflictError, StoreUnavailableError) as error:
                remedy = f" {error.remedy[:1].upper()}{error.remedy[1:]}" if error.remedy else ""
                notice, status = Notice(text=f"{error}.{remedy}", bad=True), error.status
        return self._pages.render(
            request,
            "route.html",
            here="Upstreams",
            notice=notice,
            status=status,
            route=routes.line(route, snapshot.open_incidents if not actor.tenant else {}),
            found=found,
            limit=limit or suggestion(route),
            since=since,
            spans=SPANS if since in SPANS else (*SPANS, since),
            windows={1: "second", 60: "minute", 3600: "hour", 86_400: "day"},
        )


def suggestion(route: Configured) -> str:
    """What to begin with: the first limit in force, or one that fits how callers are known there."""
    if route.limits:
        return written(route.limits[0])
    scope = Scope.CLIENT if route.auth is AuthMode.NONE else Scope.SUBJECT
    return f"10/s burst 20 per {scope}"
