"""Past incidents: which were like this one, what helped then, and how often the ranking was right. Pure.

An incident's fingerprint is the shape of what was seen and found, without the names of the day: its signal, its
service, what kind of place it showed at, what kind of place was the cause, and how its requests ended. What an action
was worth is what the gateway's own traffic said of it afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.diagnose.verdict import standing
from gateway.domain.traffic import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.domain.incident import Incident, Place

LEAST_LIKE = 0.6  # of the fingerprint's parts; below that it is another kind of incident
_RIGHT, _WRONG = "helped", frozenset({"no_effect", "worse"})

# Calibration: scores in five bins. An untried ranking is trusted as much as ten outcomes that bear it out, which is
# about how many it takes until a share means anything.
BINS = 5
PRIOR = 10.0
_KINDS = frozenset(map(str, ErrorKind))


class Past(msgspec.Struct, frozen=True):
    """What is remembered of a closed incident."""

    incident_id: str
    closed_at: float
    fingerprint: frozenset[str]
    title: str
    cause: str  # the kind of place: "target", "upstream", …; empty without a cause
    score: float  # of the ranking, before calibration
    worked: tuple[str, ...] = ()  # kinds of the actions that helped
    failed: tuple[str, ...] = ()  # kinds of those that did not


class Likeness(msgspec.Struct, frozen=True):
    """A past incident and how much of the fingerprints agrees, 0..1."""

    past: Past
    share: float


def fingerprint(incident: Incident) -> frozenset[str]:
    """The parts of an incident's fingerprint, each as ``name=value``."""
    parts = {f"signal={incident.signal}", f"shows={_shape(incident.place)}"}
    leading = standing(incident.diagnosis.hypotheses) if incident.diagnosis else None
    if leading is not None:
        cause = (
            "target" if leading.target else "tenant" if leading.tenant else "upstream" if leading.upstream else "route"
        )
        parts |= {f"cause={cause}", f"service={leading.upstream or leading.route}"}
    for one in incident.diagnosis.evidence if incident.diagnosis else ():
        if one.kind == "sample":
            parts |= {f"ends={name}" for key in one.values for name in key.split() if name in _KINDS}
    return frozenset(parts)


def remember(incident: Incident) -> Past:
    """What to keep of a closed incident."""
    outcomes = [(str(one.kind), one.outcome.verdict) for one in incident.actions if one.outcome is not None]
    leading = standing(incident.diagnosis.hypotheses) if incident.diagnosis else None
    parts = fingerprint(incident)
    return Past(
        incident_id=incident.id,
        closed_at=incident.closed_at or incident.updated_at,
        fingerprint=parts,
        title=incident.title,
        cause=next((one.removeprefix("cause=") for one in parts if one.startswith("cause=")), ""),
        score=leading.score if leading is not None else 0.0,
        worked=tuple(dict.fromkeys(kind for kind, verdict in outcomes if verdict == _RIGHT)),
        failed=tuple(dict.fromkeys(kind for kind, verdict in outcomes if verdict in _WRONG)),
    )


def like(incident: Incident, past: Iterable[Past], *, most: int = 3) -> tuple[Likeness, ...]:
    """The incidents most like this one; those with an action that helped before those without, then the latest."""
    parts = fingerprint(incident)
    found = [
        Likeness(one, round(len(parts & one.fingerprint) / len(parts | one.fingerprint), 3))
        for one in past
        if one.incident_id != incident.id
    ]
    near = [one for one in found if one.share >= LEAST_LIKE]
    near.sort(key=lambda one: (one.share, bool(one.past.worked), one.past.closed_at), reverse=True)
    return tuple(near[:most])


class Calibration(msgspec.Struct, frozen=True):
    """What a score of the ranking has been worth on our own outcomes. ``shares`` never fall from bin to bin."""

    shares: tuple[float, ...] = tuple((at + 0.5) / BINS for at in range(BINS))
    outcomes: int = 0

    def __call__(self, score: float) -> float:
        """The score moved by as much as its bin was moved; an untried ranking keeps its scores."""
        at = min(BINS - 1, max(0, int(score * BINS)))
        return min(1.0, max(0.0, score + self.shares[at] - (at + 0.5) / BINS))


def calibrated(past: Sequence[Past]) -> Calibration:
    """Learnt from past incidents whose cause was acted on: it was right where that helped, wrong where it did not.

    Shares with an honest prior per bin, then pooled so that a higher score never means less (pool adjacent violators).
    """
    sums = [[(at + 0.5) / BINS * PRIOR, PRIOR] for at in range(BINS)]
    outcomes = 0
    for one in past:
        if not one.worked and not one.failed:
            continue
        outcomes += 1
        right, total = sums[min(BINS - 1, int(one.score * BINS))], 1.0
        right[0] += bool(one.worked)
        right[1] += total
    pools: list[tuple[float, float, int]] = []
    for hits, weight in sums:
        pools.append((hits, weight, 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            last, before = pools.pop(), pools.pop()
            pools.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    shares = tuple(round(hits / weight, 4) for hits, weight, bins in pools for _ in range(bins))
    return Calibration(shares, outcomes)


def _shape(place: Place) -> str:
    named = ("route", "upstream", "target", "tenant")
    return "+".join(name for name in named if getattr(place, name)) or "everything"
