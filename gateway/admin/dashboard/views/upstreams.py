"""Routes and upstreams as they are in force: chains, limits, targets and why one of them is out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from gateway.admin import tenancy
from gateway.admin.dashboard.models import overview, routes
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages


class Upstreams:
    """``/dashboard/upstreams``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [Route("/dashboard/upstreams", self._pages.page(Role.VIEWER, self.page), methods=["GET"])]

    async def page(self, request: Request) -> Response:
        """Everything from the snapshot in force; nothing is read from the store."""
        ports, actor = self._pages.ports, self._pages.auth.actor(request)
        snapshot, now = ports.snapshot(), ports.clock()
        where = tenancy.own_series(actor)
        return self._pages.render(
            request,
            "upstreams.html",
            here="Upstreams",
            upstreams=overview.upstreams(snapshot, ports.target_states(), ports.window, now, where),
            notes={upstream.name: routes.timeouts(snapshot, upstream.name) for upstream in snapshot.upstreams},
            routes=routes.routes(snapshot, with_incidents=not actor.tenant),
            revision=snapshot.revision,
            created_at=snapshot.created_at,
        )
