"""What the operator lets be done outside the gateway for an upstream: when it is proposed, and within what. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.plan import Action, ActionKind, Risk
from gateway.remediate.harm import harm
from gateway.remediate.situation import Assessment, Draft, Refusal, Situation
from gateway.remediate.wording import counted, span, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.policy import OutsideCommand

_HOUR_S = 3600.0
_IN_VAIN = frozenset({"no_effect", "worse"})
_WHAT = {
    ("kubernetes", "restart"): "Restart deployment {deployment} in namespace {namespace}, pod after pod",
    ("kubernetes", "scale"): "Scale deployment {deployment} in namespace {namespace} to {replicas} replicas",
    ("kubernetes", "undo"): "Roll deployment {deployment} in namespace {namespace} back to the release before",
    ("aws", "redeploy"): "Start service {service} of cluster {cluster} anew, task after task",
    ("aws", "capacity"): "Set the desired capacity of group {group} to {capacity}",
    ("aws", "terminate"): "End the unhealthy instance of group {group} so that it is replaced",
}


def propose(situation: Situation) -> Draft | Refusal:
    """The first command configured for the upstream that was not done in this incident and is within its cap."""
    upstream = situation.upstream
    if upstream is None:
        return Refusal(f"{situation.hypothesis.id} does not name an upstream")
    command = _next(situation, upstream.name)
    if isinstance(command, Refusal):
        return command
    watch = harm(situation, upstream)
    if isinstance(watch, Refusal):
        return watch
    dry = " Dry run: it is only written down." if command.dry_run else ""
    return Draft(
        upstream=upstream.name,
        target="",
        ttl_s=0.0,
        command=command.name,
        undo_command=command.undo,
        blast=1.0,
        effect=(
            f"{what(command)} ([actions.{command.name}]).{dry} In the last minute {counted(watch.target)} requests to "
            f"{upstream.name} {what_is_bad(watch)}, {counted(watch.siblings)} before it began."
        ),
        undo=f"Run [actions.{command.undo}]." if command.undo else "Nothing takes it back.",
        success_signal=(
            f"From {span(command.settle_s)} on, clearly fewer requests to {upstream.name} go wrong "
            f"({what_is_bad(watch)})."
        ),
        watch=msgspec.structs.replace(watch, settle_s=command.settle_s),
    )


def _next(situation: Situation, upstream: str) -> OutsideCommand | Refusal:
    """What takes back the one that did not help; else the first that was not proposed in this incident."""
    ran = [one for one in situation.incident.actions if one.kind is ActionKind.RUN_OUTSIDE]
    proposed = {one.command for one in ran}
    in_vain = [one.undo_command for one in ran if one.outcome is not None and one.outcome.verdict in _IN_VAIN]
    offered = [one for one in situation.commands if one.upstream == upstream]
    for command in offered:
        if command.name in in_vain and command.name not in proposed:
            return command
    first = next((one for one in offered if not one.only_undo and one.name not in proposed), None)
    if first is not None:
        return first
    return Refusal(f"[actions] has none for {upstream}" + (" that was not proposed already" if proposed else ""))


def what(command: OutsideCommand) -> str:
    """What a command does, in the words of its configuration."""
    if command.kind == "webhook":
        return f"Call the webhook {command.name}"
    if command.kind == "ssh":
        return f"Run the command of {command.name} on {command.get('host')}"
    return _WHAT[command.kind, command.do].format_map(dict(command.settings))


def risk(action: Action, commands: tuple[OutsideCommand, ...], lately: int) -> Assessment:
    """As the operator judged it; ``lately`` counts how often the command ran within the last hour."""
    command = next((one for one in commands if one.name == action.command), None)
    if command is None or command.upstream != action.upstream:
        return Assessment(Risk.CRITICAL, "it is not configured", f"[actions] has no {action.command} for it any more")
    over = f"it ran {lately} times within {span(_HOUR_S)}; per_hour allows {command.per_hour}"
    reason = f"[actions.{command.name}] says {command.risk}" + ("" if command.undo else "; nothing takes it back")
    return Assessment(command.risk, reason, over if lately >= command.per_hour else "")
