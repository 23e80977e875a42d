"""Why control is not ready, in words for a person; an empty answer is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.control.leadership import Leadership
    from gateway.control.traffic import Traffic
    from gateway.store.journal import Journal


def reasons_not_ready(
    traffic: Traffic, leadership: Leadership, journal: Journal, *, stopping: bool = False
) -> tuple[str, ...]:
    """What is amiss. Workers go on proxying in every case but the first: a node that stops takes nothing new."""
    reasons = []
    if stopping:
        reasons.append("this node is stopping: what is under way is finished, nothing new is taken")
    if not (traffic.store_up and leadership.store_up):
        reasons.append("the store is away: records wait in the spool, incidents in the journal")
    elif journal.waiting:
        reasons.append(f"{journal.waiting} entries of the journal are being carried over to the store, which was away")
    if journal.dropped:
        reasons.append(f"the journal was full: {journal.dropped} entries were dropped")
    return tuple(reasons)
