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
# Nothing that statistics of one gateway say is surer than this.
_SUREST = 0.97
# Infrastructure before callers: if a whole service and its only tenant hold the same requests, it is the service.
_ORDER = ("upstream", "target", "route", "tenant", "method")


def conclusive(hypotheses: Sequence[Hypothesis]) -> bool:
    """Whether the leading hypothesis is good enough to be called the cause."""
    leading = next((one for one in hypotheses if not one.ruled_out), None)
    return leading is not None and leading.score >= LEAST_SCORE and leading.margin >= LEAST_MARGIN


def from_patterns(patterns: Sequence[Pattern], topology: Topology, verb: str) -> list[Hypothesis]:
    """Ranked hypotheses without evidence; a pattern that only narrows a better one is left out."""
    kept: list[tuple[Values, Pattern]] = []
    # "All POST requests" holds whatever goes wrong where things are changed: it comes after all that names a place.
    placed = sorted(patterns, key=lambda one: {name for name, _ in simplest(one)} == {"method"} and not one.members)
    for pattern in (_as_whole(one, topology) for one in placed):
        values = simplest(pattern)
        if pattern.score <= 0 or any(set(better) <= set(pattern.values) for better, _ in kept):
            continue
        # "All GET requests" competes with everything and explains nothing.
        if not (kept and [name for name, _ in values] == ["method"]):
            kept.append((values, pattern))
    kept = kept[:MOST]
    total = sum(pattern.score for _, pattern in kept)
    return with_margins(
        [_hypothesis(values, pattern, topology, verb, pattern.score / total) for values, pattern in kept]
    )


def _as_whole(pattern: Pattern, topology: Topology) -> Pattern:
    """All targets of a service together are the service, said shortly; others may stand in its past only."""
    upstream = pattern.get("upstream") or _upstream_of(pattern.get("target"), topology)
    varied = {name for member in pattern.members for name, _ in member} - {"target", "upstream", "route"}
    named = {value for member in pattern.members for name, value in member if name == "target"}
    routes = {value for member in pattern.members for name, value in member if name == "route"}
    only_route = all(topology.upstream_of.get(route) == upstream for route in routes) and len(routes) <= 1
    alone = sum(other == upstream for other in topology.upstream_of.values()) == 1
    targets = set(topology.targets.get(upstream, ()))
    if varied or not targets or named != targets or (routes and not (only_route and alone)):
        return pattern
    return msgspec.structs.replace(pattern, values=(("upstream", upstream),), members=(), aliases=())


def with_margins(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Best first, each with its lead over the next."""
    ordered = sorted(hypotheses, key=lambda one: -one.score)
    scores = [one.score for one in ordered] + [0.0]
    return [
        msgspec.structs.replace(one, margin=one.score - scores[position + 1]) for position, one in enumerate(ordered)
    ]


def without_whole(hypotheses: Sequence[Hypothesis], upstream: str) -> list[Hypothesis]:
    """Without "the whole of ``upstream``", which its healthy targets rule out; the others share its score."""
    kept = [one for one in hypotheses if (one.upstream, one.target, one.route, one.tenant) != (upstream, "", "", "")]
    gone = sum(one.score for one in hypotheses) - sum(one.score for one in kept)
    total = sum(one.score for one in kept)
    if not kept or total <= 0:
        return list(hypotheses)
    return with_margins([msgspec.structs.replace(one, score=one.score * (total + gone) / total) for one in kept])


def simplest(pattern: Pattern) -> Values:
    """The shortest of the combinations that hold the same requests."""
    return min((pattern.values, *pattern.aliases), key=_simplicity)


def _simplicity(values: Values) -> tuple[int, list[int]]:
    return (len(values), sorted(_ORDER.index(name) for name, _ in values))


def _hypothesis(values: Values, pattern: Pattern, topology: Topology, verb: str, share: float) -> Hypothesis:
    certainty = 1 - exp(-pattern.likelihood_ratio / _CERTAIN_RATIO)
    plenty = _THIN + (1 - _THIN) * min(1.0, pattern.excess / _PLENTY)
    names = dict(values)
    target = names.get("target", "")
    upstream = names.get("upstream") or pattern.get("upstream") or _upstream_of(target, topology)
    return Hypothesis(
        id="",
        statement=_statement(names, upstream, pattern, topology, verb),
        upstream=upstream or topology.upstream_of.get(names.get("route", ""), ""),
        target=target,
        route=names.get("route", ""),
        tenant=names.get("tenant", ""),
        score=share * certainty * plenty * _SUREST,
    )


def _upstream_of(target: str, topology: Topology) -> str:
    return next((upstream for upstream, targets in topology.targets.items() if target and target in targets), "")


def _statement(names: dict[str, str], upstream: str, pattern: Pattern, topology: Topology, verb: str) -> str:
    if len(pattern.members) > 1:
        common = _common(pattern)
        values = sorted({value for member in pattern.members for name, value in member if (name, value) not in common})
        varied = next(name for name, value in pattern.members[0] if (name, value) not in common)
        listed = ", ".join(quoted(value) if varied == "tenant" else value for value in values)
        beside = "".join(
            f" with {name} {quoted(value) if name == 'tenant' else value}" for name, value in sorted(common)
        )
        return f"Requests with {varied} {listed}{beside} {verb} together"
    fails = "fails" if verb == "fail" else "is slow"
    if names.keys() <= {"target", "upstream"}:
        if "target" in names:
            return f"Target {names['target']} of {upstream} {fails}"
        count = len(topology.targets.get(upstream, ()))
        return f"Upstream {upstream} {fails} as a whole{f', at all its {count} targets' if count > 1 else ''}"
    parts = [f"{names['method']} requests" if "method" in names else "Requests"]
    if "tenant" in names:
        parts.append(f"of tenant {quoted(names['tenant'])}")
    if "route" in names:
        parts.append(f"on route {names['route']}")
    if "target" in names:
        parts.append(f"to target {names['target']} of {upstream}")
    elif "upstream" in names:
        parts.append(f"to upstream {upstream}")
    return f"{' '.join(parts)} {verb}"


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
