"""What an action does, as people say it: asked, done, refused and taken back. Pure, and the only place that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.plan import ActionKind

if TYPE_CHECKING:
    from gateway.domain.plan import Action


class Words(NamedTuple):
    """One action in the forms a sentence needs; none begins with a capital or ends with a full stop."""

    ask: str  # "take 10.0.0.7:9000 of payments out"
    done: str
    stands: str  # while it is in force
    undone: str
    declined: str
    failed: str


def words(action: Action) -> Words:
    """How people are told of it."""
    thing = action.object
    upstream, route = action.upstream, f" on route {action.route}" if action.route else ""
    where = f"{upstream}{route}" if upstream else f"route {action.route}"
    share = f"{action.amount:.0%}"
    table = {
        ActionKind.EJECT_TARGET: Words(
            f"take {thing} out",
            f"{thing} was taken out",
            f"{thing} is out",
            f"{thing} is back in rotation",
            f"{thing} stays in",
            f"{thing} could not be taken out",
        ),
        ActionKind.OPEN_CIRCUIT: _plain(f"open the circuit of {where}", f"the circuit of {where}", "opened", "closed"),
        ActionKind.SHED_LOAD: _plain(f"shed {share} of {where}", f"{share} of {where}", "shed", "let through"),
        ActionKind.TIGHTEN_LIMIT: _plain(
            f"tighten the limits{route} to {share}", f"the limits{route}", "tightened", "given back", plural=True
        ),
        ActionKind.LIMIT_CALLER: _plain(f"limit {thing} to {action.amount:g}/s", thing, "limited", "let through"),
        ActionKind.BLOCK_CALLER: _plain(f"block {thing}", thing, "blocked", "let through"),
        ActionKind.SHIFT_WEIGHT: _plain(
            f"send the requests of {where} elsewhere", f"the weight of {where}", "shifted", "given back"
        ),
        ActionKind.ROLL_BACK: _plain(
            f"roll the configuration back to revision {action.revision}", thing, "rolled back", "in force again"
        ),
        ActionKind.RUN_OUTSIDE: _plain(f"run {thing}", thing, "run", "taken back"),
    }
    return table[action.kind]


def _plain(ask: str, thing: str, done: str, undone: str, *, plural: bool = False) -> Words:
    was, stands = ("were", "are") if plural else ("was", "is")
    return Words(
        ask,
        f"{thing} {was} {done}",
        f"{thing} {stands} {done}",
        f"{thing} {stands} {undone}",
        f"{thing} {stands} not {done}",
        f"{thing} could not be {done}",
    )
