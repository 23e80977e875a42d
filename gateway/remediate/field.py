"""Which requests an action is about: those to make better, those to compare with, those it leaves alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.plan import Action, ActionKind
from gateway.domain.traffic import ErrorKind

if TYPE_CHECKING:
    from gateway.domain.traffic import SeriesKey
    from gateway.domain.window import Where


def acted_on(action: Action) -> Where:
    """What has to get better: the upstream, the split route, or the incident's place for a configuration."""
    if action.kind is ActionKind.SHIFT_WEIGHT:
        return lambda key: key.route == action.route
    if action.kind is ActionKind.OPEN_CIRCUIT:
        # What the open circuit itself answers says nothing of the service.
        return lambda key: key.upstream == action.upstream and key.error != ErrorKind.CIRCUIT_OPEN
    return lambda key: key.upstream == action.upstream and action.route in {"", key.route}


def field_name(action: Action) -> str:
    """What is acted on, in a sentence with numbers."""
    return f"route {action.route}" if action.kind is ActionKind.SHIFT_WEIGHT else action.upstream


def ill(action: Action) -> Where:
    """The part that is wrong: one target, one upstream of a split; else all that is acted on."""
    if action.kind is ActionKind.EJECT_TARGET:
        return lambda key: key.upstream == action.upstream and key.target == action.target
    if action.kind is ActionKind.SHIFT_WEIGHT:
        return lambda key: key.route == action.route and key.upstream == action.upstream
    return acted_on(action)


def beside(action: Action) -> Where | None:
    """What is well meanwhile and has the same to do; None where there is nothing of the kind."""
    if action.kind is ActionKind.EJECT_TARGET:
        return lambda key: key.upstream == action.upstream and key.target not in {action.target, ""}
    if action.kind is ActionKind.SHIFT_WEIGHT:
        return lambda key: key.route == action.route and key.upstream not in {action.upstream, ""}
    return None


def untouched(action: Action) -> Where:
    """All other upstreams: what happens to everybody is not the action's doing.

    Those with a trouble of their own are left out: that they recover says nothing of this one.
    """
    theirs = {action.upstream, action.watch.place_upstream, *action.watch.apart}

    def elsewhere(key: SeriesKey) -> bool:
        return key.upstream not in theirs and (not action.route or key.route != action.route)

    return elsewhere
