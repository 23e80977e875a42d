"""Which places are worth a closer look: nearly none, nearly always, so the detectors cost what trouble there is.

It never passes over a place at which a detector of the open minute would speak; it only spares those at which none can:

- A share over several bins is a mean of the bins' shares. If no bin of the last minute has one request in twenty
  failing, no span of bins has; the same with one in four being slow.
- What counts as slow hangs on a 95th percentile of the last ten minutes, which moves with every bin. So a place has a
  *typical* bin well below it (about the 85th), and a budget of requests that may come and go before the percentile
  could fall below that bin. While the budget lasts, what is slow by the percentile is slow by the typical bin as well.
- A target is compared with what its siblings take now. As long as one in twenty of their requests of the last minute
  lies from the typical bin upwards, their percentile does too. Targets of one upstream share a typical bin for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.detect.packed import count_from, quantile_bin
from gateway.domain.histogram import bin_of, value_of
from gateway.domain.incident import Place

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.detect.places import Sums, Total

SLOWER = 2.0  # slow is beyond so many times the usual p95 …
SLOW_FLOOR_US = 20_000.0  # … and so many microseconds above it: under 20 ms nobody notices
FEWEST_BEFORE = 50  # requests that make a past to compare with
FAILING = 20  # one in so many requests: no detector of the open minute speaks below that
SLOW = 4
# The 95th percentile lies at or above a bin while one in twenty requests does: a + 19·r ≤ 20·c − n − 19, for n known
# requests of which c lie there, a more and r fewer.
_TAIL = 20
_TYPICAL = 0.85
_MOST_GONE = 100  # places remembered beyond twice those with traffic
_LOWEST, _HIGHEST = 0.1, 0.25  # share of the past from the typical bin upwards; outside, another bin is chosen


def slow_limit_us(usual_p95_us: float) -> float:
    """Beyond so many microseconds a request is slow."""
    return max(usual_p95_us * SLOWER, usual_p95_us + SLOW_FLOOR_US)


class _Member:
    """A place within its group."""

    __slots__ = ("budget", "place", "requests", "typical")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.budget = -1
        self.requests = self.typical = 0  # of the last minute, all and from the typical bin upwards


class _Group:
    """Places that share a typical bin: the targets of an upstream, or one place by itself."""

    __slots__ = ("limit", "members", "typical")

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.typical: int | None = None
        self.limit = 0  # from this bin on a request is slow if the percentile lies at the typical bin


class Screen:
    """Takes in every bin as it is summed, and every change of the past."""

    def __init__(self) -> None:
        self._groups: dict[Place, _Group] = {}
        self._members: dict[Place, tuple[_Member, _Group]] = {}
        self._stale: dict[Place, None] = {}
        self._counted: dict[int, list[tuple[_Member, int, int]]] = {}
        self._failing: dict[Place, int] = {}  # the newest bin in which it failed too often
        self._slow: dict[Place, int] = {}
        self._blind: dict[Place, int] = {}  # places without a typical bin: nothing is known of what is slow there

    @property
    def failing(self) -> dict[Place, int]:
        """Places at which a share of failures may be out."""
        return self._failing

    @property
    def slow(self) -> dict[Place, int]:
        """Places that may be slow beside their own past."""
        return self._slow | self._blind

    def beside_siblings(self) -> set[Place]:
        """Targets that may fail or be slow beside their siblings."""
        found = set()
        for group in self._groups.values():
            if len(group.members) < 2:  # noqa: PLR2004 - one alone has no siblings
                continue
            requests, typical = sum(one.requests for one in group.members), sum(one.typical for one in group.members)
            for one in group.members:
                others = requests - one.requests
                known = group.typical is not None and _TAIL * (typical - one.typical) >= others + _TAIL - 1
                if not known or one.place in self._slow or one.place in self._failing:
                    found.add(one.place)
        return found

    def take(self, at: int, sums: Sums) -> None:
        """A bin that was summed, perhaps again because it had grown."""
        self._uncount(at)
        counted = self._counted[at] = []
        for place, total in sums.items():
            member, group = self._members.get(place) or self._join(place)
            if total.errors and total.errors * FAILING >= total.requests:
                self._failing[place] = max(at, self._failing.get(place, at))
            if group.typical is not None:
                self._judge(at, total, member, group, counted)

    def learn(self, sums: Sums) -> None:
        """These were added to the past."""
        for place, total in sums.items():
            member = (self._members.get(place) or self._join(place))[0]
            member.budget -= total.requests
            if member.budget < 0:
                self._stale[place] = None

    def unlearn(self, sums: Sums) -> None:
        """These were taken out of the past."""
        for place, total in sums.items():
            member = (self._members.get(place) or self._join(place))[0]
            member.budget -= (_TAIL - 1) * total.requests
            if member.budget < 0:
                self._stale[place] = None

    def settle(self, bins: Sequence[tuple[int, Sums]], past: Sums) -> None:
        """Forget what lies before the bins, and choose typical bins anew where the budget is used up."""
        first = bins[0][0]
        for at in [at for at in self._counted if at < first]:
            self._uncount(at)
        self._failing = {place: at for place, at in self._failing.items() if at >= first}
        self._slow = {place: at for place, at in self._slow.items() if at >= first}
        if len(self._members) > _MOST_GONE + 2 * len(past):
            self._forget({place for _, sums in bins for place in sums} | past.keys())
        groups = {id(group): group for place in self._stale for group in (self._members[place][1],)}
        self._stale = {}
        for group in groups.values():
            self._renew(group, bins, past)

    def _forget(self, alive: Collection[Place]) -> None:
        """Targets come and go; those without any traffic need not be remembered."""
        self._stale = {place: None for place in self._stale if place in alive}
        for place in [place for place in self._members if place not in alive]:
            self._blind.pop(place, None)
            member, group = self._members.pop(place)
            group.members.remove(member)
        self._groups = {place: group for place, group in self._groups.items() if group.members}

    def _join(self, place: Place) -> tuple[_Member, _Group]:
        key = Place(upstream=place.upstream, target="*") if place.target else place
        group = self._groups.setdefault(key, _Group())
        member = _Member(place)
        group.members.append(member)
        self._members[place] = (member, group)
        if group.typical is None:
            self._blind[place] = 0
        return member, group

    def _judge(
        self, at: int, total: Total, member: _Member, group: _Group, counted: list[tuple[_Member, int, int]]
    ) -> None:
        if SLOW * count_from(total.latency, group.limit) >= total.requests:
            self._slow[member.place] = max(at, self._slow.get(member.place, at))
        if member.place.target:
            typical = count_from(total.latency, group.typical or 0)
            member.requests += total.requests
            member.typical += typical
            counted.append((member, total.requests, typical))

    def _uncount(self, at: int) -> None:
        for member, requests, typical in self._counted.pop(at, ()):
            member.requests -= requests
            member.typical -= typical

    def _renew(self, group: _Group, bins: Sequence[tuple[int, Sums]], past: Sums) -> None:
        known = [
            (member, total)
            for member in group.members
            if (total := past.get(member.place)) is not None and total.requests >= FEWEST_BEFORE
        ]
        if not known:
            self._choose(group, None, bins)
        elif not self._still_typical(group, known):
            lowest = min(quantile_bin(total.latency, _TYPICAL) or 0 for _, total in known)
            self._choose(group, lowest, bins)
        for member in group.members:
            member.budget = -1
        for member, total in known:
            from_there = count_from(total.latency, group.typical or 0)
            member.budget = _TAIL * from_there - total.requests - _TAIL + 1

    @staticmethod
    def _still_typical(group: _Group, known: Sequence[tuple[_Member, Total]]) -> bool:
        if group.typical is None:
            return False
        shares = [count_from(total.latency, group.typical) / total.requests for _, total in known]
        return min(shares) >= _LOWEST and min(shares) <= _HIGHEST

    def _choose(self, group: _Group, typical: int | None, bins: Sequence[tuple[int, Sums]]) -> None:
        """Another typical bin: the bins of the last minute are judged by it, too."""
        if typical == group.typical:
            return
        group.typical = typical
        if typical is not None:
            group.limit = bin_of(int(slow_limit_us(value_of(typical)))) + 1
        members = {id(member) for member in group.members}
        for member in group.members:
            member.requests = member.typical = 0
            self._slow.pop(member.place, None)
            if typical is None:
                self._blind[member.place] = 0
            else:
                self._blind.pop(member.place, None)
        for at, sums in bins:
            counted = [row for row in self._counted.get(at, ()) if id(row[0]) not in members]
            for member in group.members:
                total = sums.get(member.place)
                if total is not None and typical is not None:
                    self._judge(at, total, member, group, counted)
            self._counted[at] = counted
