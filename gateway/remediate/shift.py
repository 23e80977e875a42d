"""Sending a split route's requests past the one upstream of it that fails: a bad release behind a split. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.plan import Action, Risk, Watch
from gateway.remediate.comparison import lower, sample
from gateway.remediate.ejection import MATERIAL, look_back, watches
from gateway.remediate.situation import Assessment, Draft, Refusal, Situation
from gateway.remediate.wording import counted, percent, span, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.upstreams import Upstream

_HALF = 0.5


def propose(situation: Situation) -> Draft | Refusal:
    """Shift a split's weight when one of its upstreams is clearly worse than the others on the same route."""
    upstream = situation.upstream
    if upstream is None:
        return Refusal(f"{situation.hypothesis.id} does not name an upstream")
    routes = [route for route in situation.snapshot.routes if _share(route, upstream.name) > 0]
    if not routes:
        return Refusal(f"no route divides its requests between {upstream.name} and others")
    if situation.hypothesis.target and len(upstream.targets) > 1:
        return Refusal(f"one target of {upstream.name} is blamed, not the whole of it")
    why = Refusal("")
    for route in routes:
        watch = _distinct(situation, upstream, route)
        if isinstance(watch, Watch):
            return _draft(situation, upstream, route, watch)
        why = watch
    return why


def risk(action: Action, snapshot: Snapshot, _settings: RemediateSettings) -> Assessment:
    """By how much of the route moves: SAFE up to half, MODERATE above."""
    route = next((one for one in snapshot.routes if one.name == action.route), None)
    share = _share(route, action.upstream) if route is not None else 0.0
    if not share:
        why = f"route {action.route} does not divide its requests between {action.upstream} and others any more"
        return Assessment(Risk.CRITICAL, "it is not configured", why)
    moved = f"{percent(share)} of route {action.route} moves to its other upstreams; it undoes itself"
    return Assessment(Risk.SAFE if share <= _HALF else Risk.MODERATE, moved)


def _share(route: Route, upstream: str) -> float:
    """What part of a route's requests goes to an upstream that others could stand in for; 0 where none can."""
    if route.split is None:
        return 0.0
    weights = {share.upstream: share.weight for share in route.split.shares}
    whole, own = sum(weights.values()), weights.get(upstream, 0)
    return own / whole if 0 < own < whole else 0.0


def _distinct(situation: Situation, upstream: Upstream, route: Route) -> Watch | Refusal:
    start = look_back(situation.begun, situation.now)
    others = frozenset(share.upstream for share in route.split.shares) - {upstream.name} if route.split else frozenset()
    for watch in watches(situation, upstream, route.name):
        bad = sample(
            situation.window,
            watch,
            start,
            situation.now,
            lambda key: key.route == route.name and key.upstream == upstream.name,
        )
        well = sample(
            situation.window,
            watch,
            start,
            situation.now,
            lambda key: key.route == route.name and key.upstream in others,
        )
        if well.requests and lower(well, bad) and bad.share - well.share >= MATERIAL and well.share <= bad.share / 2:
            return msgspec.structs.replace(watch, target=bad, siblings=well)
    return Refusal(f"{upstream.name} is not clearly worse than the other upstreams of route {route.name}")


def _draft(situation: Situation, upstream: Upstream, route: Route, watch: Watch) -> Draft:
    share, ttl = _share(route, upstream.name), span(situation.settings.hold_for_s)
    verb = what_is_bad(watch)
    return Draft(
        upstream=upstream.name,
        target="",
        ttl_s=situation.settings.hold_for_s,
        route=route.name,
        blast=share,
        effect=(
            f"Send the {percent(share)} of route {route.name} that go to {upstream.name} to its other upstreams for "
            f"{ttl}; requests that ask for {upstream.name} by header or cookie still reach it. On this route "
            f"{counted(watch.target)} of its requests {verb}, of the others' {counted(watch.siblings)}."
        ),
        undo=(
            f"Give {upstream.name} its weight back within a second. A small share tries it on the way; while that goes "
            f"wrong the shift is prolonged, else it ends by itself after {ttl}."
        ),
        success_signal=f"Clearly fewer requests of route {route.name} go wrong than before ({verb}).",
        watch=watch,
    )
