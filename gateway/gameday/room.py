"""Control under a clock of its own: the very objects that control runs, over a store in memory.

Nothing of detection, grouping, diagnosis, planning, verification or the closed loop is written here again; this module
only does what :mod:`gateway.app.control` does, wires them up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from gateway.acting import ran_lately
from gateway.casebook import Casebook
from gateway.config import compile as compiling
from gateway.config.publisher import Publisher
from gateway.config.revisions import Revisions
from gateway.control.analysis import Diagnostician
from gateway.control.changes import ChangeLog
from gateway.control.directives import Board
from gateway.control.memory import Memory
from gateway.control.own_looks import limited_routes
from gateway.detect.detectors import in_service
from gateway.detect.held import Held
from gateway.detect.own_trouble import OwnTrouble, WithOurs
from gateway.diagnose.analyst import Analyst
from gateway.domain.callers import Callers
from gateway.domain.identity import Actor, Role
from gateway.domain.own_health import OwnFacts, RedisFacts
from gateway.domain.plan import ActionKind
from gateway.domain.topology import Topology
from gateway.domain.window import Window
from gateway.gameday.kept import Clock, Kept, KeptRevisions, NoDirectives, Told
from gateway.newsroom import Newsroom
from gateway.pipeline import Pipeline
from gateway.proxy.health import TargetHealth
from gateway.remediate.actions.configuration import RollBack
from gateway.remediate.actions.edge import by_directive
from gateway.remediate.closed_loop import Remediation
from gateway.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.checking import Configuration
    from gateway.domain.policy import DetectSettings, RemediateSettings
    from gateway.domain.snapshot import Directive, Snapshot


ANA = Actor("user", "ana", Role.ADMIN)


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
        self.callers = Callers()
        self.changes = ChangeLog()
        self.told = Told(clock)
        self._publisher = Publisher(folder / "snapshot", configuration, clock=clock)
        self.board = Board(self._publisher, NoDirectives(), clock=clock)
        self.revisions = Revisions(
            publisher=self._publisher,
            store=KeptRevisions(),
            settings=Settings(),
            source="gameday",
            clock=clock,
            on_applied=self.changes.revision_applied,
        )
        self._own = OwnFacts()
        self.taken_out: dict[str, float] = {}  # by a health check: target → when first
        self._health: dict[tuple[str, str], TargetHealth] = {}
        memory = Memory(self.kept)
        self.casebook = Casebook(memory, on_open=lambda _open: None, on_action=lambda _action: None)
        detectors = lru_cache(maxsize=1)(in_service)
        own_trouble = OwnTrouble(lambda: self._own, lambda: self.casebook.open_ones)
        self.pipeline = Pipeline(
            window=self.window,
            detectors=lambda: (*detectors(self._detect(), self._held), own_trouble),
            grouper=lambda: WithOurs(self._detect().cooldown_s),
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
            remediation=Remediation(
                by_directive(self.board) | {ActionKind.ROLL_BACK: RollBack(self.revisions)},
                self.window,
                self.snapshot,
                self._remediate,
                callers=self.callers,
                changes=self.changes,
            ),
            claims=self.kept,
            newsroom=Newsroom(self.told, self.casebook, lambda *_: "", clock),
            detect=self._detect,
            remediate=self._remediate,
            snapshot=self.snapshot,
            clock=clock,
        )

    async def begin(self) -> None:
        """Record the configuration it began with."""
        await self.revisions.start()

    async def configure(self, text: str) -> None:
        """Somebody applies another configuration."""
        await self.revisions.apply(text, ANA)

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
            if not after.healthy and target in {one.target for one in self.directives()}:
                self.taken_out.setdefault(target, self.clock())

    def own(self, redis_error: str, without: int) -> None:
        """How the limiter's Redis is, as control would have found out: its error, and checks made without it so far."""
        limited = limited_routes(self.snapshot().routes)
        self._own = OwnFacts(at=self.clock(), redis=RedisFacts(redis_error, without), limited=limited)

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
        bounds = compiling.remediate_settings(self._publisher.configuration.document)
        return msgspec.structs.replace(bounds, ran=ran_lately(self.casebook.all))

    def _held(self) -> Held:
        return Held(self.casebook.open_ones, Topology.of(self.snapshot()))
