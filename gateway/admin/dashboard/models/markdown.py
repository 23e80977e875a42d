"""An incident as Markdown, for a ticket or a review: the same facts in the same order as the page."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from gateway.admin.dashboard import wording
from gateway.admin.dashboard.models import incident as view

if TYPE_CHECKING:
    from gateway.admin.dashboard.models.incident import Headline
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action

_MOST_CHANGED = 12  # lines of what a revision changed
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!])")


def plain(text: str) -> str:
    """Text that stays text: Markdown signs and HTML are escaped, control characters spelled out."""
    return escape(_SPECIAL.sub(r"\\\1", wording.shown(text)), quote=False)


def export(incident: Incident, headline: Headline) -> str:
    """The whole incident. Every text that may come from traffic goes through :func:`plain`."""
    lines = [
        f"# {incident.severity} {plain(incident.title)}",
        "",
        f"- Incident: {plain(incident.id)}, {view.INCIDENT_STATES[incident.state][1]}",
        f"- What: {plain(headline.what)}",
        f"- Since: {wording.iso(incident.onset)} ({wording.span(headline.since_s)})",
        f"- For whom: {plain(headline.for_whom)}",
        f"- How sure: {plain(headline.how_sure)}",
    ]
    lines += [f"- Done: {plain(step.text)}: {plain(step.verdict)}" for step in headline.done]
    if incident.closed_at is not None:
        lines.append(f"- Closed: {wording.iso(incident.closed_at)}: {plain(incident.close_reason)}")
    return (
        "\n".join([*lines, *_cause(incident), *_said(incident), *_plan(incident.actions), *_timeline(incident)]) + "\n"
    )


def _cause(incident: Incident) -> list[str]:
    diagnosis = incident.diagnosis
    if diagnosis is None:
        return []
    lines = ["", "## Cause", "", plain(diagnosis.report.summary), ""]
    lines += [f"- {plain(claim.text)} ({', '.join(claim.evidence)})" for claim in diagnosis.report.claims]
    lines += ["", "| possible cause | score | |", "|---|---|---|"]
    for hypothesis in diagnosis.hypotheses:
        note = f"ruled out: {plain(hypothesis.why)}" if hypothesis.ruled_out else ", ".join(hypothesis.evidence)
        lines.append(f"| {plain(hypothesis.statement)} | {hypothesis.score:.2f} | {note} |")
    lines += ["", "## Evidence", ""]
    for item in diagnosis.evidence:
        lines.append(f"- **{item.id}** {plain(item.statement)}")
        lines += [f"  - {plain(line)}" for line in str(item.values.get("difference", "")).splitlines()[:_MOST_CHANGED]]
    if diagnosis.report.steps:
        lines += ["", "## Steps for people", ""]
        lines += [f"{place}. {plain(text)}" for place, text in enumerate(diagnosis.report.steps, 1)]
    return [*lines, "", view.cost(diagnosis) + "."]


def _said(incident: Incident) -> list[str]:
    if not incident.alerts:
        return []
    lines = ["", "## Said by other monitoring", ""]
    for alert in incident.alerts:
        until = f" until {wording.iso(alert.ended_at)}" if alert.ended_at is not None else ""
        told = ". ".join(plain(text) for text in (alert.words.name, alert.words.summary) if text)
        since = f"since {wording.iso(alert.starts_at)}{until}"
        lines.append(f"- Said by {alert.source.spoken}, {alert.severity}, {since}: {told}")
    return lines


def _plan(actions: tuple[Action, ...]) -> list[str]:
    if not actions:
        return []
    lines = ["", "## Plan", ""]
    for action in actions:
        lines.append(f"- {plain(view.name(action))}: {view.ACTION_STATES[action.state][1]} ({action.risk.lower()})")
        lines.append(f"  - Effect: {plain(action.effect)} Undo: {plain(action.undo)}")
        if action.outcome is not None:
            lines.append(f"  - Outcome: {plain(action.outcome.statement)}")
    return lines


def _timeline(incident: Incident) -> list[str]:
    told = [
        f"- {wording.iso(entry.at)} {plain(entry.text)} ({entry.kind}, {plain(entry.actor)})"
        for entry in incident.timeline
    ]
    return ["", "## Time line", "", *told]
