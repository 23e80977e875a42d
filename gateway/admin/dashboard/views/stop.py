"""The buttons that stop all actions and let them run again; they stand on the incidents' page and in the banner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gateway.admin import audited, tenancy
from gateway.domain.audit import AuditEntry
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages

_BACK = "/dashboard/incidents"
_LONGEST = 300


class Stop:
    """``/dashboard/stop``: POST only."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._ports = pages.ports

    def routes(self) -> list[BaseRoute]:
        """Operators without a tenant may."""
        return [
            Route("/dashboard/stop", self._pages.page(Role.OPERATOR, self.stop), methods=["POST"]),
            Route("/dashboard/stop/off", self._pages.page(Role.OPERATOR, self.release), methods=["POST"]),
        ]

    async def stop(self, request: Request) -> Response:
        """Stop all actions."""
        why = (await self._pages.auth.form(request)).get("why", "").strip()[:_LONGEST]
        return await self._turn(request, on=True, why=why)

    async def release(self, request: Request) -> Response:
        """Let them run again."""
        return await self._turn(request, on=False, why="")

    async def _turn(self, request: Request, *, on: bool, why: str) -> Response:
        actor = self._pages.auth.actor(request)
        tenancy.staff_only(actor)
        await self._ports.stop.turn(on=on, by=audited.name_of(actor), why=why)
        entry = AuditEntry(
            at=self._ports.clock(),
            actor=audited.name_of(actor),
            verb="actions.stopped" if on else "actions.released",
            subject="all actions",
            detail={"why": why} if why else {},
        )
        await audited.write(self._ports.audit, entry)
        return RedirectResponse(f"{_BACK}?done={'stopped' if on else 'released'}", 303)
