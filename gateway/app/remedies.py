"""What control acts with: who carries actions out, what makes each happen once, and the switch that stops them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.acting import ran_lately
from gateway.config import compile as compiling
from gateway.control.stop import StopSwitch
from gateway.domain.plan import ActionKind
from gateway.remediate.actions.configuration import RollBack
from gateway.remediate.actions.edge import by_directive
from gateway.remediate.approval import stopped_words
from gateway.remediate.closed_loop import Remediation
from gateway.store.actions import Actions
from gateway.store.journaled import JournaledActions
from gateway.store.switches import Switches

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.casebook import Casebook
    from gateway.config.publisher import Publisher
    from gateway.config.revisions import Revisions
    from gateway.control.directives import Board
    from gateway.domain.callers import Callers
    from gateway.domain.incident import Change
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.window import Window
    from gateway.store.engine import Store
    from gateway.store.journal import Journal


class Remedies(NamedTuple):
    """What the pipeline is handed."""

    remediation: Remediation
    claims: JournaledActions
    settings: Callable[[], RemediateSettings]


def stop_switch(store: Store, journal: Journal, clock: Callable[[], float]) -> StopSwitch:
    """The switch that stops all actions."""
    return StopSwitch(Switches(store), journal, clock)


def stopped(stop: StopSwitch) -> str:
    """Who stopped all actions, for people; empty while they may run."""
    return stopped_words(stop.known) if stop.known.on else ""


def remedies(
    store: Store,
    journal: Journal,
    publisher: Publisher,
    board: Board,
    revisions: Revisions,
    casebook: Casebook,
    *,
    window: Window,
    callers: Callers,
    changes: Callable[[], tuple[Change, ...]],
) -> Remedies:
    """Everything that acts, joined."""

    def settings() -> RemediateSettings:
        bounds = compiling.remediate_settings(publisher.configuration.document)
        return msgspec.structs.replace(bounds, ran=ran_lately(casebook.all))

    executors = by_directive(board) | {ActionKind.ROLL_BACK: RollBack(revisions)}
    remediation = Remediation(executors, window, lambda: publisher.snapshot, settings, callers=callers, changes=changes)
    return Remedies(remediation, JournaledActions(Actions(store), journal, board.fence), settings)
