"""The live tail: matching records as ready-made rows over server-sent events, a bounded number per half second."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse
from starlette.routing import Route

from gateway.admin import tenancy
from gateway.admin.dashboard.views.requests import asked_filter
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.paging import RequestFilter
    from gateway.domain.traffic import RequestRecord

MOST_READERS = 32
MOST_ROWS = 20  # per half second; what more matches is counted, not sent
TURN_S = 0.5
QUIET_S = 15.0  # a comment line at least this often keeps proxies from cutting the connection
LONGEST_S = 3600.0  # a forgotten tab reconnects, and proves again who looks


def matches(wanted: RequestFilter, record: RequestRecord) -> bool:
    """The same filter as the stored list's."""
    if wanted.status and wanted.status not in {record.status, record.status // 100}:
        return False
    if (wanted.route and wanted.route != record.route) or (wanted.tenant and wanted.tenant != record.tenant):
        return False
    return not wanted.text or any(wanted.text in text for text in (record.path, record.id, record.trace_id))


def event(name: str, data: str) -> str:
    """One server-sent event (WHATWG HTML, 9.2); every line of the data gets its own field."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines() if line.strip()) or "data:\n"
    return f"event: {name}\n{lines}\n"


class LiveTail:
    """``/dashboard/requests/live``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._readers = 0

    def routes(self) -> list[BaseRoute]:
        """The stream."""
        return [Route("/dashboard/requests/live", self._pages.part(Role.VIEWER, self.stream), methods=["GET"])]

    async def stream(self, request: Request) -> Response:
        """Rows from now on that fit the filter in the address."""
        wanted, _ = asked_filter(request.query_params, self._pages.ports.clock())
        wanted = tenancy.own_filter(self._pages.auth.actor(request), wanted)
        return StreamingResponse(self._events(wanted), media_type="text/event-stream")

    async def _events(self, wanted: RequestFilter) -> AsyncIterator[str]:
        if self._readers >= MOST_READERS:
            yield event("full", str(MOST_READERS))
            return
        self._readers += 1
        fresh: list[RequestRecord] = []
        skipped = [0]
        reader = asyncio.create_task(self._collect(wanted, fresh, skipped))
        try:
            yield "retry: 3000\n\n"
            quiet_s = 0.0
            for _ in range(round(LONGEST_S / TURN_S)):
                await asyncio.sleep(TURN_S)
                if reader.done():  # control is stopping
                    return
                quiet_s += TURN_S
                if fresh:
                    yield event("rows", self._pages.fragment("_rows.html", records=fresh[::-1]))
                    fresh.clear()
                    quiet_s = 0.0
                if skipped[0]:
                    yield event("skipped", str(skipped[0]))
                    skipped[0] = 0
                if quiet_s >= QUIET_S:
                    yield ": still here\n\n"
                    quiet_s = 0.0
        finally:
            self._readers -= 1
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    async def _collect(self, wanted: RequestFilter, fresh: list[RequestRecord], skipped: list[int]) -> None:
        async for record in self._pages.ports.live.subscribe():
            if not matches(wanted, record):
                continue
            if len(fresh) < MOST_ROWS:
                fresh.append(record)
            else:
                skipped[0] += 1
