"""What a model is shown: our own sentences, typed tokens for names, and nothing from the traffic itself."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jinja2
import msgspec

from gateway.diagnose.language_model import ANSWER_SCHEMA, OBJECTION_SCHEMA, Talk
from gateway.diagnose.redaction import Redactor
from gateway.domain.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.language_model import Draft
    from gateway.diagnose.questions import Questions
    from gateway.domain.diagnosis import Evidence, Hypothesis
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "prompts"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Plain text for a model, not HTML: escaping would only turn quotes into entities.
    autoescape=False,  # noqa: S701 - no browser ever sees it
)

# Characters per token, on the low side, so that estimates err towards more tokens.
_CHARACTERS_PER_TOKEN = 3


class Case(NamedTuple):
    """All that a report is written from."""

    incident: Incident
    evidence: Sequence[Evidence]
    hypotheses: Sequence[Hypothesis]
    candidates: Sequence[Action] = ()
    topology: Topology = Topology()
    questions: Questions | None = None


def redactor_for(case: Case) -> Redactor:
    """The tokens of a case: only names of the configuration stay as they are."""
    known = case.topology
    names = {*known.upstream_of, *known.targets, *(one for targets in known.targets.values() for one in targets)}
    redactor = Redactor(case.evidence, names or _places(case))
    for place in (case.incident.place, *(one.place for one in case.incident.anomalies)):
        for kind, text in (("route", place.route), ("upstream", place.upstream), ("target", place.target)):
            redactor.foreign(kind, text)
    for hypothesis in case.hypotheses:
        redactor.foreign("route", hypothesis.route)
        redactor.foreign("upstream", hypothesis.upstream)
        redactor.foreign("target", hypothesis.target)
    for action in case.candidates:
        redactor.foreign("caller", action.caller)
    return redactor


def _places(case: Case) -> set[str]:
    """Without a picture of the configuration, the names that statistics found."""
    return {name for one in case.hypotheses for name in (one.route, one.upstream, one.target) if name}


def facts(case: Case, evidence: Sequence[Evidence], redactor: Redactor, marker: str) -> str:
    """The user's part: incident, evidence, hypotheses and candidates between lines with the marker."""
    incident = case.incident
    return _templates.get_template("user.j2").render(
        marker=marker,
        signal=incident.signal.replace("_", " "),
        place=redactor.place(incident.place),
        severity=str(incident.severity),
        onset=datetime.fromtimestamp(incident.onset, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        evidence=[msgspec.structs.replace(one, statement=redactor.hide(one.statement)) for one in evidence],
        hypotheses=[
            msgspec.structs.replace(one, statement=redactor.hide(one.statement), why=redactor.hide(one.why))
            for one in case.hypotheses
        ],
        actions=[
            msgspec.structs.replace(
                one,
                effect=redactor.hide(one.effect),
                upstream=redactor.name("upstream", one.upstream),
                target=redactor.name("target", one.target),
            )
            for one in case.candidates
        ],
    )


def first(case: Case, redactor: Redactor, most_steps: int) -> Talk:
    """The talk as it begins. The marker is random, so that no text can pretend to end the facts."""
    marker = secrets.token_hex(8)
    tools = case.questions.tools() if case.questions is not None and most_steps else ()
    system = _templates.get_template("system.j2").render(marker=marker, may_ask=bool(tools), most_steps=most_steps)
    user = facts(case, case.evidence, redactor, marker)
    return Talk(system=system, user=user, schema=ANSWER_SCHEMA, tools=tools, may_ask=bool(tools))


def second(case: Case, evidence: Sequence[Evidence], draft: Draft, redactor: Redactor) -> Talk:
    """The talk of the pass that tries to refute a draft, whose tokens are still in place of names."""
    marker = secrets.token_hex(8)
    system = _templates.get_template("refute_system.j2").render(marker=marker)
    user = _templates.get_template("refute_user.j2").render(
        marker=marker, draft=draft, facts=facts(case, evidence, redactor, marker)
    )
    return Talk(system=system, user=user, schema=OBJECTION_SCHEMA, schema_name="objection")


def tokens(talk: Talk) -> int:
    """About how many tokens a talk has, rather too many than too few."""
    return talk.characters // _CHARACTERS_PER_TOKEN + 100


def digest(case: Case, redactor: Redactor, model: str) -> bytes:
    """What a report depends on: the same case gives the same digest, whatever the random marker."""
    names = "\n".join(redactor.hide(name) for name in case.topology.targets)
    text = "\n".join((model, facts(case, case.evidence, redactor, ""), names, *(one.id for one in case.candidates)))
    return sha256(text.encode()).digest()
