"""Takes a target out by what its own answers show, and lets it back by what a probe shows.

In service → (``consecutive`` failures in a row) → out for a while → probing: one request at a time → in service, or out
again for longer. Who is out and who is being probed, :mod:`gateway.proxy.standing` asks; times are monotonic seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.proxy.probe import ProbeSlot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.upstreams import Outlier

NO_PROBE = 0
# Ejections in a row that still lengthen the next one: ten times 30 s are the five minutes Envoy stops at.
MOST_IN_A_ROW = 10


class _Conduct:
    """What one target has shown lately."""

    __slots__ = ("back_at", "failures", "in_a_row", "lasted_s", "out", "probe", "until")

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self.in_a_row = 0  # ejections
        self.lasted_s = 0.0  # the latest ejection
        self.out = False  # until a probe succeeds
        self.until = 0.0  # from then on it is probed
        self.back_at = 0.0
        self.probe = ProbeSlot()


class Outliers:
    """The passive ejections of one upstream.

    Attributes:
        changes: raised whenever a target goes out or comes back; who caches an answer looks here.
    """

    def __init__(self, settings: Outlier, names: Iterable[str]) -> None:
        self.settings = settings
        self.changes = 0
        self._ejected: dict[str, int] = {}
        self._conduct: dict[str, _Conduct] = {}
        self.retain(names)

    def retain(self, names: Iterable[str]) -> None:
        """Watch exactly these; what was known of those that stay is kept."""
        self._conduct = {name: self._conduct.get(name) or _Conduct() for name in names}
        self.changes += 1

    def away(self) -> dict[str, float]:
        """Those not in service, and from when on each of them is probed."""
        return {name: conduct.until for name, conduct in self._conduct.items() if conduct.out}

    def probe_free(self, name: str, now: float) -> bool:
        """Whether a target that is out may have one request now."""
        conduct = self._conduct[name]
        return now >= conduct.until and conduct.probe.free(now)

    def started(self, name: str, now: float) -> int:
        """A request goes to ``name``; the ticket for the other calls, NO_PROBE when it is none.

        Whoever comes to a target whose time is over probes it, also in a panic, when it was not chosen as a probe.
        """
        conduct = self._conduct.get(name)
        if conduct is None or not conduct.out or now < conduct.until:
            return NO_PROBE
        if conduct.probe.proven(now):
            self._return(conduct, now)
            return NO_PROBE
        return conduct.probe.begin(now) if conduct.probe.free(now) else NO_PROBE

    def answered(self, name: str, ticket: int, now: float) -> None:
        """The head of a good answer arrived."""
        conduct = self._conduct.get(name)
        if conduct is not None and ticket != NO_PROBE:
            conduct.probe.answered(ticket, now)

    def finished(self, name: str, ticket: int, now: float, *, well: bool | None) -> None:
        """How that request ended; ``well`` is None when that is not the target's doing."""
        conduct = self._conduct.get(name)
        if conduct is None:
            return
        if ticket != NO_PROBE:
            conduct.probe.end(ticket)
        if conduct.out:
            # Requests that began before it went out, or that a panic sent there, change nothing; nor does a probe that
            # took so long that a later one has decided meanwhile.
            if ticket != NO_PROBE and well is not None and now >= conduct.until:
                self._return(conduct, now) if well else self._eject(name, conduct, now)
        elif well:
            conduct.failures = 0
        elif well is False:
            conduct.failures += 1
            if conduct.failures >= self.settings.consecutive and self._room():
                self._eject(name, conduct, now)

    def take_ejections(self) -> dict[str, int]:
        """How often each target went out since the last call."""
        taken, self._ejected = self._ejected, {}
        return taken

    def _room(self) -> bool:
        out = sum(conduct.out for conduct in self._conduct.values())
        return out + 1 <= self.settings.max_ejected * len(self._conduct) + 1e-9  # 0.29 of 100 are 29

    def _eject(self, name: str, conduct: _Conduct, now: float) -> None:
        # A row of ejections ends when the target has been back for as long as it had been out.
        if not conduct.out and now - conduct.back_at > conduct.lasted_s:
            conduct.in_a_row = 0
        conduct.in_a_row = min(conduct.in_a_row + 1, MOST_IN_A_ROW)
        conduct.lasted_s = conduct.in_a_row * self.settings.eject_s
        conduct.out, conduct.until, conduct.failures = True, now + conduct.lasted_s, 0
        self._ejected[name] = self._ejected.get(name, 0) + 1
        self.changes += 1

    def _return(self, conduct: _Conduct, now: float) -> None:
        conduct.out, conduct.back_at, conduct.failures = False, now, 0
        conduct.probe = ProbeSlot()
        self.changes += 1
