"""Stored requests: a list whose filter stands in the address, and the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from starlette.routing import Route

from gateway.admin import tenancy
from gateway.admin.dashboard.models import request as model
from gateway.domain.identity import Role
from gateway.domain.paging import RequestFilter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages

PAGE_SIZE = 50
LONGEST_TEXT = 200
SPANS: tuple[tuple[str, str, float], ...] = (
    ("15m", "last 15 min", 900.0),
    ("1h", "last hour", 3600.0),
    ("24h", "last 24 h", 86_400.0),
    ("7d", "last 7 days", 604_800.0),
    ("all", "all that is kept", 0.0),
)
DEFAULT_SPAN = "1h"
STATUSES: tuple[tuple[int, str], ...] = (
    (2, "2xx well"),
    (3, "3xx elsewhere"),
    (4, "4xx caller's error"),
    (429, "429 limited"),
    (5, "5xx failed"),
)
_LIST = "/dashboard/requests"


def asked_filter(asked: Mapping[str, str], now: float) -> tuple[RequestFilter, str]:
    """The filter an address asks for, and its span; what does not fit is read as "any"."""
    spans = {name: length for name, _, length in SPANS}
    since = asked.get("since", DEFAULT_SPAN)
    if since not in spans:
        since = DEFAULT_SPAN
    status = asked.get("status", "")
    wanted = RequestFilter(
        route=asked.get("route", "")[:LONGEST_TEXT],
        status=int(status) if status.isascii() and status.isdecimal() and len(status) <= 3 else 0,  # noqa: PLR2004 - a status
        tenant=asked.get("tenant", "")[:LONGEST_TEXT],
        since=now - spans[since] if spans[since] else 0.0,
        text=asked.get("q", "").strip()[:LONGEST_TEXT],
        limit=PAGE_SIZE,
        cursor=asked.get("cursor", "")[:LONGEST_TEXT],
    )
    return wanted, since


def address(wanted: RequestFilter, since: str, path: str = _LIST, **more: str) -> str:
    """The address of a filter: only what differs from "any"."""
    values = {"q": wanted.text, "route": wanted.route, "status": str(wanted.status or ""), "tenant": wanted.tenant}
    values |= {"since": since if since != DEFAULT_SPAN else "", **more}
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path


class Requests:
    """``/dashboard/requests`` and the page of one request."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[BaseRoute]:
        """The list and the detail; an id may hold anything a caller sent, so it takes the rest of the path."""
        return [
            Route(_LIST, self._pages.page(Role.VIEWER, self.all), methods=["GET"]),
            Route(f"{_LIST}/{{request_id:path}}", self._pages.page(Role.VIEWER, self.one), methods=["GET"]),
        ]

    async def all(self, request: Request) -> Response:
        """Newest first."""
        ports, actor = self._pages.ports, self._pages.auth.actor(request)
        wanted, since = asked_filter(request.query_params, ports.clock())
        wanted = tenancy.own_filter(actor, wanted)
        page = await ports.requests.search(wanted)
        shown = msgspec.structs.replace(wanted, tenant="") if actor.tenant else wanted
        snapshot = ports.snapshot()
        return self._pages.render(
            request,
            "requests.html",
            here="Requests",
            page=page,
            wanted=shown,
            since=since,
            filtered=bool(shown.text or shown.route or shown.status or shown.tenant or since != DEFAULT_SPAN),
            route_names=[route.name for route in snapshot.routes],
            statuses=STATUSES,
            spans=[(name, label) for name, label, _ in SPANS],
            next_link=address(shown, since, cursor=page.next or ""),
            live_link=address(shown, DEFAULT_SPAN, f"{_LIST}/live"),
            example_path=snapshot.routes[0].path.removesuffix("*") if snapshot.routes else "/",
        )

    async def one(self, request: Request) -> Response:
        """One request with its latency ledger."""
        ports = self._pages.ports
        request_id = request.path_params["request_id"]
        record = await ports.requests.get(request_id)
        record = tenancy.own(self._pages.auth.actor(request), record, f"request {request_id}")
        route = next((route for route in ports.snapshot().routes if route.name == record.route), None)
        return self._pages.render(
            request,
            "request.html",
            here="Requests",
            record=record,
            ledger=model.ledger(record),
            query=model.redacted_query(record.query),
            curl=model.curl(record, route),
        )
