"""What a model is shown: our own sentences, typed tokens for names, and nothing from the traffic itself."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jinja2
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.redaction import Redactor
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


class Prompt(NamedTuple):
    """The two texts of one question."""

    system: str
    user: str

    @property
    def tokens(self) -> int:
        """About how many tokens it has, rather too many than too few."""
        return (len(self.system) + len(self.user)) // _CHARACTERS_PER_TOKEN + 500  # the schema travels along


def write(
    incident: Incident,
    evidence: Sequence[Evidence],
    hypotheses: Sequence[Hypothesis],
    actions: Sequence[Action],
    redactor: Redactor,
) -> Prompt:
    """The question about one incident. The marker is random, so that no text can pretend to end the facts."""
    marker = secrets.token_hex(8)
    # A tenant is left out: its name is a caller's word.
    place = msgspec.structs.replace(incident.place, tenant="")
    user = _templates.get_template("user.j2").render(
        marker=marker,
        signal=incident.signal.replace("_", " "),
        place=redactor.hide(str(place)),
        severity=str(incident.severity),
        onset=datetime.fromtimestamp(incident.onset, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        evidence=[msgspec.structs.replace(one, statement=redactor.hide(one.statement)) for one in evidence],
        hypotheses=[
            msgspec.structs.replace(one, statement=redactor.hide(one.statement), why=redactor.hide(one.why))
            for one in hypotheses
        ],
        actions=[msgspec.structs.replace(one, effect=redactor.hide(one.effect)) for one in actions],
    )
    return Prompt(_templates.get_template("system.j2").render(marker=marker), user)
