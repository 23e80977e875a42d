"""The two spans that are compared, the disturbance and the time before it, and the traffic in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.diagnose.attribution import Leaf
from gateway.diagnose.topology import Load
from gateway.domain.histogram import above, quantile
from gateway.domain.traffic import Tally, forwarded
from gateway.domain.window import COARSE_S, FINE_S

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from gateway.domain.window import Window

ATTRIBUTES = ("route", "upstream", "target", "tenant", "method")
# From the onset on at most so long: later the mitigation shows, and the cause does not.
_LONGEST_S = 300
_BEFORE_S = 600
_LONG_BEFORE_S = 3600
_ENOUGH_BEFORE = 50
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Group = tuple[str | int, ...]
SLOWER, SLOWER_US = 2.0, 20_000.0  # slow is beyond twice the usual p95, and 20 ms above it


class Row(NamedTuple):
    """One combination of attribute values with its traffic now and before."""

    now: Tally
    before: Tally


class BeforeAndNow:
    """Traffic of the disturbance and of the time before, by route, upstream, target, tenant and method.

    Attributes:
        since: start of the disturbance, seconds since the epoch.
        until: end of what is looked at.
        before: start and end of what it is compared with.
        rows: by the values of ATTRIBUTES.
        endings: failures of the disturbance by (upstream, target, status, error).
    """

    def __init__(self, window: Window, onset: float, now: float) -> None:
        self.since = float(int(onset) // FINE_S * FINE_S)
        self.until = max(min(now, self.since + _LONGEST_S), self.since + FINE_S)
        self.before = (self.since - _BEFORE_S, self.since)
        current = window.sums(self.since, self.until, by=ATTRIBUTES, where=forwarded)
        earlier = window.sums(*self.before, by=ATTRIBUTES, where=forwarded)
        if sum(tally.requests for tally in earlier.values()) < _ENOUGH_BEFORE:
            whole_minutes = self.since // COARSE_S * COARSE_S
            long_before = (whole_minutes - _LONG_BEFORE_S, whole_minutes)
            longer = window.sums(*long_before, by=ATTRIBUTES, where=forwarded, minutes=True)
            if sum(tally.requests for tally in longer.values()) > sum(tally.requests for tally in earlier.values()):
                self.before, earlier = long_before, longer
        if window.started_at is not None:
            self.before = (max(self.before[0], min(self.before[1], float(window.started_at))), self.before[1])
        self.rows: dict[tuple[str, ...], Row] = {}
        for group in sorted(current.keys() | earlier.keys(), key=str):
            self._add(_clean(group), current.get(group, Tally()), earlier.get(group, Tally()))
        self.endings: dict[Group, int] = {
            group: tally.errors
            for group, tally in window.sums(
                self.since, self.until, by=("upstream", "target", "status", "error"), where=forwarded
            ).items()
            if tally.errors
        }

    def _add(self, values: tuple[str, ...], now: Tally, before: Tally) -> None:
        row = self.rows.setdefault(values, Row(Tally(), Tally()))
        row.now.add(now)
        row.before.add(before)

    def by(self, *attributes: str) -> dict[tuple[str, ...], Row]:
        """The rows summed by some of the attributes."""
        places = [ATTRIBUTES.index(name) for name in attributes]
        out: dict[tuple[str, ...], Row] = {}
        for values, row in self.rows.items():
            into = out.setdefault(tuple(values[place] for place in places), Row(Tally(), Tally()))
            into.now.add(row.now)
            into.before.add(row.before)
        return out

    def slow_limits(self) -> dict[str, float]:
        """Per upstream, the microseconds beyond which a request counts as slow."""
        limits = {}
        for (upstream,), row in self.by("upstream").items():
            usual = quantile(row.before.latency, 0.95)
            if usual is not None:
                limits[upstream] = max(usual * SLOWER, usual + SLOWER_US)
        return limits

    def leaves(self, *, latency: bool, without: AbstractSet[str] = frozenset()) -> list[Leaf]:
        """Rows for attribution, upstreams ``without`` left out. With ``latency`` bad means slow instead of failed."""
        limits = self.slow_limits() if latency else {}
        leaves = []
        for values, row in self.rows.items():
            upstream = values[ATTRIBUTES.index("upstream")]
            if upstream in without:
                continue
            if latency:
                if upstream not in limits:
                    continue
                bad, bad_before = (above(tally.latency, limits[upstream]) for tally in (row.now, row.before))
            else:
                bad, bad_before = row.now.errors, row.before.errors
            leaves.append(Leaf(values, bad, row.now.requests, bad_before, row.before.requests))
        return _telling(leaves)

    def loads(self, *, latency: bool) -> dict[str, Load]:
        """Every upstream's failures or seconds, now and before."""
        out = {}
        for (upstream,), row in self.by("upstream").items():
            badness = [tally.duration_us / 1e6 if latency else tally.errors for tally in (row.now, row.before)]
            out[upstream] = Load(row.now.requests, badness[0], row.before.requests, badness[1])
        return out


def _telling(leaves: list[Leaf]) -> list[Leaf]:
    """Without the tenant or the method where all requests share one: it tells nothing apart."""
    silent = [
        place
        for place, name in enumerate(ATTRIBUTES)
        if name in {"tenant", "method"} and len({leaf.values[place] for leaf in leaves}) == 1
    ]
    return [
        leaf._replace(values=tuple("" if place in silent else value for place, value in enumerate(leaf.values)))
        for leaf in leaves
    ]


def _clean(group: Group) -> tuple[str, ...]:
    """A method is a caller's word: those nobody knows are one."""
    *values, method = (str(value) for value in group)
    return (*values, method if method in _METHODS else "other")
