"""What a run is worth: found when, cause named where, the right thing done, callers helped when. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import IncidentState
from gateway.gameday.catalogue import BY_NAME
from gateway.gameday.faults import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.domain.diagnosis import Hypothesis
    from gateway.domain.incident import Incident, Place
    from gateway.domain.plan import Action
    from gateway.domain.topology import Topology
    from gateway.gameday.faults import Fault, Right
    from gateway.gameday.play import Played
    from gateway.gameday.world import Felt

WEEK_S = 604_800.0
# The goals. A hard fault is one by which most requests at its place fail from the first second on.
DETECTED = 0.99
HARD_MEDIAN_S = 15.0
CAUSE_FIRST = 0.90
CAUSE_IN_THREE = 0.98
RIGHT_ACTION = 0.90
FALSE_ALARMS_PER_WEEK = 1.0

_LATE_S = 30.0  # an incident that opens so long after the fault's end still belongs to it
_IN = 3
_SMOOTH_S = 20
_HELPED = 0.25  # of the worst that callers felt: from there on they count as helped


class Result(msgspec.Struct, frozen=True):
    """One fault and what became of it. Seconds count from the fault; None: it never happened."""

    number: int
    kind: str
    hard: bool
    said: str
    at: float  # seconds since the epoch
    detected_s: float | None
    severity: str
    title: str
    named: tuple[str, ...]  # what the diagnosis named, best first
    cause_first: bool
    cause_in_three: bool
    actions: tuple[str, ...]
    wanted: tuple[str, ...]
    right: bool
    wrong: int  # actions that are not right
    harmful: int  # those of them that made it worse
    strays: tuple[str, ...]  # incidents that have nothing to do with it
    recovered_s: float | None  # when callers were helped before the fault ended by itself
    lasted_s: float
    closed: bool


class Score(msgspec.Struct, frozen=True):
    """Figures over some runs. Shares are 0..1; None where there was nothing to count."""

    runs: int
    detected: float | None
    detect_median_s: float | None
    cause_first: float | None
    cause_in_three: float | None
    right_action: float | None
    wrong_actions: int
    harmful_actions: int
    recovered: float | None  # share of the faults with a right action in which callers were helped by it
    recover_median_s: float | None
    strays: int


class Goal(msgspec.Struct, frozen=True):
    """One goal, what was reached, and whether that is enough."""

    name: str
    wanted: str
    reached: str
    met: bool


def judge(number: int, fault: Fault, played: Played, topology: Topology) -> Result:
    """What became of one fault."""
    own = [one for one in played.incidents if _belongs(one, fault, topology)]
    # Trouble of our own has an incident of its own, which says what it is; others beside it show whom it hurts.
    own.sort(key=lambda one: (not _is_part(one, fault), one.opened_at))
    strays = [one for one in played.incidents if one not in own]
    first = own[0] if own else None
    out_at = None if first is not None else _by_health_check(fault, played)
    named = _named(first, played) if first is not None else ()
    hits = [any(_names(one, cause, topology) for cause in fault.causes) for one in named]
    if out_at is not None or (first is not None and _is_part(first, fault)):
        hits = [True]  # it is about one target, or one part of ours, and names it
    found_at = first.opened_at if first is not None else out_at
    actions = [action for one in played.incidents for action in one.actions]
    wrong = [action for action in actions if not any(_fits(action, right) for right in fault.right)]
    told_is_right = any(right.kind == NONE for right in fault.right)
    return Result(
        number=number,
        kind=fault.kind,
        hard=BY_NAME[fault.kind].hard,
        said=fault.said,
        at=fault.began,
        detected_s=round(found_at - fault.began, 1) if found_at is not None else None,
        severity=str(first.severity) if first is not None else "",
        title=first.title if first is not None else "Taken out by its health check" if out_at is not None else "",
        named=tuple(one.statement for one in named),
        cause_first=hits[:1] == [True],
        cause_in_three=any(hits[:_IN]),
        actions=tuple(_spoken(action) for action in actions),
        wanted=tuple(str(right) for right in fault.right),
        right=found_at is not None and not wrong and bool(actions or told_is_right),
        wrong=len(wrong),
        harmful=sum(action.outcome is not None and action.outcome.verdict == "worse" for action in wrong),
        strays=tuple(f"{one.title} ({one.opened_at - fault.began:+.0f} s)" for one in strays),
        recovered_s=recovered_s(played.felt, fault.began, fault.ended),
        lasted_s=round(fault.ended - fault.began, 1),
        closed=all(one.state is IncidentState.CLOSED for one in played.incidents),
    )


def _belongs(incident: Incident, fault: Fault, topology: Topology) -> bool:
    """Whether an incident is about the fault: it began with it, at the place or at one that calls it."""
    if not fault.began <= incident.opened_at <= fault.ended + _LATE_S:
        return False
    upstream = topology.upstream_at(incident.place)
    causes = {cause.upstream for cause in fault.causes}
    return "" in causes or any(upstream == cause or cause in topology.callees(upstream) for cause in causes)


def _by_health_check(fault: Fault, played: Played) -> float | None:
    """When the health check took the ill target out, where that is as good as an incident: nobody is hurt any more."""
    if all(right.kind != NONE for right in fault.right):
        return None
    targets = {cause.target for cause in fault.causes if cause.target}
    return min((at for target, at in played.taken_out.items() if target in targets and at >= fault.began), default=None)


def _is_part(incident: Incident, fault: Fault) -> bool:
    return incident.place.part != "" and any(incident.place.part == cause.part for cause in fault.causes)


def _named(incident: Incident, played: Played) -> tuple[Hypothesis, ...]:
    diagnosis = played.read.get(incident.id)
    return tuple(one for one in diagnosis.hypotheses if not one.ruled_out) if diagnosis else ()


def _names(hypothesis: Hypothesis, cause: Place, topology: Topology) -> bool:
    """Whether a hypothesis says what the cause is: neither more of it, nor less, nor something else."""
    if (hypothesis.target, hypothesis.tenant) != (cause.target, cause.tenant):
        return False
    if cause.upstream and hypothesis.upstream != cause.upstream:
        return False
    if hypothesis.route == cause.route:
        return True
    # The only route of a service is another name for the service.
    routes = [route for route, upstream in topology.upstream_of.items() if upstream == cause.upstream]
    return not cause.route and routes == [hypothesis.route]


def _fits(action: Action, right: Right) -> bool:
    return action.kind == right.kind and right.upstream in {"", action.upstream} and right.target in {"", action.target}


def _spoken(action: Action) -> str:
    verdict = action.outcome.verdict if action.outcome is not None else str(action.state).lower()
    return f"{action.kind} {action.object}: {verdict}"


def recovered_s(felt: Mapping[int, Felt], began: float, ended: float) -> float | None:
    """Seconds until callers felt, then and on average until the fault ended, a quarter or less of its worst; or None.

    Refusals by an action are no hurt by the fault; what is tried again on the way back is.
    """
    first, last = int(began), int(ended)
    hurt = [felt[at].hurt if at in felt else 0 for at in range(first, last)]
    if len(hurt) <= _SMOOTH_S or not any(hurt):
        return None
    sums = [sum(hurt[at : at + _SMOOTH_S]) for at in range(len(hurt) - _SMOOTH_S)]
    little = _HELPED * max(sums)
    left = sum(hurt)
    begin = sums.index(max(sums))  # what grows slowly hurts little at first
    for at, total in enumerate(sums[: -_SMOOTH_S or None]):
        if at >= begin and total <= little and left * _SMOOTH_S <= little * (len(hurt) - at):
            return float(at)
        left -= hurt[at]
    return None


def score(results: Sequence[Result]) -> Score:
    """The figures of some runs."""
    acted = [one for one in results if one.wanted and not any(text.startswith("tell") for text in one.wanted)]
    times = [one.detected_s for one in results if one.detected_s is not None]
    helped = [one.recovered_s for one in acted if one.recovered_s is not None]
    return Score(
        runs=len(results),
        detected=_share(one.detected_s is not None for one in results),
        detect_median_s=median(times) if times else None,
        cause_first=_share(one.cause_first for one in results),
        cause_in_three=_share(one.cause_in_three for one in results),
        right_action=_share(one.right for one in results),
        wrong_actions=sum(one.wrong for one in results),
        harmful_actions=sum(one.harmful for one in results),
        recovered=_share(one.recovered_s is not None for one in acted),
        recover_median_s=median(helped) if helped else None,
        strays=sum(len(one.strays) for one in results),
    )


def _share(held: Iterable[bool]) -> float | None:
    found = list(held)
    return round(sum(found) / len(found), 4) if found else None


def goals(results: Sequence[Result], false_alarms: int, quiet_s: float) -> tuple[Goal, ...]:
    """Every goal that these runs can tell of."""
    whole = score(results)
    found = [
        _at_least("detected", DETECTED, whole.detected),
        _hard(score([one for one in results if one.hard])),
        _at_least("cause in first place", CAUSE_FIRST, whole.cause_first),
        _at_least("cause among three", CAUSE_IN_THREE, whole.cause_in_three),
        _at_least("right action", RIGHT_ACTION, whole.right_action),
    ]
    if quiet_s > 0:
        found.append(_quiet(false_alarms, quiet_s))
    return tuple(one for one in found if one is not None)


def _at_least(name: str, least: float, reached: float | None) -> Goal | None:
    if reached is None:
        return None
    return Goal(name, f"≥ {least * 100:.0f} %", f"{reached * 100:.1f} %", reached >= least)


def _hard(hard: Score) -> Goal | None:
    if not hard.runs:
        return None
    reached = hard.detect_median_s
    text = f"{reached:.1f} s" if reached is not None else "never"
    met = reached is not None and reached <= HARD_MEDIAN_S
    return Goal("median time to detect, hard faults", f"≤ {HARD_MEDIAN_S:.0f} s", text, met)


def _quiet(false_alarms: int, quiet_s: float) -> Goal:
    """Over less than a week one false alarm is one too many to call it good, and none is all that can be shown."""
    weeks = quiet_s / WEEK_S
    reached = false_alarms / weeks
    text = f"{false_alarms} in {quiet_s / 3600:.1f} h"
    return Goal("false alarms a quiet week", f"≤ {FALSE_ALARMS_PER_WEEK:.0f}", text, reached <= FALSE_ALARMS_PER_WEEK)
