"""Recorded requests of a route in the order in which they ended, page by page, for looking at them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from gateway.domain.replay import Passed
from gateway.domain.traffic import ErrorKind
from gateway.store.tables import requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy import Row

    from gateway.store.engine import Store

PAGE_ROWS = 2_000
# What was answered before any limit was asked.
BEFORE_LIMITS = frozenset(
    {
        ErrorKind.BAD_REQUEST,
        ErrorKind.NO_ROUTE,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.FORBIDDEN,
        ErrorKind.BODY_TOO_LARGE,
        ErrorKind.HEADERS_TOO_LARGE,
        ErrorKind.BLOCKED,
        ErrorKind.SHED,
    }
)
_NAMES = ("number", "completed_at", "duration_us", "wait_us", "auth_us", "tenant_id", "subject", "client", "error")
_PICKED = [requests.c[name] for name in _NAMES]


class PassedRequests:
    """Reads records for a replay.

    Args:
        store: where they are.
        page_rows: read at a time; each page is a transaction of its own, so nothing is held up.
    """

    def __init__(self, store: Store, *, page_rows: int = PAGE_ROWS) -> None:
        self._store = store
        self._page_rows = page_rows

    async def pages(
        self, route: str, since: float, until: float, *, tenant: str = ""
    ) -> AsyncIterator[Sequence[tuple[float, Passed | None]]]:
        """Pages of (completed_at, the request); None stands for one that never came as far as the limits.

        Raises:
            StoreUnavailableError: the database is away.
        """
        columns = requests.c
        query = select(*_PICKED).where(columns.route == route, columns.completed_at < until)
        if tenant:
            query = query.where(columns.tenant_id == tenant)
        query = query.order_by(columns.completed_at, columns.number).limit(self._page_rows)
        place: Any = columns.completed_at >= since
        while True:
            async with self._store.read() as connection:
                rows = (await connection.execute(query.where(place))).all()
            if rows:
                yield [(row.completed_at, _passed(row)) for row in rows]
            if len(rows) < self._page_rows:
                return
            last = rows[-1]
            place = or_(
                columns.completed_at > last.completed_at,
                and_(columns.completed_at == last.completed_at, columns.number > last.number),
            )


def _passed(row: Row[Any]) -> Passed | None:
    if row.error in BEFORE_LIMITS:
        return None
    # The limits were asked once the request had waited and was known; the rest of its life came after them.
    at = row.completed_at - max(0, row.duration_us - row.wait_us - row.auth_us) / 1e6
    refused = row.error == ErrorKind.RATE_LIMITED
    return Passed(at, row.completed_at, row.tenant_id, row.subject, row.client, refused)
