"""The first page: figures of the last minute, open incidents, upstreams, changes, and who runs into limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gateway.admin import tenancy
from gateway.admin.dashboard.models import overview as model
from gateway.admin.dashboard.models.changes import changes
from gateway.domain.identity import Role
from gateway.domain.window import FINE_S
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.identity import Actor

MOST_INCIDENTS = 10
MOST_DEPLOYS = 5
_MOST_REMEMBERED = 64  # tenants whose figures are kept for the rest of a five-second cell


class Overview:
    """``/dashboard`` and the part of it that refreshes itself.

    Figures change once per five-second cell, so they are computed once per cell and tenant however many people look.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._cell = -1
        self._figures: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[BaseRoute]:
        """The page and its fragment."""
        return [
            Route("/dashboard", self._pages.page(Role.VIEWER, self.page), methods=["GET"]),
            Route("/dashboard/overview/live", self._pages.part(Role.VIEWER, self.part), methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """The whole page."""
        actor = self._pages.auth.actor(request)
        return self._pages.render(request, "overview.html", here="Overview", **await self._view(actor))

    async def part(self, request: Request) -> Response:
        """What refreshes every five seconds."""
        actor = self._pages.auth.actor(request)
        return self._pages.render(request, "_overview.html", **await self._view(actor))

    async def _view(self, actor: Actor) -> dict[str, Any]:
        ports, now = self._pages.ports, self._pages.ports.clock()
        snapshot = ports.snapshot()
        not_ready = list(ports.not_ready())
        try:
            found = await tenancy.own_page(
                actor,
                lambda cursor: ports.incidents.page(state="open", limit=MOST_INCIDENTS, cursor=cursor),
                "",
                limit=MOST_INCIDENTS,
            )
            incidents = found.items[:MOST_INCIDENTS]
            revisions = [] if actor.tenant else await ports.configuration.history(limit=5)
            deploys = () if actor.tenant else (await ports.deploys.page(limit=MOST_DEPLOYS)).items
        except StoreUnavailableError as error:  # the figures live in memory: they are what is needed now
            incidents, revisions, deploys = (), [], ()
            not_ready.append(f"{error}; incidents, revisions and deploys are not shown")
        return {
            **self._traffic(actor, now),
            "incidents": incidents,
            "changes": changes(revisions, () if actor.tenant else snapshot.directives, now, deploys=deploys),
            "unreadable": None if actor.tenant or not ports.dead_letters.count else ports.dead_letters,
            "not_ready": not_ready,
            "no_traffic": ports.window.started_at is None,
            "example_path": snapshot.routes[0].path.removesuffix("*") if snapshot.routes else "/",
        }

    def _traffic(self, actor: Actor, now: float) -> dict[str, Any]:
        cell = int(now) // FINE_S
        if cell != self._cell or len(self._figures) >= _MOST_REMEMBERED:
            self._cell, self._figures = cell, {}
        if actor.tenant not in self._figures:
            ports, where = self._pages.ports, tenancy.own_series(actor)
            self._figures[actor.tenant] = {
                "figures": model.figures(ports.window, now, where),
                "upstreams": model.upstreams(ports.snapshot(), ports.target_states(), ports.window, now, where),
                "limited": model.limited(ports.window, now, where),
            }
        return self._figures[actor.tenant]
