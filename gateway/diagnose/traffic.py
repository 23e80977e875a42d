"""Whose requests are missing, or are too many: everybody's alike, or those of one tenant, route or upstream. Pure.

A part of the traffic with n requests now, of which e were to be expected, changed by n − e. It is the cause as far as
it holds the change of the whole (coverage) and the rest did not change the same way. Everybody is the cause as far as
all parts changed alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.diagnose.hypotheses import MOST, with_margins
from gateway.diagnose.redaction import quoted
from gateway.domain.diagnosis import Hypothesis

if TYPE_CHECKING:
    from gateway.diagnose.before_and_now import BeforeAndNow
    from gateway.domain.topology import Topology

_ALIKE = 0.5  # of the change of the whole: a part that changed by at least so much went along
_NOT_ALL = 0.98  # of the usual traffic: what holds more of it is everybody
_LEAST = 0.05  # scores below are not worth a line
_FEWEST = 20.0  # expected requests; fewer say nothing
_SUREST = 0.97


_Names = tuple[tuple[str, str], ...]


class _Change(NamedTuple):
    """How much was asked of what was to be expected."""

    now: float
    expected: float

    def toward(self, falls: bool) -> float:  # noqa: FBT001 - of two numbers
        """The change in the direction of the whole; less than 0 for one that went the other way."""
        return self.expected - self.now if falls else self.now - self.expected

    @property
    def times(self) -> float:
        """What is asked now, beside what was to be expected."""
        return self.now / self.expected if self.expected else 1.0


def of_traffic(spans: BeforeAndNow, topology: Topology) -> list[Hypothesis]:
    """Ranked hypotheses about a change of traffic, without evidence; none if there is nothing to compare with."""
    before_s, now_s = spans.before[1] - spans.before[0], spans.until - spans.since
    if before_s <= 0 or now_s <= 0:
        return []
    scale = now_s / before_s
    leaves = {
        values: _Change(row.now.requests, row.before.requests * scale)
        for values, row in spans.by("route", "upstream", "tenant").items()
    }
    whole = _sum(list(leaves.values()))
    if whole.expected < _FEWEST:
        return []
    falls = whole.now < whole.expected
    found = [_everybody(list(leaves.values()), whole, falls=falls)]
    for names, inside in _parts(leaves, topology).items():
        if inside.expected < _NOT_ALL * whole.expected:
            found.append(_part(dict(names), inside, whole, falls=falls))
    # What says more goes first among those that explain about as much, and stands for what it says more exactly.
    ordered = sorted(found, key=lambda one: (-round(one.score, 1), -len(_named(one)), -one.score))
    standing: list[Hypothesis] = []
    for one in ordered:
        said = [_named(other) for other in standing if _named(one) and _named(other)]
        if one.score >= _LEAST and not any(_named(one) < other or other < _named(one) for other in said):
            standing.append(one)
    standing = standing[:MOST]
    total = sum(one.score for one in standing)
    return with_margins([_shared(one, total) for one in standing])


def _parts(leaves: dict[tuple[str, ...], _Change], topology: Topology) -> dict[_Names, _Change]:
    """Every route, upstream and tenant, and every tenant at each of the others, with what it asks."""
    parts: dict[_Names, list[_Change]] = {}
    for (route, upstream, tenant), change in leaves.items():
        at = route if route and _one_of_several(route, topology) else ""
        places: list[_Names] = [(("upstream", upstream),)] + ([(("route", at), ("upstream", upstream))] if at else [])
        whose: list[_Names] = [(("tenant", tenant),)] if tenant else []
        for names in (*places, *whose, *(place + one for place in places for one in whose)):
            parts.setdefault(names, []).append(change)
    return {names: _sum(parts[names]) for names in sorted(parts)}


def _named(one: Hypothesis) -> frozenset[tuple[str, str]]:
    pairs = (("route", one.route), ("upstream", one.upstream), ("tenant", one.tenant))
    return frozenset(pair for pair in pairs if pair[1])


def _one_of_several(route: str, topology: Topology) -> bool:
    """Whether its upstream has other routes as well; the only one is another name for the upstream."""
    upstream = topology.upstream_of.get(route, "")
    return sum(other == upstream for other in topology.upstream_of.values()) > 1


def _shared(one: Hypothesis, total: float) -> Hypothesis:
    return Hypothesis(
        id="",
        statement=one.statement,
        upstream=one.upstream,
        route=one.route,
        tenant=one.tenant,
        score=one.score / max(total, 1.0) * _SUREST,
    )


def _sum(changes: list[_Change]) -> _Change:
    return _Change(sum(one.now for one in changes), sum(one.expected for one in changes))


def _everybody(leaves: list[_Change], whole: _Change, *, falls: bool) -> Hypothesis:
    """All callers alike: by the share of the usual traffic that changed by at least half as much as the whole."""
    line = _ALIKE * whole.toward(falls) / whole.expected
    alike = sum(one.expected for one in leaves if one.expected and one.toward(falls) / one.expected >= line > 0)
    word = "less" if falls else "more"
    statement = f"Callers as a whole ask {word}: {_times(whole)} of the usual traffic"
    return Hypothesis(id="", statement=statement, score=max(0.0, 2 * alike / whole.expected - 1))


def _part(names: dict[str, str], inside: _Change, whole: _Change, *, falls: bool) -> Hypothesis:
    """A part: by how much of the change it holds, less what the rest changed the same way."""
    change = whole.toward(falls)
    coverage = min(1.0, max(0.0, inside.toward(falls) / change)) if change > 0 else 0.0
    rest = _Change(whole.now - inside.now, whole.expected - inside.expected)
    within = inside.toward(falls) / max(inside.expected, 1.0)
    beside = rest.toward(falls) / max(rest.expected, 1.0)
    apart = max(0.0, 1 - max(0.0, beside) / within) if within > 0 else 0.0
    route, upstream, tenant = (names.get(name, "") for name in ("route", "upstream", "tenant"))
    place = f"route {route}" if route else f"upstream {upstream}" if upstream else ""
    who = f"tenant {quoted(tenant)}" if tenant else ""
    said = " on ".join(part for part in (who, place) if part)
    return Hypothesis(
        id="",
        statement=f"{said[0].upper()}{said[1:]} has {_times(inside)} of its usual traffic",
        upstream=upstream,
        route=route,
        tenant=tenant,
        score=coverage * apart,
    )


def _times(change: _Change) -> str:
    return f"{change.times * 100:.0f} %" if change.times < 2 else f"{change.times:.1f} times"  # noqa: PLR2004 - easier to read
