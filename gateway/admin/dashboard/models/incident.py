"""An incident as the person woken by it needs it: the answer first, each part with what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.admin.dashboard import wording
from gateway.admin.dashboard.models.changes import deploy_in_words
from gateway.domain.action_words import words
from gateway.domain.incident import AlertSource, IncidentState, Signal, TimelineEntry
from gateway.domain.plan import ActionKind, ActionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.admin.dashboard.models.chart import Span
    from gateway.domain.audit import ConfigRevision
    from gateway.domain.deploy import Deploy
    from gateway.domain.diagnosis import Diagnosis, Hypothesis
    from gateway.domain.incident import Anomaly, Incident
    from gateway.domain.plan import Action
    from gateway.domain.traffic import Tally

# (sign, word, look) of an action's state, and of what its traffic said about it.
ACTION_STATES: dict[ActionState, tuple[str, str, str]] = {
    ActionState.PENDING: ("?", "waits for you", "accent"),
    ActionState.APPROVED: ("…", "approved, starting", "accent"),
    ActionState.REJECTED: ("–", "rejected", ""),
    ActionState.EXPIRED: ("–", "lapsed undecided", ""),
    ActionState.EXECUTED: ("✓", "in force", ""),
    ActionState.FAILED: ("✕", "failed", "bad"),
    ActionState.REVERTED: ("↺", "taken back", ""),
    ActionState.RUNNING: ("…", "running outside", "accent"),
    ActionState.KEPT: ("✓", "done, stays", ""),
    ActionState.UNKNOWN: ("?", "outcome unknown, please look", "bad"),
}
VERDICTS: dict[str, tuple[str, str, str]] = {
    "watching": ("…", "watching whether it helps", "accent"),
    "helped": ("✓", "it helped", ""),
    "no_effect": ("✕", "no effect, taken back", "bad"),
    "worse": ("✕", "made it worse, taken back", "bad"),
    "too_little_traffic": ("?", "too little traffic to tell", ""),
}
# (sign, word, look) per state of an incident.
INCIDENT_STATES: dict[IncidentState, tuple[str, str, str]] = {
    IncidentState.OPEN: ("●", "open", "accent"),
    IncidentState.ANALYZING: ("●", "being analysed", "accent"),
    IncidentState.MITIGATING: ("●", "being mitigated", "accent"),
    IncidentState.CLOSED: ("✓", "closed", ""),
}
# What each kind of evidence is, for people.
EVIDENCE_KINDS = {
    "series": "over time",
    "comparison": "compared",
    "attribution": "who carries it",
    "alert": "said by others",
    "self": "about ourselves",
    "change": "change",
    "sample": "sample",
    "topology": "who calls whom",
    "blast_radius": "who is hurt",
    "log": "logged elsewhere",
    "runbook": "runbook",
    "memory": "seen before",
}
DETECTORS = {
    "threshold": "above the threshold",
    "robust_z": "unlike the last hour",
    "streaming": "unlike the last days",
    "hard_failure": "hard failure",
    "worse_than_siblings": "worse than its siblings",
    "worse_than_before": "worse than before",
    "burn_rate": "burns its error budget",
    "saturation": "turned away for want of room",
    "new_error": "never seen there before",
    "own_trouble": "a part of the gateway itself",
    **{str(source): f"said by {source.spoken}" for source in AlertSource},
}


class Step(msgspec.Struct, frozen=True):
    """What was done, and whether it helped, in one line."""

    sign: str
    text: str
    verdict: str
    look: str = ""
    link: str = ""


class Headline(msgspec.Struct, frozen=True):
    """The block on top, readable in five seconds."""

    what: str
    since_s: float  # how long it lasted or lasts
    for_whom: str
    how_sure: str
    done: tuple[Step, ...]
    waiting: int  # actions that ask for a decision


class Hurt(msgspec.Struct, frozen=True):
    """One tenant's part in an incident."""

    tenant: str
    requests: int
    errors: int


def headline(incident: Incident, hurt: tuple[Hurt, ...], now: float) -> Headline:
    """What is broken, since when, for whom, how sure, what was done and whether it helped."""
    return Headline(
        what=_what(incident),
        since_s=(incident.closed_at or now) - incident.onset,
        for_whom=for_whom(incident, hurt),
        how_sure=how_sure(incident.diagnosis),
        done=tuple(step(action) for action in incident.actions if action.executed_at is not None),
        waiting=len(pending(incident)),
    )


def _what(incident: Incident) -> str:
    report = incident.diagnosis.report if incident.diagnosis else None
    if report is None:
        return incident.anomalies[0].reason if incident.anomalies else f"Seen at {incident.place}; no cause is known."
    if report.inconclusive or not report.root_cause:
        return f"{report.summary} The cause is not settled."
    return report.root_cause


def hurt_by_tenant(sums: Mapping[tuple[str | int, ...], Tally], signal: Signal) -> tuple[Hurt, ...]:
    """Tenants with their figures since the onset, the most hurt first.

    Args:
        sums: grouped by tenant.
        signal: with errors only tenants that saw some count; else everyone who sent requests.
    """
    rows = [Hurt(tenant=str(tenant), requests=tally.requests, errors=tally.errors) for (tenant,), tally in sums.items()]
    by_errors = signal in {Signal.ERROR_RATE, Signal.ALERT}  # an alert says of nobody that its requests suffer
    kept = [row for row in rows if row.errors or (not by_errors and row.requests)]
    return tuple(sorted(kept, key=lambda row: (-row.errors, -row.requests, row.tenant)))


def for_whom(incident: Incident, hurt: tuple[Hurt, ...]) -> str:
    """Callers first, in figures; without figures what the report names, else the place alone."""
    if hurt and incident.signal is not Signal.SELF:
        errors, requests = sum(row.errors for row in hurt), sum(row.requests for row in hurt)
        no_tenant = "callers" if len(hurt) == 1 else "callers without a tenant"
        tenants = wording.joined([wording.shown(row.tenant) or no_tenant for row in hurt])
        if incident.signal in {Signal.ERROR_RATE, Signal.ALERT}:
            return f"{tenants}: {wording.count(errors)} of {wording.count(requests)} requests failed"
        return f"{tenants}: {wording.plural(requests, 'request')}"
    affected = incident.diagnosis.report.affected if incident.diagnosis else ()
    return wording.joined(list(affected)) if affected else f"everyone who uses {incident.place}"


def how_sure(diagnosis: Diagnosis | None) -> str:
    """The word, the number behind it, and the lead over the next cause."""
    if diagnosis is None:
        return "not analysed"
    report, leading = diagnosis.report, diagnosis.leading
    if not report.inconclusive and leading is None:
        return f"{report.confidence} ({report.confidence_score:.2f} of 1): the gateway saw it itself"
    if report.inconclusive or leading is None:
        return f"inconclusive: no cause stands out ({report.confidence_score:.2f} of 1)"
    lead = f", {leading.margin:.2f} ahead of the next cause" if leading.margin else ""
    return f"{report.confidence}: {report.confidence_score:.2f} of 1{lead}"


def step(action: Action) -> Step:
    """One executed action and what became of it."""
    outcome = action.outcome
    if outcome is not None:
        sign, word, look = VERDICTS.get(outcome.verdict, ("?", outcome.verdict, ""))
        if outcome.verdict == "helped":
            word = f"{word}: {wording.share(outcome.before)} → {wording.share(outcome.after)} errors"
    else:
        sign, word, look = ACTION_STATES[action.state]
    return Step(sign=sign, text=name(action), verdict=word, look=look, link=f"#{action.id}")


def name(action: Action) -> str:
    """What an action is, exactly: kind, object, time to live."""
    if action.kind is not ActionKind.EJECT_TARGET:
        asked = words(action).ask
        lasting = f" for {wording.span(action.ttl_s)}" if action.ttl_s else ""
        return f"{asked[:1].upper()}{asked[1:]}{lasting}"
    verb = action.kind.replace("_target", "").replace("_", " ").capitalize()
    return f"{verb} {action.target} from {action.upstream} for {wording.span(action.ttl_s)}"


def pending(incident: Incident) -> tuple[Action, ...]:
    """Actions that wait for a decision."""
    return tuple(action for action in incident.actions if action.state is ActionState.PENDING)


def time_left_s(action: Action, now: float) -> float | None:
    """Until an undecided action lapses, or an executed one ends by itself; None when neither."""
    if action.state is ActionState.PENDING:
        return max(0.0, action.expires_at - now)
    if action.state is ActionState.EXECUTED and action.executed_at is not None and action.ttl_s:
        return max(0.0, action.executed_at + action.ttl_s - now)
    return None


def measured(anomaly: Anomaly) -> tuple[str, str]:
    """Observed and expected in the signal's own unit."""
    write = {
        Signal.ERROR_RATE: wording.share,
        Signal.LATENCY: wording.latency,
        Signal.TRAFFIC: wording.rate,
        Signal.BUDGET: wording.times,
        Signal.SATURATION: wording.share,
        Signal.ALERT: wording.count,
        Signal.SELF: "{:g}".format,  # in the part's own measure
    }
    return write[anomaly.signal](anomaly.observed), write[anomaly.signal](anomaly.expected)


def where(hypothesis: Hypothesis) -> str:
    """The place a hypothesis accuses, such as ``payments, 10.0.0.7:9000``."""
    named = (hypothesis.upstream, hypothesis.target, hypothesis.route, hypothesis.tenant)
    return ", ".join(wording.shown(value) for value in named if value)


def cost(diagnosis: Diagnosis) -> str:
    """What the report cost, and why no model wrote it if one was meant to."""
    report = diagnosis.report
    if report.source == "rules":
        reason = f"; {report.fallback_reason}" if report.fallback_reason else ""
        return f"Report written by rules, no model asked{reason}"
    if report.cached:
        return f"Report by {report.model or report.source}, kept from when the same evidence was explained: $0"
    tokens = wording.count(report.tokens_in + report.tokens_out)
    return f"Report by {report.model or report.source}: {tokens} tokens, ${report.cost_usd}, {report.duration_s:.1f} s"


def timeline(
    incident: Incident, revisions: Iterable[ConfigRevision], deploys: Iterable[Deploy], shown: Span
) -> tuple[TimelineEntry, ...]:
    """The incident's own story, and what was changed on purpose around it, on one line of time."""
    changed = [
        TimelineEntry(one.at, "config.applied", f"Configuration revision {one.revision} came into force.", one.actor)
        for one in revisions
    ]
    changed += [TimelineEntry(one.at, "deploy.told", f"{deploy_in_words(one)}.", one.actor) for one in deploys]
    around = [entry for entry in changed if shown.start <= entry.at <= shown.end]
    return tuple(sorted((*around, *incident.timeline), key=lambda entry: entry.at))
