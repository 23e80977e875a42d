"""When the daily report goes out, and to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.notify import daily_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.incident import Incident
    from gateway.domain.objectives import ObjectiveState
    from gateway.domain.paging import Page
    from gateway.domain.policy import NotifyChannel, ReportSettings
    from gateway.notify.outbox import Outbox

LATEST_S = 6 * 3600.0  # a report that could not be made for so long is left out: the next one covers the time
_MOST = 200
_SILENT = frozenset({"pagerduty"})  # a pager is no place to read


class Incidents(Protocol):
    """Incidents, newest first."""

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        """Raises StoreUnavailableError."""
        ...


class DailyReport:
    """Looks at the clock, and says once a day how the day was. The outbox knows what was said.

    Args:
        settings: when, and to which channels.
        channels: all that are configured.
        outbox: keeps and delivers.
        incidents: what happened.
        objectives: how each objective stands.
        base_url: where people reach the dashboard.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: ReportSettings,
        channels: Sequence[NotifyChannel],
        outbox: Outbox,
        incidents: Incidents,
        objectives: Callable[[], Sequence[ObjectiveState]],
        base_url: str,
        clock: Callable[[], float],
    ) -> None:
        self._daily = settings.daily
        named = settings.channels or tuple(one.name for one in channels if one.kind not in _SILENT)
        self._to = frozenset(named)
        self._outbox = outbox
        self._incidents = incidents
        self._objectives = objectives
        self._base_url = base_url
        self._clock = clock
        self._said_at = 0.0

    async def look(self) -> None:
        """Post the report if its time has come. Raises StoreUnavailableError."""
        if self._daily is None or not self._to:
            return
        now = self._clock()
        due_at = self._daily.last_before(now)
        if due_at == self._said_at or now - due_at > LATEST_S:
            return
        page = await self._incidents.page(limit=_MOST)
        since = now - daily_report.DAY_S
        recent = [one for one in page.items if one.closed_at is None or one.closed_at >= since]
        news = daily_report.daily(recent, self._objectives(), now, day=f"{due_at:.0f}", base_url=self._base_url)
        await self._outbox.post(news, only=self._to)
        self._said_at = due_at
