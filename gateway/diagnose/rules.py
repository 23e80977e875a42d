"""The report without any model: always available, each claim a piece of evidence, plain words for 3 a.m."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.diagnose.hypotheses import conclusive
from gateway.diagnose.redaction import quoted
from gateway.diagnose.verdict import confidence_of, score_of, standing
from gateway.domain.diagnosis import Claim, Evidence, Hypothesis, Report
from gateway.domain.incident import Signal
from gateway.domain.traffic import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.incident import Incident

# In the order a person wants to read them.
_READING_ORDER = (
    "series",
    "alert",
    "comparison",
    "attribution",
    "sample",
    "log",
    "topology",
    "change",
    "blast_radius",
    "memory",
    "runbook",
)

_LOOK_AT = {
    ErrorKind.UPSTREAM_UNAVAILABLE: "check that the process runs and listens: no connection could be made",
    ErrorKind.UPSTREAM_TIMEOUT: "look for what it waits for (database, locks, a full pool): no answer came in time",
    ErrorKind.UPSTREAM_PROTOCOL: "look at what else answers on that port: the answers were not valid HTTP",
    ErrorKind.UPSTREAM_TRUNCATED: "look for crashes and restarts: answers were cut short",
    ErrorKind.APP_FAILED: "look for its exceptions in the application's log: it raised, or gave no answer",
    ErrorKind.OVERLOADED: "look for what holds its connections: the gateway's queue for it was full",
}


def report(
    incident: Incident,
    evidence: Sequence[Evidence],
    hypotheses: Sequence[Hypothesis],
    *,
    fallback_reason: str = "",
    calibrate: Callable[[float], float] = float,
) -> Report:
    """The rule-based report. Never raises, whatever is missing.

    Args:
        incident: what happened.
        evidence: the facts; every claim of the report is one of them.
        hypotheses: possible causes, best first.
        fallback_reason: why no model wrote it, where one should have.
        calibrate: what a score of the ranking has been worth so far.
    """
    leading = standing(hypotheses)
    sure = conclusive(hypotheses)
    score = round(calibrate(score_of(hypotheses)), 3)
    ordered = sorted(evidence, key=_place_in_reading)
    cause = _cause(leading, ordered) if leading is not None and sure else ""
    return Report(
        source="rules",
        title=leading.statement if leading is not None and sure else incident.title,
        summary=_summary(incident, ordered, leading if sure else None, score),
        root_cause=cause,
        inconclusive=not sure,
        confidence=confidence_of(score),
        confidence_score=score,
        affected=_affected(incident, ordered),
        claims=tuple(Claim(one.statement, (one.id,)) for one in ordered),
        steps=_steps(incident, leading if sure else None, ordered),
        fallback_reason=fallback_reason,
    )


def _place_in_reading(one: Evidence) -> int:
    return _READING_ORDER.index(one.kind) if one.kind in _READING_ORDER else len(_READING_ORDER)


def _cause(leading: Hypothesis, evidence: Sequence[Evidence]) -> str:
    change = _first(evidence, "change")
    # Only a change that is close and concerns the place is worth a word in the cause itself.
    beside = ""
    if change is not None and _number(change, "score") >= 0.5:  # noqa: PLR2004 - within five minutes of the onset
        beside = f" {change.statement}"
    return f"{leading.statement}.{beside}"


def _summary(incident: Incident, evidence: Sequence[Evidence], leading: Hypothesis | None, score: float) -> str:
    began = datetime.fromtimestamp(incident.onset, UTC).strftime("%H:%M:%S UTC")
    if leading is not None:
        parts = [f"{leading.statement} since {began} (confidence {confidence_of(score)}, {score:.2f})."]
    else:
        parts = [f"{incident.title} since {began}. The cause is not clear: no explanation stands out from the others."]
    # The claims hold the figures; here stands only who is hurt, so that nothing is read twice.
    hurt = [name for name in _affected(incident, evidence) if name.startswith(("route ", "tenant "))]
    if hurt:
        parts.append(f"Hurt: {', '.join(hurt)}.")
    return " ".join(parts)


def _lowered(text: str) -> str:
    """The first letter small, to go on in a sentence."""
    return text[:1].lower() + text[1:]


def _affected(incident: Incident, evidence: Sequence[Evidence]) -> tuple[str, ...]:
    names = [str(incident.place)] if incident.place.upstream or incident.place.route else []
    for one in evidence:
        if one.kind != "blast_radius":
            continue
        for key, value in one.values.items():
            if key.startswith("route") and isinstance(value, str):
                names.append(f"route {value}")
            elif key.startswith("tenant") and isinstance(value, str):
                names.append(f"tenant {quoted(value)}")
    return tuple(dict.fromkeys(names))


def _steps(incident: Incident, leading: Hypothesis | None, evidence: Sequence[Evidence]) -> tuple[str, ...]:
    change = _first(evidence, "change")
    steps = [
        f"Open the runbook that fits: {quoted(str(one.values.get('runbook', '')))}." for one in _runbooks(evidence)
    ]
    if change is not None:
        steps.append(f"Read what was changed and take it back if it fits: {_lowered(change.statement)}")
    if incident.signal is Signal.ALERT and leading is None and (said := _first(evidence, "alert")) is not None:
        steps.append(f"Look where it comes from, the traffic here shows nothing: {said.statement}")
        return tuple(steps)
    if incident.signal is Signal.TRAFFIC:
        steps.append("Ask the callers named in the evidence; check DNS and whatever stands in front of the gateway.")
        return tuple(steps)
    look = _look_at(evidence) or (
        "look for what it waits for (database, locks, a full pool)"
        if incident.signal is Signal.LATENCY
        else "read its error log since the onset"
    )
    if leading is None:
        steps.append("Compare the targets and callers in the evidence; wait a minute for more traffic and look again.")
    elif leading.target:
        steps += [
            f"Take {leading.target} out of rotation; the other targets of {leading.upstream} carry its share.",
            f"On {leading.target}: {look}.",
        ]
    elif leading.tenant:
        steps.append(
            f"Ask tenant {quoted(leading.tenant)} what changed in what they send: only theirs is hurt like this."
        )
    else:
        where = leading.upstream or leading.route or "the service"
        steps.append(f"On {where}: {look}. Every target shows it, so look at what they share.")
    steps.append("Watch the share of failures: it must fall within a minute of a step that helps.")
    return tuple(steps)


def _runbooks(evidence: Sequence[Evidence]) -> list[Evidence]:
    """The best one: a list of things to read is no step."""
    return [one for one in evidence if one.kind == "runbook"][:1]


def _look_at(evidence: Sequence[Evidence]) -> str:
    sample = _first(evidence, "sample")
    if sample is None:
        return ""
    endings = [(count, name) for name, count in sample.values.items() if isinstance(count, int)]
    if not endings:
        return ""
    _, commonest = max(endings)
    return _LOOK_AT.get(ErrorKind(kind), "") if (kind := commonest.partition(" ")[2]) in set(ErrorKind) else ""


def _first(evidence: Sequence[Evidence], kind: str) -> Evidence | None:
    return next((one for one in evidence if one.kind == kind), None)


def _number(one: Evidence, key: str) -> float:
    value = one.values.get(key, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0
