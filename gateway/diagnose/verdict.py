"""What may stand in a report: confidence is ours, and a model's claim without existing evidence is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.diagnose.hypotheses import conclusive
from gateway.domain.diagnosis import Claim, Confidence, Evidence, Hypothesis, Report
from gateway.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.diagnose.language_model import Draft, Objection
    from gateway.diagnose.redaction import Redactor

_HIGH, _MEDIUM = 0.75, 0.5
_LOW_CEILING = 0.3  # for a report that blames something else than the ranking does

# What is left of the confidence after an objection that cites evidence.
_AFTER = {"weakened": 0.8, "refuted": 0.4}

_TITLE, _SENTENCE, _SUMMARY = 120, 400, 1200  # characters
_MOST_CLAIMS, _MOST_STEPS = 12, 8


def confidence_of(score: float) -> Confidence:
    """The word for a number in 0..1."""
    if score >= _HIGH:
        return Confidence.HIGH
    return Confidence.MEDIUM if score >= _MEDIUM else Confidence.LOW


def standing(hypotheses: Sequence[Hypothesis]) -> Hypothesis | None:
    """The best hypothesis that was not ruled out."""
    return next((one for one in hypotheses if not one.ruled_out), None)


def score_of(hypotheses: Sequence[Hypothesis]) -> float:
    """The confidence of the ranking itself: the leading score, 0 without one."""
    leading = standing(hypotheses)
    return round(leading.score, 3) if leading is not None else 0.0


def validated(
    draft: Draft,
    rules: Report,
    evidence: Sequence[Evidence],
    hypotheses: Sequence[Hypothesis],
    offered: Collection[str],
    redactor: Redactor,
    objection: Objection | None = None,
) -> Report:
    """The model's report as far as evidence carries it.

    Args:
        draft: what the model wrote, tokens still in place of names.
        rules: the rule-based report; who is affected is taken from it.
        evidence: what claims may cite.
        hypotheses: the ranking that confidence is computed from.
        offered: ids of the typed actions it could choose from.
        redactor: puts names back.
        objection: what the second pass has against it; only what cites existing evidence counts.

    Raises:
        ModelError: no claim survived.
    """
    known = {one.id for one in evidence}
    against = objection if objection is not None and counts(objection, known) else None
    gone = set(against.refuted_claims) if against is not None else set()
    claims = []
    for number, claim in enumerate(draft.claims[:_MOST_CLAIMS], 1):
        if f"c{number}" in gone:
            continue
        cited = tuple(dict.fromkeys(identifier for identifier in claim.evidence if identifier in known))
        # One invented id among real ones makes the whole claim untrustworthy.
        if cited and len(cited) == len(set(claim.evidence)) and claim.text.strip():
            claims.append(Claim(_shown(claim.text, _SENTENCE, redactor), cited))
    if not claims:
        beside = " and is not refuted" if gone else ""
        raise ModelError(f"none of the model's {len(draft.claims)} claims cites existing evidence{beside}")
    inconclusive = draft.inconclusive or not draft.root_cause.strip() or not conclusive(hypotheses)
    if against is not None and against.verdict == "refuted" and not _agrees(draft.root_cause, standing(hypotheses)):
        inconclusive = True  # refuted, and not what statistics say: nothing is left to hold it
    root_cause = "" if inconclusive else _shown(draft.root_cause, _SENTENCE, redactor)
    score = rules.confidence_score
    if against is not None:
        score = round(score * _AFTER.get(against.verdict, 1.0), 3)
    if not inconclusive and not _agrees(root_cause, standing(hypotheses)):
        score = min(score, _LOW_CEILING)
    return msgspec.structs.replace(
        rules,
        title=_shown(draft.title, _TITLE, redactor) or rules.title,
        summary=_shown(draft.summary, _SUMMARY, redactor) or rules.summary,
        root_cause=root_cause,
        inconclusive=inconclusive,
        confidence=confidence_of(score),
        confidence_score=score,
        claims=tuple(claims),
        steps=tuple(_shown(step, _SENTENCE, redactor) for step in draft.steps[:_MOST_STEPS] if step.strip())
        or rules.steps,
        suggested_actions=tuple(dict.fromkeys(one for one in draft.suggested_actions if one in offered)),
        dropped_claims=len(draft.claims) - len(claims),
        refutation="" if objection is None else _refutation(against, redactor),
    )


def counts(objection: Objection, known: Collection[str]) -> bool:
    """Whether an objection rests on evidence that exists, all of it."""
    return bool(objection.evidence) and all(one in known for one in objection.evidence)


def _refutation(against: Objection | None, redactor: Redactor) -> str:
    if against is None or against.verdict not in {"weakened", "refuted"}:
        return "stands"
    return f"{against.verdict}: {_shown(against.reason, _SENTENCE, redactor)} ({', '.join(against.evidence[:5])})"


def _agrees(root_cause: str, leading: Hypothesis | None) -> bool:
    """Whether the text names what the ranking leads with."""
    if leading is None:
        return False
    named = leading.target or leading.upstream or leading.route or leading.tenant
    return bool(named) and named.casefold() in root_cause.casefold()


def _shown(text: str, most: int, redactor: Redactor) -> str:
    """One line of printable characters, cut, with names put back."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    shown = redactor.show(line)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
