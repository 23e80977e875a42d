"""The one request at a time that finds out whether something which was out is well again."""

from __future__ import annotations

# A probe that is being answered well, but goes on and on (a stream of events), has shown enough after a second.
GOES_ON_S = 1.0
# One without any verdict for so long (a client that drips its body, a long header timeout) no longer holds up the next.
PATIENCE_S = 10.0


class ProbeSlot:
    """Room for one probe. Every probe has a ticket, so that a late end of an earlier one frees nothing."""

    __slots__ = ("_answered_at", "_begun_at", "_ticket", "_under_way")

    def __init__(self) -> None:
        self._ticket = 0
        self._under_way = False
        self._begun_at = 0.0
        self._answered_at: float | None = None

    def free(self, now: float) -> bool:
        """Whether the next request may be a probe, or show that the last one did well."""
        return not self._under_way or now - self._begun_at >= PATIENCE_S or self.proven(now)

    def proven(self, now: float) -> bool:
        """Whether the probe under way has been answered well for long enough to be believed."""
        return self._under_way and self._answered_at is not None and now - self._answered_at >= GOES_ON_S

    def begin(self, now: float) -> int:
        """Take the slot; returns the ticket, which is never 0."""
        self._ticket += 1
        self._under_way = True
        self._begun_at, self._answered_at = now, None
        return self._ticket

    def answered(self, ticket: int, now: float) -> None:
        """The head of a good answer arrived."""
        if ticket == self._ticket:
            self._answered_at = now

    def end(self, ticket: int) -> None:
        """The probe is over, whatever it showed."""
        if ticket == self._ticket:
            self._under_way = False
