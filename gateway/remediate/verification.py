"""Whether an executed action helped, told from the gateway's own traffic before and after. Pure.

Four groups of requests are compared, each with Fisher's exact test: those acted on (must get better), the place where
the incident shows (must not get worse), the control beside it before the action (an upstream's other targets, a split's
other upstreams: had they been as bad, their recovery would not be the action's doing), and all other upstreams (when
everything gets worse the action is not to blame, and when everything gets better it is not to thank). Significance
alone is no verdict: the effect must also be half of what the action promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.domain.plan import Action, ActionKind, Outcome, Sample
from gateway.remediate.comparison import less, lower, sample
from gateway.remediate.ejection import look_back
from gateway.remediate.field import acted_on, beside, field_name, ill, untouched
from gateway.remediate.wording import counted, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.traffic import SeriesKey
    from gateway.domain.window import Where, Window

# Workers notice a directive within a second; requests begun before it end within the next.
SETTLE_S = 2.0
# Two whole cells at least: one lucky cell proves nothing.
LOOK_AFTER_S = 10.0
# Requests that hung when the action came end by the upstream's timeouts, so a bad verdict waits for them.
DECIDE_BY_S = 45.0
# With hardly any traffic it takes longer; then the honest answer is that nothing can be said.
GIVE_UP_S = 120.0
# Late verdicts look at the newest traffic only, so that stragglers from before the action drop out.
_RECENT_S = 15.0
_FEWEST = 8
_PLENTY = 50
# The action has to take away half of what the ill target stood out by.
_HALF = 0.5
# Got worse: by a quarter and two points, beyond luck.
_WORSE_FACTOR = 1.25
_WORSE_POINTS = 0.02


class After(NamedTuple):
    """What the traffic looks like since the action: the upstream, and the incident's place."""

    upstream: Sample
    place: Sample
    others: Sample


def begin(action: Action, window: Window, now: float) -> Action:
    """The action with its "before" measured, to be called right before it is executed."""
    watch = action.watch
    start = look_back(watch.onset, now)

    def measured(where: Where) -> Sample:
        return sample(window, watch, start, now, where)

    target = measured(ill(action))
    control = beside(action)
    siblings = measured(control) if control is not None else Sample()
    seen = msgspec.structs.replace(
        watch,
        before=measured(acted_on(action)),
        # Hours may lie between proposal and approval; when nothing came meanwhile, what was shown still stands.
        target=target if target.requests else watch.target,
        siblings=siblings if siblings.requests else watch.siblings,
        place=measured(lambda key: _at_place(action, key)),
        others=measured(untouched(action)),
    )
    return msgspec.structs.replace(action, watch=seen)


def faded(measured: Action) -> str:
    """Why an action whose "before" was just measured is not needed any more, or empty: approvals may come late."""
    target, siblings = measured.watch.target, measured.watch.siblings
    if target.requests < _FEWEST or target.share > siblings.share + _WORSE_POINTS:
        return ""
    return (
        f"it is no longer needed: in the last minute {counted(target)} {what_is_bad(measured.watch)} at "
        f"{measured.object}, {counted(siblings)} {'at the others' if beside(measured) else 'before it began'}"
    )


def verify(action: Action, window: Window, now: float) -> Outcome:
    """What can be said ``now``; "watching" until it is clear, at the latest two minutes after the execution."""
    executed_at = action.executed_at or now
    settled_at = executed_at + SETTLE_S + action.watch.settle_s
    elapsed = now - settled_at
    if action.kind is ActionKind.OPEN_CIRCUIT:
        # Nothing reaches it, so nothing can be told before the trial.
        return _outcome(
            action, "too_little_traffic", Sample(), now, "Whether it is well is seen when some requests try it."
        )
    if elapsed < LOOK_AFTER_S:
        return _outcome(action, "watching", Sample(), now, "Traffic since the action is being watched.")
    seen = after(action, window, settled_at, now)
    if min(seen.upstream.requests, action.watch.before.requests) < _FEWEST:
        if elapsed < GIVE_UP_S:
            return _outcome(action, "watching", seen.upstream, now, "There is little traffic; watching on.")
        return _outcome(action, "too_little_traffic", seen.upstream, now, "Too few requests to tell whether it helped.")
    verdict, text = _verdict(_with_others(action, window, executed_at), seen)
    patience_s = {"no_effect": DECIDE_BY_S, "too_little_traffic": GIVE_UP_S}.get(verdict, 0.0)
    if elapsed < patience_s:
        return _outcome(action, "watching", seen.upstream, now, "Not clear yet; watching on.")
    return _outcome(action, verdict, seen.upstream, now, text)


def _with_others(action: Action, window: Window, executed_at: float) -> Action:
    """The others measured anew as they were before it: who has a trouble of its own may have come out since."""
    start = look_back(action.watch.onset, executed_at)
    others = sample(window, action.watch, start, executed_at, untouched(action))
    if not others.requests:
        return action  # so long ago that it is not known any more
    return msgspec.structs.replace(action, watch=msgspec.structs.replace(action.watch, others=others))


def after(action: Action, window: Window, start: float, now: float) -> After:
    """The traffic since ``start``; only its newest part once that holds enough requests."""
    recent = max(start, now - _RECENT_S)
    if sample(window, action.watch, recent, now, acted_on(action)).requests < _PLENTY:
        recent = start

    def measured(where: Where) -> Sample:
        return sample(window, action.watch, recent, now, where)

    return After(
        upstream=measured(acted_on(action)),
        place=measured(lambda key: _at_place(action, key)),
        others=measured(lambda key: key.upstream not in {action.upstream, action.watch.place_upstream}),
    )


def grew_worse(before: Sample, now: Sample, others_before: Sample, others_now: Sample) -> bool:
    """Whether it is materially worse than before, beyond luck, while the rest of the traffic did not follow."""
    if not lower(before, now) or now.share < before.share * _WORSE_FACTOR + _WORSE_POINTS:
        return False
    everything = lower(others_before, others_now) and (
        others_now.share - others_before.share >= _HALF * (now.share - before.share)
    )
    return not everything


def _verdict(action: Action, seen: After) -> tuple[str, str]:
    watch = action.watch
    name, verb = field_name(action), what_is_bad(watch)
    numbers = f"{name}: {counted(watch.before)} {verb} before, {counted(seen.upstream)} after"
    if harm := _harm(action, seen, numbers):
        return "worse", harm
    removed = watch.before.share - seen.upstream.share
    as_promised = removed > 0 and removed >= _HALF * (watch.before.share - watch.siblings.share)
    if not lower(seen.upstream, watch.before):
        if as_promised:
            return "too_little_traffic", f"It looks better, but so few requests may be luck. {numbers}."
        return "no_effect", f"It did not help. {numbers}."
    if by_itself := _by_itself(action, seen, removed):
        return "no_effect", f"{by_itself}, so it was not the action. {numbers}."
    if not as_promised:
        return "no_effect", f"It helped less than half as much as it should have. {numbers}."
    return "helped", f"It helped. {numbers}{_about_place(action, seen)}."


def _by_itself(action: Action, seen: After, removed: float) -> str:
    """What recovered as well though nothing was done there, or empty: difference in differences."""
    watch = action.watch
    by_themselves = watch.siblings.share - seen.upstream.share
    if beside(action) is not None and lower(seen.upstream, watch.siblings) and by_themselves >= _HALF * removed:
        return f"The untouched {'targets' if action.target else 'upstreams'} recovered as well"
    elsewhere = watch.others.share - seen.others.share
    if lower(seen.others, watch.others) and elsewhere >= _HALF * removed:
        return f"Other upstreams recovered as well ({counted(watch.others)} before, {counted(seen.others)} after)"
    return ""


def _harm(action: Action, seen: After, numbers: str) -> str:
    """What got worse, or empty."""
    watch = action.watch
    if grew_worse(watch.before, seen.upstream, watch.others, seen.others):
        return f"It got worse. {numbers}."
    if grew_worse(watch.place, seen.place, watch.others, seen.others):
        return f"{_place(action)} got worse: {counted(watch.place)} before, {counted(seen.place)} after."
    return ""


def _about_place(action: Action, seen: After) -> str:
    watch = action.watch
    if watch.place_upstream in {"", action.upstream} or not (watch.place.requests and seen.place.requests):
        return ""
    better = "" if less(seen.place, watch.place) < _HALF else ", not better yet"
    return f". {_place(action)}: {counted(watch.place)} before, {counted(seen.place)} after{better}"


def _at_place(action: Action, key: SeriesKey) -> bool:
    watch = action.watch
    if not watch.route and not watch.place_upstream:
        return key.upstream == action.upstream
    return watch.route in {"", key.route} and watch.place_upstream in {"", key.upstream}


def _place(action: Action) -> str:
    if action.watch.route:
        return f"route {action.watch.route}"
    return action.watch.place_upstream or action.upstream


def _outcome(action: Action, verdict: str, seen: Sample, now: float, statement: str) -> Outcome:
    return Outcome(
        verdict=verdict,
        before=action.watch.before.share,
        after=seen.share,
        requests_after=seen.requests,
        decided_at=now,
        statement=statement,
    )
