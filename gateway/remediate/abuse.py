"""Slowing down or keeping out one caller whose requests hurt everybody else's. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.plan import Action, ActionKind, Risk
from gateway.remediate.harm import harm
from gateway.remediate.situation import Assessment, Draft, Refusal, Situation
from gateway.remediate.wording import counted, percent, span, what_is_bad

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.callers import Callers
    from gateway.domain.plan import Watch
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.upstreams import Upstream

LOOK_S = 30.0
_BEFORE_S = 300.0
_LARGE_PART = 0.3  # of all requests: one caller among many
_TIMES_USUAL = 4.0  # its own
_TIMES_NEXT = 3.0  # the next caller's: else it is a crowd
_FEWEST_PER_S = 1.0
_KEEPS = 2.0  # times its usual rate stays to it when it is limited
_ALMOST = 1.2  # times what it may have: counting has its edges


class Abuser(NamedTuple):
    """One caller that asks for far more than it used to, and than anybody else does."""

    caller: str
    per_s: float
    usual_per_s: float
    share: float  # of all requests
    others: int  # callers beside it


def propose_limit(situation: Situation) -> Draft | Refusal:
    """Limit the caller to twice what it used to ask for."""
    found = _found(situation)
    if isinstance(found, Refusal):
        return found
    upstream, watch, one = found
    keeps = max(_FEWEST_PER_S, round(one.usual_per_s * _KEEPS, 1))
    return _draft(
        situation,
        upstream,
        watch,
        one,
        keeps,
        f"Let {one.caller} have {keeps:g} requests/s on the routes to {upstream.name}, the rest gets 429",
    )


def propose_block(situation: Situation) -> Draft | Refusal:
    """Keep the caller out, where limiting it was not enough."""
    limited = [one for one in situation.incident.actions if one.kind is ActionKind.LIMIT_CALLER]
    if not any(one.outcome is not None and one.outcome.verdict in {"no_effect", "worse"} for one in limited):
        return Refusal("nobody is blocked who was not limited before in this incident, in vain")
    found = _found(situation)
    if isinstance(found, Refusal):
        return found
    upstream, watch, one = found
    return _draft(
        situation, upstream, watch, one, 0.0, f"Answer {one.caller} with 403 on every route to {upstream.name}"
    )


def risk(action: Action, snapshot: Snapshot, _settings: RemediateSettings) -> Assessment:
    """One caller is slowed down: SAFE; kept out: MODERATE."""
    if snapshot.upstream(action.upstream) is None:
        return Assessment(Risk.CRITICAL, "it is not configured", f"there is no upstream {action.upstream}")
    if action.kind is ActionKind.BLOCK_CALLER:
        return Assessment(Risk.MODERATE, "one caller is kept out whole; it undoes itself")
    return Assessment(
        Risk.SAFE, f"one caller keeps {action.amount:g} requests/s, nobody else notices; it undoes itself"
    )


def goes_on(action: Action, callers: Callers, routes: frozenset[str], now: float) -> tuple[bool, str]:
    """Whether a caller still asks for too much, and the sentence that says so: refused requests count as well."""
    end = now - now % 5
    asked = callers.asked(end - LOOK_S, end, routes).get(action.caller, 0) / LOOK_S
    line = max(_FEWEST_PER_S, action.amount) * _ALMOST
    return asked > line, f"{action.caller} asks for {asked:.1f} requests/s, {line:.1f} would be well"


def _found(situation: Situation) -> tuple[Upstream, Watch, Abuser] | Refusal:
    upstream = situation.upstream
    if upstream is None:
        return Refusal(f"{situation.hypothesis.id} does not name an upstream")
    watch = harm(situation, upstream)
    if isinstance(watch, Refusal):
        return watch
    routes = situation.routes_to(upstream.name)
    end = situation.now - situation.now % 5
    onset = situation.incident.onset - situation.incident.onset % 5
    start = max(end - LOOK_S, min(onset, end - 10))
    first = max(onset - _BEFORE_S, float(situation.window.started_at or 0))
    lately = situation.callers.asked(start, end, routes)
    # A caller may have begun a little before its harm showed.
    before = situation.callers.asked(first, min(onset, start) - 15, routes)
    one = _abuser(lately, before, end - start, max(min(onset, start) - 15 - first, 1.0))
    return one if isinstance(one, Refusal) else (upstream, watch, one)


def _abuser(lately: Mapping[str, int], before: Mapping[str, int], span_s: float, before_s: float) -> Abuser | Refusal:
    """The narrowest name of the caller that stands out: a subject if it shows one, else its address."""
    for kind in ("subject ", "client "):
        asked = sorted(((count, name) for name, count in lately.items() if name.startswith(kind)), reverse=True)
        if not asked:
            continue
        whole = sum(count for name, count in lately.items() if name.startswith("client "))
        count, name = asked[0]
        following = asked[1][0] if len(asked) > 1 else 0
        usual = before.get(name, 0) / before_s
        per_s = count / span_s
        if (
            following
            and per_s >= _FEWEST_PER_S
            and count >= _LARGE_PART * whole
            and count >= _TIMES_NEXT * following
            and per_s >= _TIMES_USUAL * usual
        ):
            return Abuser(name, per_s, usual, count / whole, len(asked) - 1)
    return Refusal("no single caller asks for far more than it used to and than the others do")


def _draft(situation: Situation, upstream: Upstream, watch: Watch, one: Abuser, keeps: float, does: str) -> Draft:
    ttl_s = situation.settings.hold_for_s
    return Draft(
        upstream=upstream.name,
        target="",
        ttl_s=ttl_s,
        caller=one.caller,
        amount=keeps,
        blast=one.share,
        effect=(
            f"{does}, for {span(ttl_s)}. It asks for {one.per_s:.1f} requests/s, {percent(one.share)} of all; it used "
            f"to ask for {one.usual_per_s:.1f}, and {one.others} other callers are there. Of the requests to "
            f"{upstream.name} {counted(watch.target)} {what_is_bad(watch)}, {counted(watch.siblings)} before it began."
        ),
        undo=(
            f"Let {one.caller} have all it asks for again within a second. That happens by itself once it asks for no "
            f"more than that, else after {span(ttl_s)} unless it still goes on."
        ),
        success_signal=f"Clearly fewer requests of all the others to {upstream.name} go wrong ({what_is_bad(watch)}).",
        watch=watch,
    )
