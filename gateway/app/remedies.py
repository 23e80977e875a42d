"""What control acts with: who carries actions out, what makes each happen once, and the switch that stops them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.acting import about, ran_lately
from gateway.config import compile as compiling
from gateway.control.stop import StopSwitch
from gateway.domain.plan import ActionKind
from gateway.notify.addresses import refusal
from gateway.remediate.actions.aws import RunAws
from gateway.remediate.actions.configuration import RollBack
from gateway.remediate.actions.edge import by_directive
from gateway.remediate.actions.kubernetes import RunKubernetes
from gateway.remediate.actions.outside import RunOutside
from gateway.remediate.actions.ssh import RunSsh
from gateway.remediate.actions.webhook import CallWebhook
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
    from gateway.remediate.actions.outside import Doer
    from gateway.store.engine import Store
    from gateway.store.journal import Journal


class Seen(NamedTuple):
    """What actions are proposed and judged by."""

    window: Window
    callers: Callers
    changes: Callable[[], tuple[Change, ...]]


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
    seen: Seen,
    secret: Callable[[str], str | None],
) -> Remedies:
    """Everything that acts, joined."""

    def settings() -> RemediateSettings:
        bounds = compiling.remediate_settings(publisher.configuration.document)
        return msgspec.structs.replace(bounds, ran=ran_lately(casebook.all))

    def troubled(incident_id: str) -> frozenset[str]:
        return about(one for one in casebook.open_ones if one.id != incident_id)

    def refused(_scheme: str, address: str) -> str:
        return refusal(address)

    doers: dict[str, Doer] = {
        "webhook": CallWebhook(secret, refused),
        "ssh": RunSsh(),
        "kubernetes": RunKubernetes(secret, refused),
        "aws": RunAws(),
    }
    executors = by_directive(board) | {
        ActionKind.ROLL_BACK: RollBack(revisions),
        ActionKind.RUN_OUTSIDE: RunOutside(doers, lambda: settings().commands),
    }
    remediation = Remediation(
        executors,
        seen.window,
        lambda: publisher.snapshot,
        settings,
        callers=seen.callers,
        changes=seen.changes,
        troubled=troubled,
    )
    return Remedies(remediation, JournaledActions(Actions(store), journal, board.fence), settings)
