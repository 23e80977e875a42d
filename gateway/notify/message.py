"""What is told about an incident, free of any channel: plain sentences for somebody half asleep. Pure.

Texts are built from our own templates, names out of the configuration and numbers; what may carry words of the traffic
(titles, summaries) is cleaned of control and direction characters here, and escaped by each channel.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.domain.action_words import words
from gateway.domain.incident import Incident, IncidentState, Severity
from gateway.domain.plan import Action, ActionState
from gateway.notify.wording import clock_time, duration, plain

SCHEMA_VERSION = 1
_TITLE_LENGTH = 150
_LINE_LENGTH = 1000
_MOST_LINES = 20
_MOST_SAID, _SAID_LENGTH = 3, 200  # alerts of others, and characters of each
_ESCALATION = "incident.escalated"  # the timeline entry of one


class What(StrEnum):
    """The news."""

    OPENED = "opened"
    RAISED = "raised"  # its severity rose
    DIAGNOSED = "diagnosed"
    PROPOSED = "action_proposed"
    EXECUTED = "action_executed"
    VERIFIED = "action_verified"
    RETURNED = "action_reverted"
    FAILED = "action_failed"
    ESCALATED = "escalated"  # what was tried did not help, or no longer does
    REJECTED = "action_rejected"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"  # nobody takes care of it yet
    CLOSED = "closed"
    REPORT = "report"  # what is told regularly
    DIGEST = "digest"  # many messages drawn together
    TEST = "test"


class Link(msgspec.Struct, frozen=True):
    """Where to go on; ``wants_decision`` marks the one to approve or reject by."""

    text: str
    url: str
    wants_decision: bool = False


class Decision(msgspec.Struct, frozen=True):
    """The action that waits, as buttons need it: what is pressed holds for exactly this."""

    action_id: str
    fingerprint: str
    effect: str


class Message(msgspec.Struct, frozen=True):
    """One piece of news. ``key`` is ``incident:{id}:{what}:{n}``: the same news is told once to each channel.

    ``about``, ``standing``, ``decision`` and ``acknowledged`` say how the incident stands as a whole, for channels that
    keep one picture of it up to date.
    """

    key: str
    what: What
    at: float  # seconds since the epoch
    severity: Severity
    title: str
    lines: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()  # name and value, in order
    links: tuple[Link, ...] = ()
    incident_id: str = ""
    tenant: str = ""
    version: int = SCHEMA_VERSION
    about: str = ""  # the incident's own title
    standing: tuple[str, ...] = ()
    decision: Decision | None = None
    acknowledged: bool = False


def of_incident(incident: Incident, what: What, now: float, *, base_url: str = "", occasion: str = "1") -> Message:
    """News of the incident itself: OPENED, RAISED, DIAGNOSED, ESCALATED, ACKNOWLEDGED, UNACKNOWLEDGED or CLOSED.

    Args:
        incident: as it stands now.
        what: the news.
        now: seconds since the epoch.
        base_url: where the dashboard is reached, such as ``https://gateway.example``; without it there are no links.
        occasion: tells one UNACKNOWLEDGED from the next.
    """
    lines, numbering = {
        What.RAISED: (_raised(incident), incident.severity.value),
        What.DIAGNOSED: (_diagnosed(incident), _diagnosis_number(incident)),
        What.ESCALATED: (_escalated(incident), str(sum(one.kind == _ESCALATION for one in incident.timeline))),
        What.ACKNOWLEDGED: ((f"{incident.acknowledged_by} takes care of it.",), "1"),
        What.UNACKNOWLEDGED: (_unacknowledged(incident, now), occasion),
        What.CLOSED: (_closed(incident, now), "1"),
    }.get(what, (_opened(incident), "1"))
    heads = {
        What.ACKNOWLEDGED: "Acknowledged: ",
        What.UNACKNOWLEDGED: "Still open: ",
        What.RAISED: "Worse: ",
        What.DIAGNOSED: "Diagnosed: ",
        What.ESCALATED: "Please look: ",
        What.CLOSED: "Closed: ",
    }
    return _message(incident, what, numbering, heads.get(what, "") + incident.title, lines, now, base_url)


def of_action(incident: Incident, action: Action, what: What, now: float, *, base_url: str = "") -> Message:
    """News of one action: PROPOSED, REJECTED, EXECUTED, VERIFIED, RETURNED or FAILED."""
    say = words(action)
    dry = "Dry run: " if action.dry else ""
    title, lines = {
        What.PROPOSED: (f"Please decide: {say.ask}?", _proposed(action, now)),
        What.REJECTED: (f"Declined: {say.declined}", _rejected(action)),
        What.EXECUTED: (f"{dry}{say.done}", _executed(action)),
        What.VERIFIED: (f"{_verdict(action)}: {dry}{say.stands}", _outcome(action)),
        What.RETURNED: (f"{dry}{say.undone}", _returned(action)),
        What.FAILED: (say.failed, _failed(action)),
    }[what]
    numbering = action.id if what is not What.VERIFIED else f"{action.id}.{_verdict_name(action)}"
    decide = what is What.PROPOSED and action.state is ActionState.PENDING
    return _message(incident, what, numbering, title, lines, now, base_url, decide=decide)


def news_of(action: Action) -> list[What]:
    """What people should have been told of an action by now."""
    news = [What.EXECUTED] if action.executed_at is not None else []
    if action.state in {ActionState.FAILED, ActionState.UNKNOWN}:
        news.append(What.FAILED)
    if action.outcome is not None and action.outcome.verdict != "watching":
        news.append(What.VERIFIED)
    if action.state is ActionState.REVERTED:
        news.append(What.RETURNED)
    return news


def trial_message(now: float, *, severity: Severity = Severity.P4) -> Message:
    """What "send test" sends: goes to every channel, whatever its severities."""
    return Message(
        key=f"test:{now:.3f}",
        what=What.TEST,
        at=now,
        severity=severity,
        title="Test from SentinelStack",
        lines=("If you can read this, notifications arrive here. Nothing is wrong.",),
    )


def _message(
    incident: Incident,
    what: What,
    numbering: str,
    title: str,
    lines: tuple[str, ...],
    now: float,
    base_url: str,
    *,
    decide: bool = False,
) -> Message:
    page = f"{base_url.rstrip('/')}/dashboard/incidents/{incident.id}" if base_url else ""
    links = (Link("Approve or reject", f"{page}#plan", wants_decision=True),) if decide and page else ()
    return Message(
        key=f"incident:{incident.id}:{what}:{numbering}",
        what=what,
        at=now,
        severity=incident.severity,
        title=plain(title, _TITLE_LENGTH),
        lines=tuple(cut for line in lines[:_MOST_LINES] if (cut := plain(line, _LINE_LENGTH))),
        fields=_fields(incident, now),
        links=(*links, Link("Open the incident", page)) if page else (),
        incident_id=incident.id,
        tenant=incident.tenant,
        about=plain(incident.title, _TITLE_LENGTH),
        standing=tuple(cut for line in _standing(incident) if (cut := plain(line, _LINE_LENGTH))),
        decision=_decision(incident),
        acknowledged=bool(incident.acknowledged_by),
    )


def _standing(incident: Incident) -> tuple[str, ...]:
    """How the incident stands now, in at most four lines."""
    found = incident.diagnosis.report.root_cause if incident.diagnosis else ""
    cause = f"Cause: {found}" if found else "The cause is not clear."
    if incident.state is IncidentState.CLOSED:
        return (cause, f"Closed: {incident.close_reason or 'it is over'}.".replace("..", "."))
    last = incident.actions[-1] if incident.actions else None
    done = ""
    if last is not None and last.outcome is not None:
        done = f"{_verdict(last)}. {last.outcome.statement}"
    elif last is not None and last.executed_at is not None:
        done = f"Done: {last.effect}"
    elif last is not None and last.state is ActionState.PENDING:
        done = f"Waits for a decision: {last.effect}"
    by = incident.acknowledged_by
    return (cause, done, f"{by} takes care of it." if by else "Nobody has acknowledged it yet.")


def _decision(incident: Incident) -> Decision | None:
    if incident.state is IncidentState.CLOSED:
        return None
    waiting = [action for action in incident.actions if action.state is ActionState.PENDING]
    if not waiting:
        return None
    return Decision(waiting[-1].id, waiting[-1].fingerprint, plain(waiting[-1].effect, _LINE_LENGTH))


def _fields(incident: Incident, now: float) -> tuple[tuple[str, str], ...]:
    since = f"{clock_time(incident.onset)}, {duration((incident.closed_at or now) - incident.onset)}"
    return (
        ("Severity", incident.severity.value),
        ("Where", plain(str(incident.place), 200)),
        ("Lasted" if incident.state is IncidentState.CLOSED else "Since", since),
        ("Incident", incident.id),
    )


def _opened(incident: Incident) -> tuple[str, ...]:
    worst = sorted(incident.anomalies, key=lambda one: (one.severity, -one.score))[:3]
    reasons = tuple(dict.fromkeys(anomaly.reason for anomaly in worst)) or (f"Something is wrong at {incident.place}.",)
    return (*reasons, *_said(incident))


def _said(incident: Incident) -> tuple[str, ...]:
    """What other monitoring says, in its own words and marked as such."""
    fire = [alert for alert in incident.alerts if alert.ended_at is None][:_MOST_SAID]
    told = ((alert.source.spoken, ": ".join(filter(None, (alert.words.name, alert.words.summary)))) for alert in fire)
    return tuple(f"Said by {source}: “{plain(words, _SAID_LENGTH)}”" for source, words in told if words)


def _raised(incident: Incident) -> tuple[str, ...]:
    return (f"It is {incident.severity.value} now.", *_opened(incident))


def _diagnosed(incident: Incident) -> tuple[str, ...]:
    if incident.diagnosis is None:
        return ("There is no diagnosis yet.",)
    report = incident.diagnosis.report
    sure = f"How sure: {report.confidence} ({report.confidence_score:.0%})."
    cause = "The cause is not clear." if report.inconclusive else f"Cause: {report.root_cause}"
    affected = f"Affected: {', '.join(report.affected[:10])}." if report.affected else ""
    steps = tuple(f"{number}. {step}" for number, step in enumerate(report.steps[:5], 1))
    fallback = f"Written without a model: {report.fallback_reason}" if report.fallback_reason else ""
    return (report.summary, cause, sure, affected, *steps, fallback)


def _diagnosis_number(incident: Incident) -> str:
    # A model's report on the same findings is news of its own.
    known = incident.diagnosis
    return f"{known.at:.0f}.{known.report.source}" if known else "0"


def _escalated(incident: Incident) -> tuple[str, ...]:
    told = [entry.text for entry in incident.timeline if entry.kind.startswith("action.")]
    return ("The gateway is at its end here; a person has to look. The last it did:", *told[-3:])


def _unacknowledged(incident: Incident, now: float) -> tuple[str, ...]:
    since = duration(now - incident.opened_at)
    return (f"It is open since {since}, and nobody has acknowledged it.", *_standing(incident)[:2])


def _closed(incident: Incident, now: float) -> tuple[str, ...]:
    ended = incident.closed_at or now
    done = tuple(
        f"{words(action).done} for "
        f"{duration((action.ended_at or ended) - action.executed_at)}. {action.outcome.statement}"
        for action in incident.actions
        if action.outcome is not None and action.executed_at is not None
    )
    why = incident.close_reason.rstrip(".") or "It is over"
    reason = f"{why[:1].upper()}{why[1:]}."
    return (f"{reason} It lasted {duration(ended - incident.onset)}.", *done[:5])


def _proposed(action: Action, now: float) -> tuple[str, ...]:
    return (
        action.effect,
        f"Risk: {action.risk} – {action.risk_reason}.",
        f"Undo: {action.undo}",
        f"It lapses in {duration(action.expires_at - now)} if nobody decides.",
    )


def _failed(action: Action) -> tuple[str, ...]:
    unknown = action.state is ActionState.UNKNOWN
    return (
        f"Why: {action.note.rstrip('.')}.",
        "Whether it was done is not known: please look there." if unknown else "Nothing was changed.",
    )


def _rejected(action: Action) -> tuple[str, ...]:
    why = f"Why: {action.note.rstrip('.')}." if action.note else "No reason was given."
    return (f"Declined by {action.decided_by}.", why, "Nothing was changed.")


def _executed(action: Action) -> tuple[str, ...]:
    return (
        f"Done: {action.effect}",
        f"Decided by {action.decided_by}.",
        f"It ends by itself at {clock_time(action.effect_until)} unless the fault lasts.",
        "Whether it helps is measured now; that takes about 20 s.",
    )


def _outcome(action: Action) -> tuple[str, ...]:
    return (action.outcome.statement,) if action.outcome else ()


def _returned(action: Action) -> tuple[str, ...]:
    why = f"Why: {action.note.rstrip('.')}."
    if action.outcome is not None and action.outcome.verdict in {"no_effect", "worse"}:
        return (why, "The machine is at its end here: please look.")
    return (why,)


def _verdict_name(action: Action) -> str:
    return action.outcome.verdict if action.outcome else "unknown"


def _verdict(action: Action) -> str:
    return {
        "helped": "It helped",
        "no_effect": "It did not help",
        "worse": "It got worse",
        "too_little_traffic": "Too little traffic to tell",
    }.get(_verdict_name(action), "Not known yet")
