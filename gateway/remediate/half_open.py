"""The life of an executed action: hold it, try the target again with a little traffic, prolong or take it back. Pure.

Whether a trial meets the fault again is decided request by request with Wald's sequential test, so a fault that still
fails everything costs two or three requests. The pauses between trials grow, since each trial hurts somebody.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import Signal
from gateway.domain.plan import ABOUT_LOAD, FOR_GOOD, Action, ActionKind, ActionState, Sample
from gateway.remediate.comparison import log_odds, lower, sample
from gateway.remediate.field import beside, field_name, ill
from gateway.remediate.verification import after, grew_worse
from gateway.remediate.wording import counted, percent, span, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.window import Window

# One wrong decision in a hundred trials, either way (Wald 1945: ln((1 − β)/α)).
_SURE = log(99)
# Even a healthy target fails now and then; for latency the line was drawn near its own p95.
_WELL = {Signal.LATENCY: 0.05}
_WELL_ERRORS = 0.02
_ILL_MOST = 0.5
# How much of the newest traffic tells whether the remaining targets still cope.
_COPING_S = 15.0
# Load that goes well at this share of what was held back goes well at all of it.
_MOST_TRIED = 0.6


class TrialPolicy(msgspec.Struct, frozen=True):
    """How an action is brought back."""

    first_pause_s: float = 30.0
    pause_factor: float = 2.0
    longest_pause_s: float = 300.0
    share: float = 0.1  # of the target's usual traffic
    share_factor: float = 2.5  # undecided trials widen by this each time the upstream's patience has passed
    largest_share: float = 0.5
    longest_trial_s: float = 60.0
    longest_life_s: float = 86_400.0  # after a day of prolonging, a person has to decide anew


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Nothing to do now."""


class TrialAt(msgspec.Struct, frozen=True, tag="trial"):
    """Let ``share`` of what is held back through; ``anew``: judged by itself, not with the trial before it."""

    share: float
    reason: str
    anew: bool = False


class Extend(msgspec.Struct, frozen=True, tag="extend"):
    """The fault is still there: full effect again, for a fresh time to live, and no trial for ``pause_s``."""

    pause_s: float
    reason: str


class Restore(msgspec.Struct, frozen=True, tag="restore"):
    """The action has done its work, or its time is over: give the target its full share back."""

    reason: str


class Revert(msgspec.Struct, frozen=True, tag="revert"):
    """The action did not help or does harm: take it back, and call people."""

    reason: str


class Settle(msgspec.Struct, frozen=True, tag="settle"):
    """It was done for good and there is nothing to take back, or no reason to; ``escalate``: it did not help."""

    reason: str
    escalate: bool = False


Step = Keep | TrialAt | Extend | Restore | Revert | Settle

DEFAULT_POLICY = TrialPolicy()


def next_step(action: Action, window: Window, now: float, policy: TrialPolicy = DEFAULT_POLICY) -> Step:
    """What to do with an executed action now; everything it needs is in the action and in recent traffic."""
    if action.state is not ActionState.EXECUTED:
        return Keep()
    if action.kind in FOR_GOOD:
        return _for_good(action)
    if now >= action.effect_until:
        return Restore(f"its time to live of {span(action.ttl_s)} ended")
    if why := _to_revert(action, now, policy):
        return Revert(why)
    if action.trial.share > 0:
        return _during_trial(action, window, now, policy)
    return Keep() if _verdict(action) == "watching" else _in_full_effect(action, window, now, policy)


def of_caller(action: Action, now: float, policy: TrialPolicy, *, goes_on: bool, why: str) -> Step:
    """The same for an action about one caller: what it asks for is seen while it is refused, so no trial is needed."""
    if action.state is not ActionState.EXECUTED:
        return Keep()
    if why_not := _to_revert(action, now, policy):
        return Revert(why_not)
    room_s = min(policy.longest_trial_s, action.ttl_s / 2)
    if _verdict(action) == "watching" or now < min(
        action.trial.since + action.trial.pause_s, action.effect_until - room_s
    ):
        return Restore(f"its time to live of {span(action.ttl_s)} ended") if now >= action.effect_until else Keep()
    return _prolong(action, policy, f"it goes on: {why}") if goes_on else Restore(f"it is over: {why}")


def _verdict(action: Action) -> str:
    return action.outcome.verdict if action.outcome else "watching"


def _to_revert(action: Action, now: float, policy: TrialPolicy) -> str:
    """Why it has to go and a person to come, or empty."""
    if action.outcome is not None and action.outcome.verdict in {"no_effect", "worse"}:
        return action.outcome.statement
    if now - (action.executed_at or now) > policy.longest_life_s:
        return f"it was prolonged for {span(policy.longest_life_s)}; a person has to decide anew"
    return ""


def _for_good(action: Action) -> Step:
    verdict = action.outcome.verdict if action.outcome else "watching"
    said = action.outcome.statement if action.outcome else verdict
    if verdict in {"no_effect", "worse"}:
        return Revert(said) if action.revision else Settle(said, escalate=True)
    return Keep() if verdict == "watching" else Settle(said)


def _in_full_effect(action: Action, window: Window, now: float, policy: TrialPolicy) -> Step:
    watch = action.watch
    seen = after(action, window, max(action.trial.since, now - _COPING_S), now)
    if grew_worse(watch.before, seen.upstream, watch.others, seen.others):
        return Revert(
            f"{_what_is_left(action)} not cope: {counted(seen.upstream)} {what_is_bad(watch)} "
            f"now, {counted(watch.before)} before the action"
        )
    # A trial has to come to an end before the effect does.
    room = min(policy.longest_trial_s + watch.patience_s, action.ttl_s / 2)
    if now >= min(action.trial.since + action.trial.pause_s, action.effect_until - room):
        return TrialAt(policy.share, _tries(action, policy.share))
    return Keep()


def _what_is_left(action: Action) -> str:
    if action.kind is ActionKind.EJECT_TARGET:
        return f"the remaining targets of {action.upstream} do"
    return f"what {field_name(action)} still gets does"


def _tries(action: Action, share: float) -> str:
    if action.kind in ABOUT_LOAD:
        return f"{percent(share)} of what was kept from {action.object} is let through"
    return f"{action.object} gets {percent(share)} of its usual traffic"


def _during_trial(action: Action, window: Window, now: float, policy: TrialPolicy) -> Step:
    watch = action.watch
    start = (
        action.trial.since - action.trial.since % 5
    )  # the target was out before, so all that the cell holds belongs to the trial
    seen = sample(window, watch, start, now, ill(action))
    where = beside(action)
    control = sample(window, watch, start, now, where) if where is not None else Sample()
    well, bad = _expectations(action, control)
    odds = log_odds(seen, well, bad)
    step = _judged(action, seen, odds, now, policy, clean=not lower(control, seen))
    if isinstance(step, Restore) and action.kind in ABOUT_LOAD and action.trial.share < _MOST_TRIED:
        # All at once would be the surge again: what was kept back comes step by step.
        share = min(1.0, action.trial.share * policy.share_factor)
        return TrialAt(
            share, f"{_tries(action, share)}, it went well so far: {counted(seen)} {what_is_bad(watch)}", anew=True
        )
    return step


def _judged(action: Action, seen: Sample, odds: float, now: float, policy: TrialPolicy, *, clean: bool) -> Step:
    """``odds`` speak for the fault when positive; ``clean``: the target is no worse than its siblings, beyond luck."""
    elapsed, watch = now - action.trial.since, action.watch
    numbers = f"at {action.target or field_name(action)} {counted(seen)} {what_is_bad(watch)} in the trial"
    if odds >= _SURE:
        return _prolong(action, policy, f"the fault is still there: {numbers}")
    if elapsed < watch.patience_s:
        return Keep()
    if odds <= -_SURE and clean:
        return Restore(f"the fault is gone: {numbers}")
    if elapsed >= policy.longest_trial_s and seen.requests:
        if odds < 0 and clean:
            return Restore(f"the fault seems gone, though there was little traffic to tell: {numbers}")
        return _prolong(action, policy, f"the trial was not clean: {numbers}")
    return _wider(action, elapsed, policy, numbers)


def _wider(action: Action, elapsed: float, policy: TrialPolicy, numbers: str) -> Step:
    share = min(policy.share * policy.share_factor ** int(elapsed / action.watch.patience_s), policy.largest_share)
    if share <= action.trial.share:
        return Keep()
    return TrialAt(share, f"not enough to tell at {percent(action.trial.share)} of its usual traffic: {numbers}")


def _expectations(action: Action, beside: Sample) -> tuple[float, float]:
    """The bad share a mended target would show, and the least one that means the fault is still there."""
    floor = _WELL.get(Signal(action.watch.signal), _WELL_ERRORS)
    well = min(max(beside.share, floor), _ILL_MOST / 2)
    # Half of what it showed: a fault that became milder is still a fault.
    ill = min(max(action.watch.target.share / 2, 2 * well), _ILL_MOST)
    return well, ill


def _prolong(action: Action, policy: TrialPolicy, reason: str) -> Extend:
    pause = policy.first_pause_s * policy.pause_factor ** min(action.trial.failed, 10)
    return Extend(min(pause, policy.longest_pause_s, action.ttl_s / 2), reason)
