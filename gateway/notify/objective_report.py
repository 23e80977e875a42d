"""The daily report of all objectives, as Markdown. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.domain.objectives import ADVICE, BudgetLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.objectives import ObjectiveState

_WORST_FIRST = tuple(reversed(BudgetLevel))


def daily_report(states: Sequence[ObjectiveState], now: float) -> str:
    """Every objective in a table, those in trouble first, and below it what to do.

    Args:
        states: how each objective stands.
        now: seconds since the epoch.
    """
    day = datetime.fromtimestamp(now, UTC)
    lines = [f"# Service levels, {day:%Y-%m-%d %H:%M} UTC", ""]
    if not states:
        return "\n".join([*lines, "No objectives are configured: add [[slos]] to sentinel.toml.", ""])
    ordered = sorted(states, key=lambda state: (_WORST_FIRST.index(state.level), state.remaining))
    lines += [
        "| objective | promised | kept | budget left | fastest burn | level |",
        "|---|---|---|---|---|---|",
        *(_row(state) for state in ordered),
        "",
    ]
    for state in ordered:
        if state.level is not BudgetLevel.NORMAL or state.firing:
            lines.append(f"- **{state.objective.name}**: {_todo(state)}")
    if all(state.level is BudgetLevel.NORMAL and not state.firing for state in states):
        lines.append("Every budget is above half and none burns too fast. " + ADVICE[BudgetLevel.NORMAL])
    return "\n".join([*lines, ""])


def _row(state: ObjectiveState) -> str:
    objective = state.objective
    promise = f"{objective.objective * 100:g} %" + (
        f" within {objective.latency_s * 1000:g} ms" if objective.latency_s is not None else ""
    )
    fastest = max(state.burns, key=lambda burn: burn.long, default=None)
    burn = f"{fastest.long:.1f} × over {fastest.long_s / 3600:g} h" if fastest is not None and fastest.long else "none"
    kept = f"{state.achieved * 100:.3f} % of {state.requests:,}" if state.requests else "no traffic"
    return f"| {objective.name} | {promise} | {kept} | {state.remaining * 100:.0f} % | {burn} | {state.level} |"


def _todo(state: ObjectiveState) -> str:
    said = ADVICE[state.level]
    for burn in state.firing[:1]:
        urgency = "look now" if burn.severity in {"P1", "P2"} else "review it within 4 hours"
        said = f"burns {burn.long:.1f} times too fast over {burn.long_s / 3600:g} h: {urgency}. {said}"
    return said
