"""``/dashboard/events``: who reported something lately, and what."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.routing import Route

from gateway.domain.event import EventFilter, EventSeverity
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages

PAGE_SIZE = 50
_LONGEST = 200
_PATH = "/dashboard/events"


class Events:
    """The agents of the last day, or one agent's events; the filter stands in the address."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[BaseRoute]:
        """One page."""
        return [Route(_PATH, self._pages.page(Role.VIEWER, self.show), methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """Newest first."""
        ports, own = self._pages.ports, self._pages.auth.actor(request).tenant
        asked = {name: request.query_params.get(name, "")[:_LONGEST] for name in ("agent", "kind", "severity")}
        severity = EventSeverity(asked["severity"]) if asked["severity"] in set(EventSeverity) else None
        wanted = EventFilter(
            agent_id=asked["agent"],
            tenant=own or None,
            kind=asked["kind"],
            severity=severity,
            limit=PAGE_SIZE,
            cursor=request.query_params.get("cursor", "")[:_LONGEST],
        )
        page = await ports.events.page(wanted) if wanted.agent_id else None
        agents = await ports.events.agents(own or None) if page is None else ()
        following = {**asked, "cursor": page.next or ""} if page is not None else {}
        return self._pages.render(
            request,
            "events.html",
            here="Config",
            agents=[(one, f"{_PATH}?{urlencode({'agent': one.agent_id})}") for one in agents],
            page=page,
            wanted=wanted,
            severities=list(EventSeverity),
            harmful={EventSeverity.ERROR, EventSeverity.CRITICAL},
            next_link=f"{_PATH}?{urlencode({name: value for name, value in following.items() if value})}",
        )
