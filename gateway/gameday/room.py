"""Control under a clock of its own: the very objects that control runs, over a store in memory.

Nothing of detection, grouping, diagnosis, planning, verification or the closed loop is written here again; this module
only does what :mod:`gateway.app.control` does, wires them up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.casebook import Casebook
from gateway.config import compile as compiling
from gateway.config.publisher import Publisher
from gateway.control.analysis import Diagnostician
from gateway.control.changes import ChangeLog
from gateway.control.directives import Board
from gateway.control.memory import Memory
from gateway.detect.detectors import in_service
from gateway.detect.grouping import Grouper
from gateway.detect.held import Held
from gateway.diagnose.analyst import Analyst
from gateway.domain.incident import IncidentState
from gateway.domain.paging import Page
from gateway.domain.plan import ActionState
from gateway.domain.topology import Topology
from gateway.domain.window import Window
from gateway.newsroom import Newsroom
from gateway.pipeline import Pipeline
from gateway.proxy.health import TargetHealth
from gateway.remediate.actions.edge import by_directive
from gateway.remediate.closed_loop import Remediation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.config.checking import Configuration
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action
    from gateway.domain.policy import DetectSettings, RemediateSettings
    from gateway.domain.snapshot import Directive, Snapshot
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


class Room:
    """Everything of control that an incident meets on its way.

    Args:
        folder: the snapshot is written here, as control does it.
        configuration: of the gateway.
        clock: the time of the play.
    """

    def __init__(self, folder: Path, configuration: Configuration, clock: Clock) -> None:
        self.window = Window()
        self.clock = clock
        self.kept = Kept()
        self.changes = ChangeLog()
        self.told = Told(clock)
        self._publisher = Publisher(folder / "snapshot", configuration, clock=clock)
        self.board = Board(self._publisher, NoDirectives(), clock=clock)
        self._health: dict[tuple[str, str], TargetHealth] = {}
        memory = Memory(self.kept)
        self.casebook = Casebook(memory, on_open=lambda _open: None, on_action=lambda _action: None)
        detectors = lru_cache(maxsize=1)(in_service)
        self.pipeline = Pipeline(
            window=self.window,
            detectors=lambda: detectors(self._detect(), self._held),
            grouper=lambda: Grouper(self._detect().cooldown_s),
            casebook=self.casebook,
            analysis=Diagnostician(
                self.window,
                self.snapshot,
                self.changes,
                Analyst(calibrate=memory.worth),
                has_model=False,
                clock=clock,
                memory=memory,
            ),
            remediation=Remediation(by_directive(self.board), self.window, self.snapshot, self._remediate),
            claims=self.kept,
            newsroom=Newsroom(self.told, self.casebook, lambda *_: "", clock),
            detect=self._detect,
            remediate=self._remediate,
            snapshot=self.snapshot,
            clock=clock,
        )

    def snapshot(self) -> Snapshot:
        """What workers run on."""
        return self._publisher.snapshot

    def directives(self) -> tuple[Directive, ...]:
        """What workers are told to do now."""
        return self.board.active()

    async def probed(self, upstream: str, target: str, *, healthy: bool) -> None:
        """A health check of a target ended."""
        found = self.snapshot().upstream(upstream)
        if found is None or found.health is None:
            return
        before = self._health.get((upstream, target), TargetHealth())
        after = self._health[upstream, target] = before.after("" if healthy else "no connection", found.health)
        if after.healthy != before.healthy:
            await self.board.health_changed(upstream, target, after.healthy, after.reason)

    def renew(self) -> None:
        """Prolong what the health checks hold."""
        self.board.renew_health()

    async def look(self) -> None:
        """What control does after the end of every five seconds."""
        await self.pipeline.tick()
        await self.board.sync()

    def _detect(self) -> DetectSettings:
        return compiling.detect_settings(self._publisher.configuration.document)

    def _remediate(self) -> RemediateSettings:
        return compiling.remediate_settings(self._publisher.configuration.document)

    def _held(self) -> Held:
        return Held(self.casebook.open_ones, Topology.of(self.snapshot()))
