"""What people and the past know of an incident, as evidence: runbooks that fit, and incidents like this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.diagnose.memory import like
from gateway.diagnose.redaction import quoted
from gateway.diagnose.surroundings import rfc3339
from gateway.domain.diagnosis import Diagnosis, Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.memory import Likeness, Past
    from gateway.domain.incident import Incident
    from gateway.domain.runbook import Match


class Shelf(Protocol):
    """Runbooks."""

    async def fitting(self, incident: Incident, diagnosis: Diagnosis) -> Sequence[Match]:
        """Those that fit, the best first; never fails."""
        ...


class Remembered(Protocol):
    """Past incidents."""

    @property
    def past(self) -> tuple[Past, ...]:
        """What is remembered."""
        ...

    def worth(self, score: float) -> float:
        """What a score of the ranking has been worth so far."""
        ...


class Witness(Protocol):
    """A log store elsewhere."""

    async def heard(self, incident: Incident, diagnosis: Diagnosis) -> Sequence[Told]:
        """What it says about an incident; never fails."""
        ...


async def recalled(
    incident: Incident,
    diagnosis: Diagnosis,
    shelf: Shelf | None,
    memory: Remembered | None,
    witness: Witness | None = None,
) -> tuple[Evidence, ...]:
    """The evidence of a diagnosis with what others say, and what is known from before, behind it."""
    evidence = diagnosis.evidence
    heard = await witness.heard(incident, diagnosis) if witness is not None else ()
    matches = await shelf.fitting(incident, diagnosis) if shelf is not None else ()
    known = like(incident, memory.past) if memory is not None else ()
    told = [*heard, *map(_of_runbook, matches), *map(_of_past, known)]
    return (
        *evidence,
        *(
            Evidence(f"e{number}", kind, statement, values, link)
            for number, (kind, statement, values, link) in enumerate(told, len(evidence) + 1)
        ),
    )


Told = tuple[str, str, dict[str, float | int | str], str]


def _of_runbook(match: Match) -> Told:
    one = match.runbook
    about = [*(f"service {name}" for name in one.services), *(f"signal {name}" for name in one.signals)]
    speaks = f" It speaks of {', '.join(one.actions)}." if one.actions else ""
    meant = f" It is for {', '.join(about)}." if about else ""
    statement = f"Runbook {quoted(one.title)} fits: {', '.join(match.words)}.{meant}{speaks}"
    values: dict[str, float | int | str] = {"runbook": one.title, "id": one.id, "score": round(match.score, 3)}
    return "runbook", statement, values, f"/api/v1/runbooks/{one.id}"


def _of_past(found: Likeness) -> Told:
    past = found.past
    if past.worked:
        then = f"{', '.join(past.worked)} measurably helped then"
    elif past.failed:
        then = f"{', '.join(past.failed)} did not help then"
    else:
        then = "no action was taken then"
    statement = (
        f"Incident {past.incident_id}, closed {rfc3339(past.closed_at)}, was {found.share * 100:.0f} % like this one; "
        f"{then}."
    )
    values: dict[str, float | int | str] = {
        "likeness": found.share,
        "worked": ", ".join(past.worked),
        "failed": ", ".join(past.failed),
    }
    return "memory", statement, values, f"/api/v1/incidents/{past.incident_id}"
