"""News of incidents, put into words and handed to the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.notify import message

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action
    from gateway.notify.message import What
    from gateway.notify.outbox import Outbox


class Herald:
    """Posts what the pipeline has to say.

    Args:
        outbox: keeps and delivers.
        base_url: where people reach the dashboard; links point there.
        clock: seconds since the epoch.
    """

    def __init__(self, outbox: Outbox, *, base_url: str, clock: Callable[[], float]) -> None:
        self._outbox = outbox
        self._base_url = base_url
        self._clock = clock

    async def tell(self, incident: Incident, what: What, action: Action | None = None) -> None:
        """News of an incident, or of one of its actions; the same news goes out once."""
        now = self._clock()
        news = (
            message.of_incident(incident, what, now, base_url=self._base_url)
            if action is None
            else message.of_action(incident, action, what, now, base_url=self._base_url)
        )
        await self._outbox.post(news)
