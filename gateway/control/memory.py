"""What control remembers of closed incidents: the latest of them, read back when it begins to lead."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.diagnose.memory import Calibration, Past, calibrated, remember
from gateway.domain.incident import Incident, IncidentState
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.paging import Page

MOST = 500  # older ones are still found by people, in the list of incidents

_log = logs.get("control")


class KeptIncidents(Protocol):
    """Where incidents are kept."""

    async def save(self, incident: Incident) -> None:
        """Idempotent by id and version."""
        ...

    async def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED."""
        ...

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        """Newest first."""
        ...


class Memory:
    """Stands in front of the store of incidents and takes note of every one that is closed.

    It is derived from the incidents themselves, so nothing can get out of step, and it works from the journal.
    """

    def __init__(self, incidents: KeptIncidents) -> None:
        self._incidents = incidents
        self._past: OrderedDict[str, Past] = OrderedDict()
        self.calibration = Calibration()

    @property
    def past(self) -> tuple[Past, ...]:
        """What is remembered, the oldest first."""
        return tuple(self._past.values())

    def worth(self, score: float) -> float:
        """What a score of the ranking has been worth so far."""
        return self.calibration(score)

    async def save(self, incident: Incident) -> None:
        """Keep it; a closed one is remembered."""
        await self._incidents.save(incident)
        if incident.state is IncidentState.CLOSED:
            self._note(remember(incident))
            self.calibration = calibrated(self.past)

    async def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED; what others closed meanwhile is remembered as well."""
        found = await self._incidents.open_ones()
        try:
            page = await self._incidents.page(state=str(IncidentState.CLOSED), limit=MOST)
        except StoreUnavailableError as error:
            _log.warning("memory.cold", reason=str(error))
            return found
        for incident in reversed(page.items):
            self._note(remember(incident))
        self.calibration = calibrated(self.past)
        return found

    def _note(self, past: Past) -> None:
        self._past.pop(past.incident_id, None)
        self._past[past.incident_id] = past
        while len(self._past) > MOST:
            self._past.popitem(last=False)
