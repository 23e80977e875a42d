"""The admin plane as one ASGI application: /api/v1, /dashboard, /metrics, /docs, /openapi.json, /health.

What stands around it says who is believed: nothing on TCP, :class:`gateway.admin.local.LocalSocket` on the command
line's private socket, :class:`gateway.admin.forwarded.FromWorkers` on the socket of shared mode.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gateway import __version__
from gateway.admin import docs_page, guard, openapi, problems
from gateway.admin.api.endpoint import Api
from gateway.admin.api.live import LiveStreams
from gateway.admin.api.numbers import Sparklines
from gateway.admin.api.table import ENDPOINTS
from gateway.admin.api.trail import health
from gateway.errors import NotFoundError, SentinelError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from gateway.admin.auth import Auth
    from gateway.admin.ports import AdminPorts

    ErrorPage = Callable[[Request, SentinelError], Awaitable[Response]]

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build(
    ports: AdminPorts,
    auth: Auth,
    *,
    dashboard_routes: Sequence[BaseRoute] = (),
    error_page: ErrorPage | None = None,
    metrics_token: str = "",
    streams: LiveStreams | None = None,
    timeout_s: float = guard.TIMEOUT_S,
    max_body_bytes: int = guard.MAX_BODY_BYTES,
) -> Starlette:
    """The application.

    Args:
        ports: what the rest of control hands in.
        auth: sessions; may be shared by several instances.
        dashboard_routes: the pages, at their whole paths (/dashboard/…).
        error_page: how an error looks to a browser under /dashboard; without it, as a problem document.
        metrics_token: bearer token /metrics wants; empty leaves it open, as on a listener of its own.
        streams: the bounded set of live streams; share one between instances to share the bound.
        timeout_s: until an answer must have begun.
        max_body_bytes: the largest request body.
    """
    api = Api(ports=ports, auth=auth, live=streams or LiveStreams(), sparklines=Sparklines(ports.window))
    app = Starlette(
        routes=[
            *_plain_routes(ports, metrics_token),
            *(row.route(api) for row in ENDPOINTS),
            *dashboard_routes,
        ],
        middleware=[Middleware(guard.Guard, timeout_s=timeout_s, max_body_bytes=max_body_bytes)],
        exception_handlers=_handlers(auth, error_page),
    )
    app.router.redirect_slashes = False  # a redirect would echo the Host a stranger sent
    return app


def _plain_routes(ports: AdminPorts, metrics_token: str) -> list[Route]:
    document = openapi.document()
    encoded = msgspec.json.encode(document)

    async def root(_request: Request) -> Response:
        return JSONResponse({"service": "SentinelStack", "status": "operational", "version": __version__})

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> Response:
        return health(tuple(ports.not_ready()))

    async def metrics(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if metrics_token and not hmac.compare_digest(given.encode(), f"Bearer {metrics_token}".encode()):
            raise UnauthenticatedError("metrics want a bearer token here", remedy="Set it in the scrape configuration.")
        return Response(ports.metrics(), headers={"Content-Type": EXPOSITION_TYPE})

    async def openapi_json(_request: Request) -> Response:
        return Response(encoded, media_type="application/json")

    async def docs(request: Request) -> Response:
        return HTMLResponse(docs_page.page(document, guard.nonce(request), prefix=request.scope.get("root_path", "")))

    return [
        Route("/", root),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi_json),
        Route("/docs", docs),
    ]


def _handlers(auth: Auth, error_page: ErrorPage | None) -> dict[Any, Any]:
    async def as_page(request: Request, error: SentinelError) -> Response | None:
        wants_page = "text/html" in request.headers.get("accept", "")
        if error_page is None or not wants_page or not guard.route_path(request.scope).startswith("/dashboard"):
            return None
        await auth.identify(request)  # the page's frame shows who is signed in
        return await error_page(request, error)

    async def known(request: Request, error: SentinelError) -> Response:
        return await as_page(request, error) or problems.of_error(error)

    async def http(request: Request, error: HTTPException) -> Response:
        missing = NotFoundError("there is no such page") if error.status_code == 404 else None  # noqa: PLR2004 - HTTP
        page = await as_page(request, missing) if missing else None
        return page or problems.of_http(error)

    return {SentinelError: known, HTTPException: http}
