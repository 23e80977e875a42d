"""Control's directives as a worker obeys them: fenced against a leader of the past, in monotonic time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.snapshot import Directive


class Orders:
    """The directives in force, translated to monotonic deadlines and fenced against a leader of the past.

    A directive's deadline is set once, when it is first seen: its time to live or what is left of it by the wall
    clock, whichever is shorter. Later jumps of the wall clock neither prolong nor cut it.
    """

    def __init__(self) -> None:
        self.highest_fence = 0
        self.refused = 0  # directives of a leader that has been replaced
        self._deadlines: dict[Directive, float] = {}

    def accept(self, directives: Iterable[Directive], *, wall: float, now: float) -> dict[Directive, float]:
        """Take the directives of a snapshot; returns those in force with the monotonic second each one ends.

        One accepted before stays, even under a new leader, until it ends or the snapshot no longer lists it. A new
        one whose fence is lower than the highest ever seen is refused.
        """
        accepted: dict[Directive, float] = {}
        for directive in sorted(directives, key=lambda directive: directive.fence):
            deadline = self._deadlines.get(directive)
            if deadline is None:
                if directive.fence < self.highest_fence:
                    self.refused += 1
                    continue
                to_live = directive.expires_at - directive.issued_at
                deadline = now + min(to_live, directive.expires_at - wall)
                self.highest_fence = directive.fence
            accepted[directive] = deadline
        self._deadlines = accepted  # ended ones stay listed, so that they cannot begin again
        return {directive: deadline for directive, deadline in accepted.items() if deadline > now}
