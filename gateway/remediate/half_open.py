"""The life of an executed action: hold it, try the target again with a little traffic, prolong or take it back. Pure.

Whether a trial meets the fault again is decided request by request with Wald's sequential test, so a fault that still
fails everything costs two or three requests. The pauses between trials grow, since each trial hurts somebody.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import Signal
from gateway.domain.plan import Action, ActionState, Sample
from gateway.remediate.comparison import log_odds, lower, sample
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
    """Let ``share`` of the usual traffic try the target."""

    share: float
    reason: str


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


Step = Keep | TrialAt | Extend | Restore | Revert

DEFAULT_POLICY = TrialPolicy()


def next_step(action: Action, window: Window, now: float, policy: TrialPolicy = DEFAULT_POLICY) -> Step:
    """What to do with an executed action now; everything it needs is in the action and in recent traffic."""
    if action.state is not ActionState.EXECUTED:
        return Keep()
    if now >= action.effect_until:
        return Restore(f"its time to live of {span(action.ttl_s)} ended")
    verdict = action.outcome.verdict if action.outcome else "watching"
    if verdict in {"no_effect", "worse"}:
        return Revert(action.outcome.statement if action.outcome else verdict)
    if now - (action.executed_at or now) > policy.longest_life_s:
        return Revert(f"it was prolonged for {span(policy.longest_life_s)}; a person has to decide anew")
    if action.trial.share > 0:
        return _during_trial(action, window, now, policy)
    return Keep() if verdict == "watching" else _in_full_effect(action, window, now, policy)


def _in_full_effect(action: Action, window: Window, now: float, policy: TrialPolicy) -> Step:
    watch = action.watch
    seen = after(action, window, max(action.trial.since, now - _COPING_S), now)
    if grew_worse(watch.before, seen.upstream, watch.others, seen.others):
        return Revert(
            f"the remaining targets of {action.upstream} do not cope: {counted(seen.upstream)} {what_is_bad(watch)} "
            f"now, {counted(watch.before)} before the action"
        )
    # A trial has to come to an end before the effect does.
    room = min(policy.longest_trial_s + watch.patience_s, action.ttl_s / 2)
    if now >= min(action.trial.since + action.trial.pause_s, action.effect_until - room):
        return TrialAt(
            policy.share, f"{action.target} of {action.upstream} gets {percent(policy.share)} of its usual traffic"
        )
    return Keep()


def _during_trial(action: Action, window: Window, now: float, policy: TrialPolicy) -> Step:
    watch = action.watch
    start = (
        action.trial.since - action.trial.since % 5
    )  # the target was out before, so all that the cell holds belongs to the trial
    seen = sample(
        window, watch, start, now, lambda key: key.upstream == action.upstream and key.target == action.target
    )
    beside = sample(
        window, watch, start, now, lambda key: key.upstream == action.upstream and key.target != action.target
    )
    well, ill = _expectations(action, beside)
    odds = log_odds(seen, well, ill)
    return _judged(action, seen, odds, now, policy, clean=not lower(beside, seen))


def _judged(action: Action, seen: Sample, odds: float, now: float, policy: TrialPolicy, *, clean: bool) -> Step:
    """``odds`` speak for the fault when positive; ``clean``: the target is no worse than its siblings, beyond luck."""
    elapsed, watch = now - action.trial.since, action.watch
    numbers = f"at {action.target} {counted(seen)} {what_is_bad(watch)} in the trial"
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
