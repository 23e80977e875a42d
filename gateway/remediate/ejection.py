"""Taking one target out of an upstream: when it may be proposed, how risky it is, and what people are told. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.domain.histogram import quantile
from gateway.domain.incident import Signal
from gateway.domain.plan import Risk, Sample, Watch
from gateway.domain.snapshot import DirectiveKind, Snapshot
from gateway.remediate.comparison import forwarded, lower, sample
from gateway.remediate.situation import Assessment, Draft, Refusal, Situation
from gateway.remediate.wording import counted, percent, span, what_is_bad

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.domain.policy import RemediateSettings
    from gateway.domain.upstreams import Target, Upstream

# How far back the target is compared with its siblings: no more than a minute, so that a fault that has passed is not
# acted on; no less than one cell, so that a fault of a second has something to stand beside.
_LOOK_BACK_S = 60.0
_LOOK_BACK_LEAST_S = 5.0
# A difference under two points is not worth half of an upstream's capacity, however certain it is.
MATERIAL = 0.02
# A request counts as slow beyond one and a half times what 95 % of the good ones take.
_SLOW_FACTOR = 1.5
BEFORE_ONSET_S = 300.0
SLOWEST_PATIENCE_S = 30.0
_TAKES_OUT = frozenset({DirectiveKind.EJECT_TARGET})


class Capacity(NamedTuple):
    """An upstream's targets by whether they take their full share, as they would be with one more taken out."""

    total: int
    out: tuple[str, ...]  # names, the one in question included
    left: tuple[str, ...]
    left_weight: float  # share of the upstream's whole weight that stays, 0..1
    load_factor: float  # how much more each of the remaining gets than now


def out_of_rotation(snapshot: Snapshot, upstream: str, now: float, *, but: str = "") -> frozenset[str]:
    """Targets that are out or on trial by any directive in force, of an incident or of the health checks.

    Args:
        snapshot: what the workers run on.
        upstream: whose targets.
        now: seconds since the epoch.
        but: the id of a directive that does not count (the action's own).
    """
    return frozenset(
        directive.target
        for directive in snapshot.directives
        if directive.kind in _TAKES_OUT
        and directive.upstream == upstream
        and directive.share < 1
        and directive.expires_at > now
        and directive.id != but
    )


def capacity(upstream: Upstream, target: str, already_out: frozenset[str]) -> Capacity:
    """What is left of ``upstream`` with ``target`` out as well."""
    out = already_out | {target}
    weights = {one.name: one.weight for one in upstream.targets}
    left = tuple(name for name in weights if name not in out)
    now_weight = sum(weight for name, weight in weights.items() if name not in already_out)
    left_weight = sum(weights[name] for name in left)
    return Capacity(
        total=len(weights),
        out=tuple(name for name in weights if name in out),
        left=left,
        left_weight=left_weight / (sum(weights.values()) or 1),
        load_factor=now_weight / left_weight if left_weight else 0.0,
    )


def risk(
    upstream_name: str, target: str, snapshot: Snapshot, settings: RemediateSettings, now: float, *, but: str = ""
) -> Assessment:
    """The blast radius as a risk: SAFE down to half of the capacity, MODERATE below, CRITICAL for the last target."""
    upstream = snapshot.upstream(upstream_name)
    if upstream is None:
        return Assessment(
            Risk.CRITICAL, f"there is no upstream {upstream_name}", "the upstream is no longer configured"
        )
    if target not in {one.name for one in upstream.targets}:
        return Assessment(
            Risk.CRITICAL, f"{upstream_name} has no target {target}", "the target is no longer configured"
        )
    left = capacity(upstream, target, out_of_rotation(snapshot, upstream_name, now, but=but))
    share = len(left.out) / left.total
    over = (
        f"{len(left.out)} of {left.total} targets of {upstream_name} would be out ({percent(share)}), health ejections "
        f"included; [remediate] max_ejected allows {percent(settings.max_ejected)}"
        if share > settings.max_ejected + 1e-9
        else ""
    )
    kept = f"{len(left.left)} of {left.total} targets and {percent(left.left_weight)} of the capacity remain"
    if not left.left:
        return Assessment(Risk.CRITICAL, f"{target} is the last target of {upstream_name} in service", over)
    if left.left_weight < 0.5:  # noqa: PLR2004 - half: each remaining target at most doubles its load
        return Assessment(Risk.MODERATE, f"{kept}, less than half", over)
    return Assessment(Risk.SAFE, f"{kept}; it undoes itself", over)


def propose(situation: Situation) -> Draft | Refusal:
    """An ejection when the cause is one target whose siblings are well; else why not."""
    named = _named(situation)
    if isinstance(named, Refusal):
        return named
    upstream, target = named
    already_out = out_of_rotation(situation.snapshot, upstream.name, situation.now)
    if target.name in already_out:
        return Refusal(f"{target.name} of {upstream.name} is out of rotation already")
    watch = _distinct(situation, upstream, target.name, already_out)
    if isinstance(watch, Refusal):
        return watch
    assessed = risk(upstream.name, target.name, situation.snapshot, situation.settings, situation.now)
    if assessed.forbidden:
        return Refusal(f"{target.name} cannot be taken out: {assessed.forbidden}")
    return _draft(situation, upstream, target.name, watch, capacity(upstream, target.name, already_out))


def _named(situation: Situation) -> tuple[Upstream, Target] | Refusal:
    cause = situation.hypothesis
    if not cause.upstream or not cause.target:
        return Refusal(f"{cause.id} does not name one target as the cause")
    upstream = situation.snapshot.upstream(cause.upstream)
    target = next((one for one in upstream.targets if one.name == cause.target), None) if upstream else None
    if upstream is None or target is None:
        return Refusal(f"{cause.target} is no configured target of {cause.upstream}")
    if len(upstream.targets) < 2:  # noqa: PLR2004 - one target has nobody to take its traffic
        return Refusal(f"{target.name} is the only target of {upstream.name}: nothing could take its traffic")
    return upstream, target


def _distinct(situation: Situation, upstream: Upstream, target: str, already_out: frozenset[str]) -> Watch | Refusal:
    """By which signal the traffic of right now tells the target from its siblings; a diagnosis alone never acts."""
    siblings = frozenset(one.name for one in upstream.targets) - {target} - already_out
    why = Refusal(f"{target} is not clearly worse than the other targets of {upstream.name} in the last minute")
    for watch in watches(situation, upstream, situation.incident.place.route, siblings):
        ill, well = compare(situation, upstream.name, target, siblings, watch)
        if not well.requests:
            return Refusal(f"the other targets of {upstream.name} had no traffic to compare {target} with")
        if lower(well, ill) and ill.share - well.share >= MATERIAL:
            if well.share <= ill.share / 2:
                return msgspec.structs.replace(watch, target=ill, siblings=well)
            why = Refusal(
                f"the other targets of {upstream.name} are in trouble as well ({counted(well)} {what_is_bad(watch)}): "
                f"they cannot take over from {target}"
            )
    return why


def watches(
    situation: Situation, upstream: Upstream, route: str, siblings: frozenset[str] = frozenset()
) -> Iterator[Watch]:
    """What to look for a difference by, the incident's own signal first; without samples yet.

    Args:
        situation: the incident and its traffic.
        upstream: whose requests are looked at.
        route: where the action is to show its effect; empty: on every route.
        siblings: targets that count for what is slow.
    """
    for signal in signals(situation.incident.signal):
        slow_us = slow_line(situation, upstream.name, siblings) if signal is Signal.LATENCY else 0
        if signal is Signal.LATENCY and not slow_us:
            continue
        yield Watch(
            signal=signal,
            slow_us=slow_us,
            onset=situation.begun,
            route=route,
            place_upstream=situation.incident.place.upstream,
            patience_s=max(10.0, min(upstream.timeout.header_s + 2, SLOWEST_PATIENCE_S)),
        )


def signals(first: Signal) -> tuple[Signal, ...]:
    """By what to look for a difference, the incident's own signal first."""
    # A caller may be slow because its callee fails at once and is retried, so both are looked at.
    return (Signal.LATENCY, Signal.ERROR_RATE) if first is Signal.LATENCY else (Signal.ERROR_RATE, Signal.LATENCY)


def look_back(onset: float, now: float) -> float:
    """From when on traffic counts as "before" an action taken ``now``: the fault's own time, at most a minute of it."""
    start = min(max(onset, now - _LOOK_BACK_S), now - _LOOK_BACK_LEAST_S)
    return start - start % 5


def compare(
    situation: Situation, upstream: str, target: str, siblings: frozenset[str], watch: Watch
) -> tuple[Sample, Sample]:
    """The target and its siblings since the onset."""
    start = look_back(situation.begun, situation.now)
    ill = sample(
        situation.window, watch, start, situation.now, lambda key: key.upstream == upstream and key.target == target
    )
    well = sample(
        situation.window, watch, start, situation.now, lambda key: key.upstream == upstream and key.target in siblings
    )
    return ill, well


def slow_line(situation: Situation, upstream: str, siblings: frozenset[str]) -> int:
    """Microseconds beyond which a request counts as slow; 0 when there is nothing to draw the line from."""
    start = look_back(situation.begun, situation.now)
    onset = situation.incident.onset
    beside = situation.window.total(
        start,
        situation.now,
        where=lambda key: forwarded(key) and key.upstream == upstream and key.target in siblings,
    )
    before = situation.window.total(
        onset - BEFORE_ONSET_S, onset, where=lambda key: forwarded(key) and key.upstream == upstream
    )
    lines = [p95 for tally in (beside, before) if (p95 := quantile(tally.latency, 0.95)) is not None]
    return round(max(lines) * _SLOW_FACTOR) if lines else 0


def _draft(situation: Situation, upstream: Upstream, target: str, watch: Watch, left: Capacity) -> Draft:
    verb = what_is_bad(watch)
    ttl = span(situation.settings.eject_for_s)
    seen = span(situation.now - look_back(situation.begun, situation.now))
    return Draft(
        upstream=upstream.name,
        target=target,
        ttl_s=situation.settings.eject_for_s,
        effect=(
            f"Take {target} out of {upstream.name} for {ttl}. {upstream.name} then runs on {len(left.left)} of "
            f"{left.total} targets; each takes about {left.load_factor:.1f} × its traffic. In the last {seen} at "
            f"{target} {counted(watch.target)} {verb}, at the others {counted(watch.siblings)}."
        ),
        undo=(
            f"Lift the ejection: {target} gets its usual share back within a second. A small share tries it again on "
            f"the way; while that still goes wrong the ejection is prolonged, else it ends by itself after {ttl}."
        ),
        success_signal=(
            f"Clearly fewer requests to {upstream.name} go wrong than before ({verb}), and its other targets stay well."
        ),
        watch=watch,
    )
