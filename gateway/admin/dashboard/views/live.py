"""The live tail: matching records as ready-made rows over server-sent events, a bounded number per half second."""

from __future__ import annotations

import asyncio
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
BEAT_S = 15.0  # a comment line this often keeps proxies from cutting the connection; the session is checked then
LONGEST_S = 3600.0  # a forgotten tab reconnects, and proves again who looks
_TURNS_PER_BEAT = round(BEAT_S / TURN_S)


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


class _Caught:
    """What came in since the last turn: the first rows that fit, and how many did not."""

    def __init__(self) -> None:
        self._rows: list[RequestRecord] = []
        self._skipped = 0

    def add(self, record: RequestRecord) -> None:
        if len(self._rows) < MOST_ROWS:
            self._rows.append(record)
        else:
            self._skipped += 1

    def take(self) -> tuple[list[RequestRecord], int]:
        """Rows newest first, and the number left out; starts anew."""
        taken = self._rows[::-1], self._skipped
        self._rows, self._skipped = [], 0
        return taken


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
        headers = {"X-Accel-Buffering": "no"}  # nginx would otherwise hold rows back until its buffer is full
        return StreamingResponse(self._events(request, wanted), media_type="text/event-stream", headers=headers)

    async def _events(self, request: Request, wanted: RequestFilter) -> AsyncIterator[str]:
        if self._readers >= MOST_READERS:
            yield event("full", str(MOST_READERS))
            return
        self._readers += 1
        caught = _Caught()
        reader = asyncio.create_task(self._collect(wanted, caught))
        try:
            yield "retry: 3000\n\n"
            for turn in range(1, round(LONGEST_S / TURN_S)):
                await asyncio.sleep(TURN_S)
                if reader.done():  # control is stopping
                    return
                rows, skipped = caught.take()
                if rows:
                    yield event("rows", self._pages.fragment("_rows.html", records=rows))
                if skipped:
                    yield event("skipped", str(skipped))
                if turn % _TURNS_PER_BEAT == 0:
                    if not await self._pages.auth.is_still_valid(request):
                        return
                    yield ": still here\n\n"
        finally:
            self._readers -= 1
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _collect(self, wanted: RequestFilter, caught: _Caught) -> None:
        async for record in self._pages.ports.live.subscribe():
            if matches(wanted, record):
                caught.add(record)
