"""Possible causes out of attribution and topology: ranked, with a margin, and with what was ruled out and why."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import msgspec

from gateway.diagnose.redaction import quoted
from gateway.domain.diagnosis import Hypothesis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.attribution import Pattern, Values
    from gateway.diagnose.topology import Blame
    from gateway.domain.topology import Topology

MOST = 4
# Below these nobody should act on the ranking.
LEAST_SCORE = 0.4
LEAST_MARGIN = 0.1
_CERTAIN_RATIO = 6.0  # ln of the likelihood ratio at which certainty is 63 %; 95 % at 18
_PLENTY = 30.0  # bad requests; under that the ranking is less often right
_THIN = 0.64  # how often it was right on the thinnest labelled cases
# Infrastructure before callers: if a whole service and its only tenant hold the same requests, it is the service.
_ORDER = ("upstream", "target", "route", "tenant", "method")


def conclusive(hypotheses: Sequence[Hypothesis]) -> bool:
    """Whether the leading hypothesis is good enough to be called the cause."""
    leading = next((one for one in hypotheses if not one.ruled_out), None)
    return leading is not None and leading.score >= LEAST_SCORE and leading.margin >= LEAST_MARGIN


def from_patterns(patterns: Sequence[Pattern], topology: Topology, verb: str) -> list[Hypothesis]:
    """Ranked hypotheses without evidence; a pattern that only narrows a better one is left out."""
    kept: list[tuple[Values, Pattern]] = []
    for pattern in patterns:
        simplest = min((pattern.values, *pattern.aliases), key=_simplicity)
        names = dict(simplest)
        if any(set(better) <= {*pattern.values} for better, _ in kept) or pattern.score <= 0:
            continue
        if "method" in names and len(names) == 1 and any("method" not in dict(better) for better, _ in kept):
            continue
        kept.append((simplest, pattern))
    kept = kept[:MOST]
    total = sum(pattern.score for _, pattern in kept)
    shares = [pattern.score / total for _, pattern in kept]
    ranked = []
    for position, (simplest, pattern) in enumerate(kept):
        following = shares[position + 1] if position + 1 < len(shares) else 0.0
        ranked.append(_hypothesis(simplest, pattern, topology, verb, (shares[position], shares[position] - following)))
    return ranked


def _simplicity(values: Values) -> tuple[int, list[int]]:
    return (len(values), sorted(_ORDER.index(name) for name, _ in values))


def _hypothesis(
    values: Values, pattern: Pattern, topology: Topology, verb: str, ranked: tuple[float, float]
) -> Hypothesis:
    share, margin = ranked
    certainty = 1 - exp(-pattern.likelihood_ratio / _CERTAIN_RATIO)
    plenty = _THIN + (1 - _THIN) * min(1.0, pattern.excess / _PLENTY)
    names = dict(values)
    target = names.get("target", "")
    upstream = names.get("upstream") or pattern.get("upstream") or _upstream_of(target, topology)
    upstream = upstream or topology.upstream_of.get(names.get("route", ""), "")
    return Hypothesis(
        id="",
        statement=_statement(names, upstream, pattern, topology, verb),
        upstream=upstream,
        target=target,
        route=names.get("route", ""),
        tenant=names.get("tenant", ""),
        score=share * certainty * plenty,
        margin=margin * certainty * plenty,
    )


def _upstream_of(target: str, topology: Topology) -> str:
    return next((upstream for upstream, targets in topology.targets.items() if target and target in targets), "")


def _statement(names: dict[str, str], upstream: str, pattern: Pattern, topology: Topology, verb: str) -> str:
    if len(pattern.members) > 1:
        values = sorted(
            {value for member in pattern.members for name, value in member if (name, value) not in _common(pattern)}
        )
        listed = ", ".join(quoted(value) if "tenant" in names else value for value in values)
        return f"Requests at {listed} {verb} together"
    parts = []
    if names.get("target"):
        parts.append(f"target {names['target']} of {upstream}")
    elif names.get("upstream"):
        count = len(topology.targets.get(upstream, ()))
        parts.append(f"upstream {upstream} as a whole{f', at all its {count} targets' if count > 1 else ''}")
    if names.get("route"):
        parts.append(f"route {names['route']}")
    if names.get("tenant"):
        parts.append(f"tenant {quoted(names['tenant'])}")
    if names.get("method"):
        parts.append(f"{names['method']} requests")
    where = " with ".join(parts)
    return f"{where[0].upper()}{where[1:]} {'fails' if verb == 'fail' else 'is slow'}"


def _common(pattern: Pattern) -> set[tuple[str, str]]:
    return set.intersection(*(set(member) for member in pattern.members))


def ruled_out_victims(blames: Sequence[Blame], verb: str) -> list[Hypothesis]:
    """Callers whose trouble their callees explain."""
    unit = "extra failures" if verb == "fail" else "extra seconds"
    return [
        Hypothesis(
            id="",
            statement=f"Upstream {one.upstream} itself is at fault",
            upstream=one.upstream,
            ruled_out=True,
            why=f"it calls {', '.join(one.explained_by)}, which explains "
            f"{(1 - one.own / one.excess) * 100:.0f} % of its {one.excess:.0f} {unit}",
        )
        for one in blames
        if one.victim
    ]


def numbered(hypotheses: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """With ids h1, h2, …: standing ones first."""
    ordered = sorted(hypotheses, key=lambda one: (one.ruled_out, -one.score))
    return tuple(msgspec.structs.replace(one, id=f"h{position}") for position, one in enumerate(ordered, 1))
