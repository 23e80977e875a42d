"""What was changed on purpose shortly before: configuration revisions and deploys, the likeliest first."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import Change, Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.topology import Topology

_RELEVANT_S = 1800.0
_HALF_LIFE_S = 300.0
# The onset is known to a five-second bin, and clocks of deploy tools differ by seconds.
_SLACK_S = 15.0


class RankedChange(msgspec.Struct, frozen=True):
    """A change and how likely it is to matter, 0..1; ``lead_s`` is how long before the onset it was made."""

    change: Change
    score: float
    lead_s: float
    touches: bool  # its place overlaps with where the cause is looked for


def rank(
    changes: Iterable[Change], onset: float, suspect: Place, topology: Topology, *, limit: int = 3
) -> tuple[RankedChange, ...]:
    """The changes of the half hour before ``onset``: the closer and the more they concern ``suspect``, the higher.

    What the system did by itself (directives) and what came after the onset is no cause.
    """
    ranked = []
    for change in changes:
        lead_s = onset - change.at
        if change.kind == "directive" or not -_SLACK_S <= lead_s <= _RELEVANT_S:
            continue
        touches = _overlap(change.place, suspect, topology)
        # A change that names no place (a whole configuration revision) may concern anything.
        weight = 1.0 if touches else (0.6 if change.place == Place() else 0.15)
        closeness = exp(-max(0.0, lead_s) * 0.6931 / _HALF_LIFE_S)
        ranked.append(RankedChange(change, weight * closeness, max(0.0, lead_s), touches))
    return tuple(sorted(ranked, key=lambda one: (-one.score, -one.change.at))[:limit])


def _overlap(place: Place, suspect: Place, topology: Topology) -> bool:
    if place == Place():
        return False
    if place.target and suspect.target:
        return place.target == suspect.target
    upstream, suspected = topology.upstream_at(place), topology.upstream_at(suspect)
    return bool(upstream) and upstream == suspected
