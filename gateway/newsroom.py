"""Who hears of an incident and when: news is passed on, kept quiet, or told late.

Nobody is told of a silenced incident until its silence ends while it still goes on. Once people were told that
something is wrong they are told when it is over, silence or not: a page without an end keeps somebody awake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.incident import TimelineEntry
from gateway.notify.message import What, news_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.casebook import Casebook
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action

    Quiet = Callable[[Incident, Sequence[Incident], float], str]

_log = logs.get("pipeline")


class Teller(Protocol):
    """Tells people. Never raises, never waits for a channel."""

    async def tell(self, incident: Incident, what: What, action: Action | None = None) -> None:
        """News of an incident, or of one of its actions."""
        ...


class Newsroom:
    """Passes news on to the teller, or keeps it.

    Args:
        teller: reaches people.
        cases: the book, where it is noted that nobody was told.
        quiet: why people are not to be told of an incident now, given all open ones; empty: they are.
        clock: seconds since the epoch.
    """

    def __init__(self, teller: Teller, cases: Casebook, quiet: Quiet, clock: Callable[[], float]) -> None:
        self._teller = teller
        self._cases = cases
        self._quiet = quiet
        self._clock = clock

    async def announce(self, incident: Incident, now: float) -> None:
        """The incident is diagnosed for the first time: tell people, or note why not."""
        why = self._quiet(incident, self._cases.open_ones, now)
        if not why:
            await self._teller.tell(incident, What.OPENED)
            return
        incident = msgspec.structs.replace(incident, untold=why)
        await self._cases.save(incident, TimelineEntry(now, "incident.silenced", f"Nobody is told: {why}"))
        _log.info("incident.silenced", incident=incident.id, why=why)

    async def tell(self, incident: Incident, what: What, action: Action | None = None) -> None:
        """News of an incident that people know; kept while it is silenced, but for its end."""
        if incident.untold:
            return
        if what is not What.CLOSED and self._quiet(incident, self._cases.open_ones, self._clock()):
            return
        await self._teller.tell(incident, what, action)

    async def reconsider(self, now: float) -> None:
        """Tell of what was silenced and goes on after its silence."""
        for incident in self._cases.open_ones:
            if incident.untold and not self._quiet(incident, self._cases.open_ones, now):
                told = msgspec.structs.replace(incident, untold="")
                entry = TimelineEntry(now, "incident.told", "Nothing keeps it quiet any more: people are told now.")
                await self._teller.tell(await self._cases.save(told, entry), What.OPENED)

    async def tell_again(self, incident: Incident) -> None:
        """All that was news in its story; each goes out once, whoever tells it. This is for what died unsent."""
        said = {entry.kind for entry in incident.timeline}
        if incident.diagnosis is not None:
            await self.tell(incident, What.OPENED)
        if "incident.explained" in said:
            await self.tell(incident, What.DIAGNOSED)
        for action in incident.actions:
            for what in news_of(action):
                await self.tell(incident, what, action)
