"""Going back to the configuration before, when its change came just before the incident and touches its place. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.plan import Action, Risk
from gateway.remediate.harm import harm
from gateway.remediate.situation import Assessment, Draft, Refusal, Situation
from gateway.remediate.wording import counted, span, what_is_bad

if TYPE_CHECKING:
    from gateway.domain.incident import Change
    from gateway.domain.policy import RemediateSettings
    from gateway.domain.snapshot import Snapshot

ROLLED_BACK_BY = "remediation"  # who is named as the author of such a revision
_JUST_BEFORE_S = 600.0
# The onset is told from cells of five seconds and workers take up to one to notice.
_CLOCKS_S = 10.0
_LONGEST_NAMED = 300


def propose(situation: Situation) -> Draft | Refusal:
    """Roll back when the newest revision came minutes before the onset, and its changes name the upstream or route."""
    upstream = situation.upstream
    if upstream is None:
        return Refusal(f"{situation.hypothesis.id} does not name an upstream")
    change = _suspect(situation)
    if isinstance(change, Refusal):
        return change
    names = situation.routes_to(upstream.name) | {upstream.name}
    touching = [
        line for line in change.diff.splitlines() if any(f'"{name}"' in line or _word(name, line) for name in names)
    ]
    if not touching:
        return Refusal(f"revision {change.reference} changed nothing about {upstream.name} or its routes")
    watch = harm(situation, upstream)
    if isinstance(watch, Refusal):
        return watch
    number = int(change.reference)
    return Draft(
        upstream=upstream.name,
        target="",
        ttl_s=0.0,
        revision=number - 1,
        from_revision=number,
        blast=1.0,
        effect=(
            f"Put the configuration of revision {number - 1} in force again, as a new revision. Revision {number} came "
            f"{span(max(0.0, situation.incident.onset - change.at))} before it began and changed: "
            f"{'; '.join(touching)[:_LONGEST_NAMED]}. Of the requests to {upstream.name} {counted(watch.target)} "
            f"{what_is_bad(watch)}, {counted(watch.siblings)} before."
        ),
        undo=f"Put the configuration of revision {number} in force again, unless somebody applied another meanwhile.",
        success_signal=f"Clearly fewer requests to {upstream.name} go wrong than before ({what_is_bad(watch)}).",
        watch=watch,
    )


def risk(action: Action, snapshot: Snapshot, _settings: RemediateSettings) -> Assessment:
    """MODERATE: it undoes what a person did, for everything that revision changed."""
    over = ""
    if snapshot.revision != action.from_revision:
        over = f"revision {snapshot.revision} is in force now, not {action.from_revision}"
    return Assessment(Risk.MODERATE, "it undoes a change that a person made; it can be applied again", over)


def _suspect(situation: Situation) -> Change | Refusal:
    revisions = [one for one in situation.changes if one.kind == "config" and one.reference.isdecimal()]
    if not revisions:
        return Refusal("the configuration was not changed lately")
    newest = max(revisions, key=lambda one: int(one.reference))
    onset = situation.incident.onset
    if int(newest.reference) != situation.snapshot.revision or int(newest.reference) < 2:  # noqa: PLR2004 - 1 is the first
        return Refusal("the configuration in force is not the one that was changed last")
    if not newest.at - _CLOCKS_S <= onset <= newest.at + _JUST_BEFORE_S:
        return Refusal(f"it did not begin within {span(_JUST_BEFORE_S)} after revision {newest.reference}")
    if newest.actor == ROLLED_BACK_BY:
        return Refusal(f"revision {newest.reference} is a rollback itself")
    return newest


def _word(name: str, line: str) -> bool:
    """Whether a name stands in a line by itself, not as a part of another."""
    at = line.find(name)
    while at >= 0:
        around = line[at - 1 : at] + line[at + len(name) : at + len(name) + 1]
        if not any(letter.isalnum() or letter in "-_" for letter in around):
            return True
        at = line.find(name, at + 1)
    return False
