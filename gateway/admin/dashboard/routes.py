"""Every path under /dashboard; the admin application mounts what :func:`routes` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.admin.dashboard.render import STATIC, Pages
from gateway.admin.dashboard.views import (
    configuration,
    events,
    incidents,
    keys,
    live,
    objectives,
    overview,
    replay,
    requests,
    sign_in,
    stop,
    upstreams,
)

if TYPE_CHECKING:
    import os

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import Scope

    from gateway.admin.auth import Auth
    from gateway.admin.ports import AdminPorts

_KEEP = "public, max-age=31536000, immutable"  # addresses carry a fingerprint of the content


class _Static(StaticFiles):
    """Files that browsers keep."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = _KEEP
        return response


async def _home(_request: Request) -> Response:
    return RedirectResponse("/dashboard", 308)


def routes(ports: AdminPorts, auth: Auth, pages: Pages | None = None) -> list[BaseRoute]:
    """The dashboard over these ports, for callers that ``auth`` proves.

    Args:
        ports: what control hands in.
        auth: who is asking.
        pages: give the one whose ``error_page`` the application uses, so that templates are loaded once.
    """
    pages = pages or Pages(ports, auth)
    return [
        Route("/dashboard/", _home, methods=["GET"]),
        Mount("/dashboard/static", _Static(directory=STATIC)),
        *sign_in.SignIn(pages).routes(),
        *overview.Overview(pages).routes(),
        *incidents.Incidents(pages).routes(),
        *stop.Stop(pages).routes(),
        *live.LiveTail(pages).routes(),
        *requests.Requests(pages).routes(),
        *upstreams.Upstreams(pages).routes(),
        *replay.Replay(pages).routes(),
        *objectives.Objectives(pages).routes(),
        *configuration.Configuration(pages).routes(),
        *keys.Keys(pages).routes(),
        *events.Events(pages).routes(),
    ]
