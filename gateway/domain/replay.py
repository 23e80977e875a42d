"""What would have happened: a limit or detector settings that nobody has put in force yet, over recorded traffic."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

MOST_SHOWN = 20  # callers in an answer, those with the most refusals


class Passed(NamedTuple):
    """A recorded request that came as far as the limits. Times are seconds since the epoch."""

    at: float  # when the limits were asked
    ended_at: float
    tenant: str
    subject: str
    client: str
    refused: bool  # by a limit that was in force


class ReplayedCaller(msgspec.Struct, frozen=True):
    """What one caller would have met. ``caller`` may hold the caller's own words: show it as hostile text."""

    caller: str  # "subject ana of acme", "tenant acme", "client 10.0.0.9", "everybody"
    requests: int
    rejected: int
    peak: int  # most requests within one window of the limit, by the clock
    first_rejected_at: float | None = None
    last_rejected_at: float | None = None


class BurstEffect(msgspec.Struct, frozen=True):
    """The same rate with another burst."""

    burst: int
    rejected: int
    callers: int  # that would have been refused at least once


class Coverage(msgspec.Struct, frozen=True):
    """How much of the time asked for stands in the records."""

    since: float
    until: float
    first_at: float | None  # the first record of the route in that time; None without any
    recorded: int  # records of the route within whole minutes …
    counted: int  # … and requests that the minute sums hold for the same minutes
    notes: tuple[str, ...] = ()  # what the answer cannot know, one sentence each

    @property
    def share(self) -> float:
        """Records per request counted; 1 where nothing was counted."""
        return min(1.0, self.recorded / self.counted) if self.counted else 1.0


class LimitReplay(msgspec.Struct, frozen=True):
    """A proposed limit over a route's recorded requests."""

    route: str
    limit: str  # as sentinel.toml writes it
    window_s: int  # what ``peak`` is counted over
    requests: int
    rejected: int
    already_rejected: int  # of the requests, refused at the time by a limit in force
    callers: int
    callers_rejected: int
    top: tuple[ReplayedCaller, ...]  # most refusals first
    bursts: tuple[BurstEffect, ...]  # empty for what has no burst
    burst_for_all: int | None  # the smallest burst that would have refused nobody
    coverage: Coverage
    shadow: str  # lines for sentinel.toml: count what it would refuse …
    enforce: str  # … and refuse

    @property
    def headline(self) -> str:
        """Such as ``would have rejected 212 of 9,431 requests, 3 callers``."""
        if not self.requests:
            return "no recorded request came as far as the limits in that time"
        if not self.rejected:
            return f"would have rejected none of {self.requests:,} requests"
        callers = f"{self.callers_rejected:,} caller{'' if self.callers_rejected == 1 else 's'}"
        return f"would have rejected {self.rejected:,} of {self.requests:,} requests, {callers}"


class ReplayedIncident(msgspec.Struct, frozen=True):
    """An incident that detection would have opened."""

    opened_at: float
    closed_at: float | None  # None: still open at the end
    severity: str
    signal: str
    place: str
    title: str
    dedup_key: str


class DetectorReplay(msgspec.Struct, frozen=True):
    """Detector settings over stored minutes, beside those in force over the same minutes."""

    settings: tuple[tuple[str, str, str], ...]  # name, in force, proposed
    since: float
    until: float
    minutes: int  # with traffic
    in_force: tuple[ReplayedIncident, ...]
    proposed: tuple[ReplayedIncident, ...]
    only_in_force: tuple[ReplayedIncident, ...]  # would not have opened
    only_proposed: tuple[ReplayedIncident, ...]  # would have opened as well
    recorded: int  # incidents that were opened in that time, by every detector there is
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """Such as ``would have opened 3 incidents, 2 fewer than the settings in force``."""
        count, before = len(self.proposed), len(self.in_force)
        incidents = f"{count} incident{'' if count == 1 else 's'}"
        if count == before:
            same = not (self.only_in_force or self.only_proposed)
            return f"would have opened {incidents}, {'the same' if same else 'as many'} as the settings in force"
        word = "fewer" if count < before else "more"
        return f"would have opened {incidents}, {abs(count - before)} {word} than the settings in force"
