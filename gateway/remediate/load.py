"""Taking load off an upstream: tighter limits, a share turned away, or its circuit opened. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.limits import LimitMode, Scope
from gateway.domain.plan import Action, ActionKind, Risk
from gateway.domain.traffic import ErrorKind
from gateway.remediate.ejection import look_back
from gateway.remediate.harm import Pressure, harm, pressure, share_of
from gateway.remediate.situation import Assessment, Draft, Refusal, Situation
from gateway.remediate.wording import counted, percent, span, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.limits import Limit
    from gateway.domain.plan import Watch
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.upstreams import Upstream

_SURGE = 1.5  # times the usual traffic; below it the load is not what is wrong
_ROOM = 1.1  # what is let through, times what was usual: the service carried that
_LEAST_SHED = 0.1
_HOPELESS = 0.9  # of the requests go wrong: shedding some would not help the rest
_HANGING = 0.5  # of the requests wait for an answer until time is up
_FACTORS = (0.5, 0.25)  # a limit is halved, or quartered; less would be a block
_ADDRESS_OR_CALLER = frozenset({Scope.CLIENT, Scope.SUBJECT})


def propose_shed(situation: Situation) -> Draft | Refusal:
    """Shed what is asked beyond the usual, when an upstream under a surge fails for it."""
    found = _pressed(situation)
    if isinstance(found, Refusal):
        return found
    upstream, watch, pressed = found
    share = 1 - _ROOM * pressed.usual / pressed.now
    if share > situation.settings.max_shed:
        return Refusal(
            f"{percent(share)} of {upstream.name} would have to be turned away; [remediate] max_shed allows "
            f"{percent(situation.settings.max_shed)}"
        )
    share = max(_LEAST_SHED, round(share, 2))
    by_plan = _cheapest_first(situation, upstream.name, share)
    ttl = span(situation.settings.hold_for_s)
    first = f" Callers go by plan, cheapest first: {_in_words(by_plan)}." if by_plan else ""
    return Draft(
        upstream=upstream.name,
        target="",
        ttl_s=situation.settings.hold_for_s,
        amount=share,
        by_plan=by_plan,
        blast=share,
        effect=(
            f"Answer {percent(share)} of the requests to {upstream.name} with 503 and Retry-After for {ttl}. It gets "
            f"{pressed.now:.0f} requests/s, usual are {pressed.usual:.0f}. {_seen(watch)}{first}"
        ),
        undo=(
            "Let all requests through again within a second. More and more is let through on trial on the way; while "
            f"that goes wrong the shedding is prolonged, else it ends by itself after {ttl}."
        ),
        success_signal=_fewer(upstream, watch),
        watch=watch,
    )


def propose_circuit(situation: Situation) -> Draft | Refusal:
    """Open the circuit of an upstream that is drowned, or that lets callers hang until their time is up."""
    upstream = situation.upstream
    if upstream is None:
        return Refusal(f"{situation.hypothesis.id} does not name an upstream")
    watch = harm(situation, upstream)
    if isinstance(watch, Refusal):
        return watch
    pressed = pressure(situation, upstream.name)
    hanging = share_of(situation, upstream.name, ErrorKind.UPSTREAM_TIMEOUT)
    drowned = pressed.factor >= _SURGE and watch.target.share >= _HOPELESS
    if not drowned and not (hanging >= _HANGING and watch.target.share >= _HOPELESS):
        return Refusal(f"{upstream.name} neither drowns in a surge nor lets most callers hang")
    why = (
        f"it gets {pressed.now:.0f} requests/s, usual are {pressed.usual:.0f}"
        if drowned
        else f"{percent(hanging)} of its callers wait until time is up"
    )
    ttl = span(situation.settings.hold_for_s)
    return Draft(
        upstream=upstream.name,
        target="",
        ttl_s=situation.settings.hold_for_s,
        blast=1.0,
        effect=(
            f"Answer every request to {upstream.name} with 503 at once for {ttl}, so that it can recover and nobody "
            f"waits in vain: {why}. {_seen(watch)}"
        ),
        undo=(
            "Close the circuit: all requests go through again within a second. A small share tries on the way, then "
            f"more; while that goes wrong it stays open, else it ends by itself after {ttl}."
        ),
        success_signal=f"The requests that try {upstream.name} again go well.",
        watch=watch,
    )


def propose_tighten(situation: Situation) -> Draft | Refusal:
    """Tighten the limits of one route whose callers use them up, when the upstream fails under the surge."""
    found = _pressed(situation)
    if isinstance(found, Refusal):
        return found
    upstream, watch, pressed = found
    routes = [route for route in situation.snapshot.routes if upstream.name == route.upstream and _limits(route)]
    best = max(routes, key=lambda route: _asked(situation, route), default=None)
    if best is None:
        return Refusal(f"no route to {upstream.name} has a limit of each caller that could be tightened")
    goal = pressed.usual * _ROOM
    for factor in _FACTORS:
        left = _left(situation, best, factor)
        if pressed.now - (_asked(situation, best) - left) <= goal:
            break
    else:
        return Refusal(f"even a quarter of the limits of route {best.name} would not bring {upstream.name} relief")
    ttl = span(situation.settings.hold_for_s)
    return Draft(
        upstream=upstream.name,
        target="",
        route=best.name,
        ttl_s=situation.settings.hold_for_s,
        amount=factor,
        blast=1 - left / (_asked(situation, best) or 1),
        effect=(
            f"Tighten the limits of route {best.name} to {percent(factor)} for {ttl}: about {left:.0f} of "
            f"{_asked(situation, best):.0f} requests/s then pass, the rest gets 429 and Retry-After. {_seen(watch)}"
        ),
        undo=(
            "Give the limits back within a second. They are loosened step by step on the way; while that goes wrong "
            f"they stay tight, else it ends by itself after {ttl}."
        ),
        success_signal=_fewer(upstream, watch),
        watch=watch,
    )


def risk(action: Action, snapshot: Snapshot, settings: RemediateSettings) -> Assessment:
    """MODERATE: some are turned away for the good of the rest; CRITICAL where nothing is left for anybody."""
    if snapshot.upstream(action.upstream) is None:
        return Assessment(Risk.CRITICAL, "it is not configured", f"there is no upstream {action.upstream}")
    if action.route and all(route.name != action.route for route in snapshot.routes):
        return Assessment(Risk.CRITICAL, "it is not configured", f"there is no route {action.route}")
    if action.kind is ActionKind.OPEN_CIRCUIT:
        if action.watch.target.share >= _HOPELESS:
            return Assessment(Risk.MODERATE, f"{percent(action.watch.target.share)} go wrong there anyhow")
        return Assessment(Risk.CRITICAL, f"every request to {action.upstream} is refused")
    if action.kind is ActionKind.SHED_LOAD and action.amount > settings.max_shed:
        over = f"it would turn away {percent(action.amount)}; [remediate] max_shed allows {percent(settings.max_shed)}"
        return Assessment(Risk.CRITICAL, over, over)
    return Assessment(Risk.MODERATE, f"{percent(action.blast)} of the requests are turned away; it undoes itself")


def _pressed(situation: Situation) -> tuple[Upstream, Watch, Pressure] | Refusal:
    """The upstream, how it is worse, and how much more is asked of it than usual."""
    upstream = situation.upstream
    if upstream is None:
        return Refusal(f"{situation.hypothesis.id} does not name an upstream")
    watch = harm(situation, upstream)
    if isinstance(watch, Refusal):
        return watch
    pressed = pressure(situation, upstream.name)
    if not pressed.usual or pressed.factor < _SURGE:
        return Refusal(f"{upstream.name} gets no more than usual, so load is not what is wrong")
    return upstream, watch, pressed


def _fewer(upstream: Upstream, watch: Watch) -> str:
    return f"Of the requests that {upstream.name} still gets, clearly fewer go wrong ({what_is_bad(watch)})."


def _seen(watch: Watch) -> str:
    return (
        f"Of its requests {counted(watch.target)} {what_is_bad(watch)} in the last minute, {counted(watch.siblings)} "
        "before it began."
    )


def _limits(route: Route) -> tuple[Limit, ...]:
    return tuple(
        limit for limit in route.limits if limit.mode is LimitMode.ENFORCE and limit.scope in _ADDRESS_OR_CALLER
    )


def _since(situation: Situation) -> tuple[float, float]:
    """From when on requests are counted, and over how many seconds: the fault's own time."""
    start = look_back(situation.begun, situation.now)
    return start, max(situation.now - situation.now % 5 - start, 5.0)


def _asked(situation: Situation, route: Route) -> float:
    """Requests per second on a route since it began."""
    start, span_s = _since(situation)
    clients = situation.callers.asked(start, start + span_s, frozenset({route.name}))
    return sum(count for caller, count in clients.items() if caller.startswith("client ")) / span_s


def _left(situation: Situation, route: Route, factor: float) -> float:
    """Requests per second that would pass if the tightest of a route's limits were multiplied by ``factor``."""
    limit = min(_limits(route), key=lambda one: one.rate)
    kind = "client " if limit.scope is Scope.CLIENT else "subject "
    start, span_s = _since(situation)
    asked = situation.callers.asked(start, start + span_s, frozenset({route.name}))
    return sum(min(count / span_s, limit.rate * factor) for caller, count in asked.items() if caller.startswith(kind))


def _cheapest_first(situation: Situation, upstream: str, share: float) -> tuple[tuple[str, float], ...]:
    """How much of each plan's requests to shed: callers without a plan first, then those of the lowest priority."""
    plans = {plan.name: plan.priority for plan in situation.snapshot.plans}
    if not plans:
        return ()
    of_tenant = situation.snapshot.tenant_plans
    start, span_s = _since(situation)
    sums = situation.window.sums(start, start + span_s, by=("tenant",), where=lambda key: key.upstream == upstream)
    by_plan: dict[str, int] = dict.fromkeys(plans, 0) | {"": 0}
    for (tenant,), tally in sums.items():
        by_plan[of_tenant.get(str(tenant), "")] += tally.requests
    left = share * sum(by_plan.values())
    out: list[tuple[str, float]] = []
    for plan in sorted(by_plan, key=lambda name: (name != "", plans.get(name, 0), name)):
        taken = min(left, by_plan[plan])
        out.append((plan, round(taken / by_plan[plan], 4) if by_plan[plan] else float(left > 0)))
        left -= taken
    return tuple(out)


def _in_words(by_plan: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{percent(share)} of {plan or 'callers without a plan'}" for plan, share in by_plan if share)
