"""What control keeps in a store, kept in memory: incidents, decisions and configurations of one node that is alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.audit import ConfigRevision
from gateway.domain.incident import Incident, IncidentState
from gateway.domain.paging import Page
from gateway.domain.plan import ActionState
from gateway.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.plan import Action
    from gateway.domain.snapshot import Directive
    from gateway.notify.message import What


class Clock:
    """Seconds since the epoch, set by whoever plays."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """What time it is."""
        return self.now


class Kept:
    """Incidents, decisions and directives in memory, as the stores keep them for one node."""

    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}
        self._claimed: dict[str, ActionState] = {}

    async def save(self, incident: Incident) -> None:
        """Keep this version."""
        self.incidents[incident.id] = incident

    async def open_ones(self) -> Sequence[Incident]:
        """Everything not CLOSED."""
        return [one for one in self.incidents.values() if one.state is not IncidentState.CLOSED]

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        """Newest first; one page holds all that a game day makes."""
        found = [
            one
            for one in self.incidents.values()
            if state in {"", str(one.state)} and severity in {"", str(one.severity)} and not cursor
        ]
        return Page(tuple(sorted(found, key=lambda one: one.opened_at, reverse=True)[:limit]))

    async def claim(self, action_id: str, from_state: ActionState, to_state: ActionState) -> bool:
        """True for the first."""
        if self._claimed.get(action_id, from_state) is not from_state:
            return False
        self._claimed[action_id] = to_state
        return True

    async def begin(self, action_id: str) -> bool:
        """True for the first; there is one control."""
        return await self.claim(action_id, ActionState.APPROVED, ActionState.RUNNING)


class NoDirectives:
    """There are no other nodes to keep directives for."""

    async def save(self, directive: Directive) -> None:
        """Published already."""

    async def withdraw(self, directive_id: str) -> None:
        """Withdrawn already."""

    async def active(self, now: float) -> Sequence[Directive]:  # noqa: ARG002 - as the store
        """Nobody else's."""
        return ()


class Told:
    """What people would have been told, and when."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.news: list[tuple[float, str, What]] = []

    async def tell(self, incident: Incident, what: What, action: Action | None = None) -> None:  # noqa: ARG002 - as the herald
        """Note it."""
        self.news.append((self._clock(), incident.id, what))


class KeptRevisions:
    """The configurations that were in force."""

    def __init__(self) -> None:
        self._kept: list[ConfigRevision] = []

    async def add(self, text: str, actor: str, note: str, at: float) -> ConfigRevision:
        """Keep one under the next number."""
        made = ConfigRevision(len(self._kept) + 1, at, actor, text, note)
        self._kept.append(made)
        return made

    async def latest(self) -> ConfigRevision | None:
        """The newest."""
        return self._kept[-1] if self._kept else None

    async def get(self, revision: int) -> ConfigRevision:
        """One by its number."""
        if not 1 <= revision <= len(self._kept):
            raise NotFoundError(f"there is no revision {revision}")
        return self._kept[revision - 1]

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        """Newest first."""
        return self._kept[::-1][:limit]
