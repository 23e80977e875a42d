"""Facts about an incident with ids to cite, and the hypotheses they carry.

Every sentence here is ours: numbers and configured names in our words. What callers choose (tenants, methods) is
quoted and cut; the raw values stand only in ``values``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.diagnose import changes as changes_
from gateway.diagnose import hypotheses as hypotheses_
from gateway.diagnose import senders as senders_
from gateway.diagnose.alerts import alerts
from gateway.diagnose.attribution import Leaf, Pattern, Values, attribute
from gateway.diagnose.before_and_now import ATTRIBUTES, BeforeAndNow
from gateway.diagnose.redaction import quoted
from gateway.diagnose.siblings import crept
from gateway.diagnose.surroundings import Facts, Surroundings, ago, percent
from gateway.diagnose.topology import ANOMALOUS_Z, UNREACHED, Blame, blame
from gateway.diagnose.traffic import of_traffic
from gateway.domain.incident import Change, Incident, Place, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.diagnose.senders import KnownSenders
    from gateway.domain.diagnosis import Evidence, Hypothesis
    from gateway.domain.topology import Topology
    from gateway.domain.window import Window

_MOST_TENANTS = 5
_LONGEST_DIFFERENCE = 2000


def gather(
    incident: Incident,
    window: Window,
    now: float,
    topology: Topology,
    changes: Iterable[Change] = (),
    senders: KnownSenders | None = None,
) -> tuple[tuple[Evidence, ...], tuple[Hypothesis, ...]]:
    """What can be said about the incident from recent traffic, and its possible causes, best first.

    Args:
        incident: the incident; its onset, signal and place decide what is compared.
        window: recent traffic.
        now: seconds since the epoch.
        topology: who calls whom.
        changes: what was changed on purpose lately, in any order.
        senders: how requests of callers ended, where that is known.
    """
    facts = Facts()
    spans = BeforeAndNow(window, incident.onset, now)
    if incident.signal is Signal.TRAFFIC:
        measured = _traffic(facts, spans, incident)
        _changes(facts, changes, incident.onset, incident.place, topology)
        whose = [msgspec.structs.replace(one, evidence=measured) for one in of_traffic(spans, topology)]
        return tuple(facts.items), hypotheses_.numbered(whose)
    latency = _looks_slow(spans, incident, topology)
    verb = "are slow" if latency else "fail"
    blames = tuple(one for one in blame(spans.loads(latency=latency), topology, latency=latency) if one.z > ANOMALOUS_Z)
    victims = frozenset(one.upstream for one in blames if one.victim)
    found = _candidates(spans, incident, victims, blames, topology, latency=latency)
    patterns = _weighted(found, blames, topology)
    standing = hypotheses_.from_patterns(patterns, topology, verb)
    if latency:
        standing = crept(standing, spans, incident.place)
    suspect = _suspect(standing, incident.place)
    cited = Surroundings(facts, spans, topology, suspect, latency=latency)
    if cited.siblings_well():
        standing = hypotheses_.without_whole(standing, suspect.upstream)
    shared = [cited.series(), cited.endings(), cited.comparison()]
    shared.extend(_attribution(facts, pattern, verb) for pattern in patterns[:1])
    healthy = cited.healthy_callees(blames)
    victim_ids = _victims(facts, blames, verb)
    _undeclared(facts, blames, topology.upstream_at(incident.place))
    cited.hurt()
    if senders is not None and (upstream := topology.upstream_at(suspect)):
        limit = spans.slow_limits().get(upstream) if latency else None
        if limit is not None or not latency:
            senders_.troubled(facts, senders, _cells(spans), upstream, slower_than_us=limit)
    alerts(facts, incident)
    blamed_change = _changes(facts, changes, spans.since, suspect, topology)
    carried = tuple(identifier for identifier in (*shared, *victim_ids, *blamed_change) if identifier)
    ruled_out = [
        msgspec.structs.replace(one, evidence=tuple(victim_ids[position : position + 1]))
        for position, one in enumerate(hypotheses_.ruled_out_victims(blames, verb))
    ]
    standing = [
        msgspec.structs.replace(one, evidence=carried if position == 0 else tuple(e for e in shared[-1:] if e))
        for position, one in enumerate(standing)
    ]
    return tuple(facts.items), hypotheses_.numbered([*standing, *ruled_out, *cited.ruled_out(), *healthy])


def _looks_slow(spans: BeforeAndNow, incident: Incident, topology: Topology) -> bool:
    """Whether to look at what is slow rather than at what fails. An alert does not say: what stands out decides."""
    if incident.signal is not Signal.ALERT:
        return incident.signal is Signal.LATENCY
    fails, slow = (
        any(one.z > ANOMALOUS_Z for one in blame(spans.loads(latency=latency), topology, latency=latency))
        for latency in (False, True)
    )
    return slow and not fails


def _cells(spans: BeforeAndNow) -> senders_.Spans:
    return senders_.Spans(spans.since, spans.until, spans.before)


def _candidates(
    spans: BeforeAndNow,
    incident: Incident,
    victims: frozenset[str],
    blames: Sequence[Blame],
    topology: Topology,
    *,
    latency: bool,
) -> list[Pattern]:
    """Patterns where the incident shows, and at half weight those where something else goes wrong at the same time.

    Attributed together, two disturbances at once explain each other's half away, and both incidents end without a
    cause. Left out, a call that nobody declared would hide the cause.
    """
    shows = (incident.place, *(anomaly.place for anomaly in incident.anomalies))
    elsewhere = frozenset(one.upstream for one in blames if not topology.touches(shows, one.upstream))
    found = list(_patterns(spans, victims | elsewhere, latency=latency))
    if elsewhere:
        here = topology.depends_on.keys() - elsewhere
        others = _patterns(spans, victims | here, latency=latency)
        found += [msgspec.structs.replace(one, score=one.score * UNREACHED) for one in others]
    return found


def _patterns(spans: BeforeAndNow, victims: frozenset[str], *, latency: bool) -> tuple[Pattern, ...]:
    """Attribution over everything but the victims.

    If everything fails alike no place stands out among the others, so the time before stands beside as one more
    "place" of as many requests: then it is the whole that stands out.
    """
    leaves = spans.leaves(latency=latency, without=victims)
    if not leaves:
        return ()
    total = sum(leaf.total for leaf in leaves)
    total_before = sum(leaf.total_before for leaf in leaves)
    if total_before > 0:
        scale = total / total_before
        usual = sum(leaf.bad_before for leaf in leaves) * scale
    else:
        usual = 0.0
    leaves.append(Leaf(("",) * len(ATTRIBUTES), usual, total, usual, total))
    return attribute(ATTRIBUTES, leaves)


def _weighted(patterns: Sequence[Pattern], blames: Sequence[Blame], topology: Topology) -> tuple[Pattern, ...]:
    """Patterns by what of their service's trouble is its own; a caller and its callee together are no one cause."""
    own = {one.upstream: one.own / one.excess for one in blames}
    weighted = []
    for pattern in patterns:
        members = {topology.upstream_at(_place(values)) for values in pattern.members} - {""}
        if any(one in topology.callees(other) for one in members for other in members):
            continue
        share = own.get(topology.upstream_at(_place(pattern.values)), 1.0)
        weighted.append(msgspec.structs.replace(pattern, score=pattern.score * share))
    return tuple(sorted(weighted, key=lambda pattern: -pattern.score))


def _place(values: Values) -> Place:
    names = dict(values)
    return Place(route=names.get("route", ""), upstream=names.get("upstream", ""), target=names.get("target", ""))


def _suspect(standing: Sequence[Hypothesis], place: Place) -> Place:
    """Where to look closer: the leading hypothesis, else where the incident shows."""
    if standing and (leading := standing[0]).upstream:
        return Place(upstream=leading.upstream, target=leading.target)
    return place


def _attribution(facts: Facts, pattern: Pattern, verb: str) -> str:
    values: dict[str, float | int | str] = dict(hypotheses_.simplest(pattern))
    named = " and ".join(
        f"{name} {quoted(str(value)) if name == 'tenant' else value}" for name, value in values.items()
    )
    happened = "failed" if verb == "fail" else "were slow"
    statement = (
        f"Requests with {named} hold {percent(pattern.coverage)} of what is unusual: "
        f"{pattern.bad:.0f} of {pattern.total:.0f} {happened}, {pattern.expected:.1f} expected."
    )
    values |= {
        "bad": round(pattern.bad),
        "total": round(pattern.total),
        "expected": round(pattern.expected, 2),
        "log_likelihood_ratio": round(pattern.likelihood_ratio, 1),
        "coverage": round(pattern.coverage, 3),
        "precision": round(pattern.precision, 3),
    }
    return facts.add("attribution", statement, values)


def _victims(facts: Facts, blames: Sequence[Blame], verb: str) -> list[str]:
    unit = "extra failures" if verb == "fail" else "extra seconds"
    return [
        facts.add(
            "topology",
            f"{one.upstream} calls {', '.join(one.explained_by)}: that explains "
            f"{(1 - one.own / one.excess) * 100:.0f} % of the {one.excess:.0f} {unit} at {one.upstream}, "
            "so it is hurt rather than at fault.",
            {"upstream": one.upstream, "excess": round(one.excess, 2), "own": round(one.own, 2)},
        )
        for one in blames
        if one.victim
    ]


def _undeclared(facts: Facts, blames: Sequence[Blame], upstream: str) -> None:
    """A call that nobody declared would explain it: nothing is concluded from that, but somebody may know."""
    for one in blames:
        if one.upstream == upstream and one.undeclared:
            names = ", ".join(one.undeclared)
            facts.add(
                "topology",
                f"Trouble of the same measure began at {names}. If {upstream} calls it, say so in depends_on.",
                {"upstream": upstream, "undeclared": names},
            )


def _changes(facts: Facts, changes: Iterable[Change], onset: float, suspect: Place, topology: Topology) -> list[str]:
    ids = []
    for ranked in changes_.rank(changes, onset, suspect, topology):
        change = ranked.change
        kind = {"config": "Configuration revision", "deploy": "Deploy"}.get(change.kind, "A change")
        number = f" {int(change.reference)}" if change.reference.isascii() and change.reference.isdigit() else ""
        where = f" It concerns {topology.upstream_at(suspect)}." if ranked.touches else ""
        statement = f"{kind}{number} {quoted(change.title)} was made {ago(ranked.lead_s)} before the onset.{where}"
        values: dict[str, float | int | str] = {
            "change": change.title,
            "change_kind": change.kind,
            "reference": change.reference,
            "difference": change.diff[:_LONGEST_DIFFERENCE],
            "lead_s": round(ranked.lead_s),
            "score": round(ranked.score, 3),
        }
        link = "/api/v1/config" if change.kind == "config" else "/api/v1/deploys"
        ids.append(facts.add("change", statement, values, link))
    return ids


def _traffic(facts: Facts, spans: BeforeAndNow, incident: Incident) -> tuple[str, ...]:
    """A change of traffic: how much, and whose; returns the ids of what was measured."""
    anomaly = next((one for one in incident.anomalies if one.signal is Signal.TRAFFIC), None)
    if anomaly is not None:
        values: dict[str, float | int | str] = {"observed": anomaly.observed, "expected": anomaly.expected}
        # In numbers alone: the reason of a finding that came as an alert is somebody else's text.
        statement = f"Traffic is {anomaly.observed:.1f} requests/s; {anomaly.expected:.1f} are usual."
        facts.add("series", statement, values)
    seconds, seconds_before = spans.until - spans.since, spans.before[1] - spans.before[0]
    changed = [
        (row.now.requests / seconds - row.before.requests / seconds_before, tenant, row)
        for (tenant,), row in spans.by("tenant").items()
        if tenant
    ]
    for difference, tenant, row in sorted(changed, key=lambda one: -abs(one[0]))[:_MOST_TENANTS]:
        statement = (
            f"Tenant {quoted(tenant)} sends {row.now.requests / seconds:.1f} requests/s, "
            f"before {row.before.requests / seconds_before:.1f}."
        )
        facts.add("blast_radius", statement, {"tenant": tenant, "difference": round(difference, 2)})
    return tuple(one.id for one in facts.items)
