"""Evidence, hypotheses, and the report that may only claim what evidence carries."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Evidence(msgspec.Struct, frozen=True):
    """One fact with an id that claims can cite.

    ``statement`` is written by our own templates, never by traffic.
    """

    id: str  # "e1", "e2", … unique within the incident
    kind: str  # "series", "comparison", "attribution", "change", "sample", "topology", "runbook", "memory", …
    statement: str
    values: dict[str, float | int | str] = {}
    link: str = ""  # where to look it up: an admin API path


class Hypothesis(msgspec.Struct, frozen=True):
    """A possible cause, ranked; ``score`` is in 0..1 over all hypotheses of the incident. A ruled-out one says why."""

    id: str  # "h1", …
    statement: str
    upstream: str = ""
    target: str = ""
    route: str = ""
    tenant: str = ""
    score: float = 0.0
    margin: float = 0.0  # lead over the next one, 0..1
    evidence: tuple[str, ...] = ()
    ruled_out: bool = False
    why: str = ""


class Confidence(StrEnum):
    """The word beside the number."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Claim(msgspec.Struct, frozen=True):
    """One sentence of a report and the evidence it rests on; without any it is dropped."""

    text: str
    evidence: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """The root-cause report. ``source`` is "rules" or a provider; a fallback says why in ``fallback_reason``."""

    source: str
    title: str
    summary: str
    root_cause: str  # empty with inconclusive
    inconclusive: bool
    confidence: Confidence
    confidence_score: float  # 0..1, computed by us, never the model's own
    affected: tuple[str, ...]
    claims: tuple[Claim, ...]
    steps: tuple[str, ...]  # ordered, for people
    suggested_actions: tuple[str, ...] = ()  # ids out of the typed candidates offered; the planner decides
    fallback_reason: str = ""
    dropped_claims: int = 0
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: str = "0"  # decimal text
    duration_s: float = 0.0
    questions: tuple[str, ...] = ()  # what the model asked before it answered, each as "series payments errors"
    refutation: str = ""  # of the second pass: "stands", "weakened: …", "refuted: …", "not made: …"; empty by rules
    cached: bool = False  # the same evidence had been explained before; nothing was asked, nothing spent


class Diagnosis(msgspec.Struct, frozen=True):
    """What is known about an incident's cause at one moment."""

    at: float
    evidence: tuple[Evidence, ...]
    hypotheses: tuple[Hypothesis, ...]  # best first, ruled-out ones last
    report: Report

    @property
    def leading(self) -> Hypothesis | None:
        """The best hypothesis that stands, or None when inconclusive."""
        return next((hypothesis for hypothesis in self.hypotheses if not hypothesis.ruled_out), None)
