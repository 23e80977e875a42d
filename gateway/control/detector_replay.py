"""Detection over stored minutes with other settings, beside the settings in force over the same minutes.

What the settings steer are the detectors of closed minutes; those of the open minute have no settings, and what they
need (five-second sums) is not stored. So both sides run the same detectors here, through the grouping and the recovery
that run in service, and the answer is the difference. While an incident is open, a stored minute is laid out evenly
over its five-second cells, which is what recovery looks at.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.casebook import joined, opened
from gateway.detect.baseline import Baseline
from gateway.detect.closed_minute import ErrorThreshold, LatencyThreshold, RobustZ
from gateway.detect.detectors import examine_all
from gateway.detect.grouping import Grouper, Join, Open
from gateway.detect.held import Held
from gateway.detect.recovery import recovered
from gateway.domain.incident import IncidentState
from gateway.domain.replay import DetectorReplay, ReplayedIncident
from gateway.domain.topology import Topology
from gateway.domain.traffic import Tally
from gateway.domain.window import COARSE_S, FINE_S, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.incident import Anomaly, Incident
    from gateway.domain.paging import Page
    from gateway.domain.policy import DetectSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.traffic import BucketKey
    from gateway.domain.window import Cell

_CLOSED_S = 6.0  # after a minute's end it is looked at, as in service
_PARTS = COARSE_S // FINE_S
_READ_S = 3600
_SAME_S = 300.0  # two sides may see the same disturbance so far apart
_MOST_PAGES = 10


class MinuteReader(Protocol):
    """Stored minute sums."""

    async def read(self, start: float, end: float, *, route: str = "") -> Sequence[tuple[BucketKey, Tally]]:
        """Rows of minutes in [start, end), nodes added up."""
        ...

    async def recent_minutes(self, since: float, until: float) -> Sequence[tuple[int, Cell]]:
        """The same as cells by minute."""
        ...


class OpenedIncidents(Protocol):
    """What was really opened."""

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Incident]:
        """Newest first."""
        ...


class DetectionTrial:
    """Detection, grouping and recovery over minutes, with a clock of its own.

    Args:
        settings: what is tried.
        topology: who calls whom.
        since: incidents that open before this only warm up.
    """

    def __init__(self, settings: DetectSettings, topology: Topology, since: float) -> None:
        self._window = Window(fine_span_s=1200, coarse_span_s=int(2 * settings.baseline_s) + 2400)
        self._topology = topology
        self._since = since
        self._cooldown_s = settings.cooldown_s
        self._clear_s = settings.clear_s
        self._grouper = Grouper(settings.cooldown_s)
        self._known: dict[str, Incident] = {}
        self._closed_at: dict[str, float] = {}
        baseline = Baseline(settings.baseline_s, lambda: Held(self._open_ones(), topology))
        self._detectors = (
            ErrorThreshold(baseline, settings),
            LatencyThreshold(baseline, settings),
            RobustZ(baseline, settings),
        )
        self._found: list[Incident] = []

    def minute(self, minute: int, cell: Cell) -> None:
        """One minute has ended."""
        before = self._open_ones()
        if before:  # only recovery looks at five-second cells
            for at, part in _laid_out(minute, cell):
                self._window.add(at, part)
        else:
            self._window.add_minute(minute, cell)
        now = minute + COARSE_S + _CLOSED_S
        self._window.forget(now)
        self._group(examine_all(self._detectors, self._window, now), now)
        for incident in [self._known[one.id] for one in before]:
            if recovered(incident, self._window, now, clear_s=self._clear_s).over:
                self._closed_at[incident.id] = now
                self._known[incident.id] = _closed(incident, now)
        for incident_id, closed_at in self._closed_at.items():
            if closed_at < now - self._cooldown_s:
                self._known.pop(incident_id, None)

    def _group(self, anomalies: list[Anomaly], now: float) -> None:
        for decision in self._grouper.decide(anomalies, self._known.values(), self._topology, now):
            if isinstance(decision, Open):
                incident = opened(decision, now)
                self._known[incident.id] = incident
                self._found.append(incident)
            elif isinstance(decision, Join):
                self._known[decision.incident_id] = joined(self._known[decision.incident_id], decision, now)

    def incidents(self) -> tuple[ReplayedIncident, ...]:
        """What was opened, the oldest first, with the severity it rose to."""
        return tuple(
            ReplayedIncident(
                opened_at=one.opened_at,
                closed_at=self._closed_at.get(one.id),
                severity=str(self._known.get(one.id, one).severity),
                signal=str(one.signal),
                place=str(one.place),
                title=one.title,
                dedup_key=one.dedup_key,
            )
            for one in self._found
            if one.opened_at >= self._since
        )

    def _open_ones(self) -> list[Incident]:
        return [one for one in self._known.values() if one.state is not IncidentState.CLOSED]


def _closed(incident: Incident, now: float) -> Incident:
    return msgspec.structs.replace(incident, state=IncidentState.CLOSED, closed_at=now)


async def replayed_detection(
    settings: tuple[DetectSettings, DetectSettings],
    span: tuple[float, float],
    snapshot: Snapshot,
    minutes: MinuteReader,
    incidents: OpenedIncidents,
    *,
    deadline: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> DetectorReplay:
    """Both sides over the same stored minutes.

    Args:
        settings: in force, and proposed.
        span: from when to when, seconds since the epoch.
        snapshot: the topology is that of today.
        minutes: stored sums.
        incidents: what was really opened.
        deadline: by the monotonic clock; what was reached by then is the answer.
        monotonic: that clock.
    """
    topology = Topology.of(snapshot)
    trials = tuple(DetectionTrial(one, topology, span[0]) for one in settings)
    warm_s = max(one.baseline_s for one in settings)
    begin, end = (int(span[0] - warm_s) // COARSE_S * COARSE_S, int(span[1]) // COARSE_S * COARSE_S)
    reached, with_traffic = begin, 0
    for hour in range(begin, end, _READ_S):
        cells = dict(await minutes.recent_minutes(hour, min(hour + _READ_S, end)))
        for minute in range(hour, min(hour + _READ_S, end), COARSE_S):
            for trial in trials:
                trial.minute(minute, cells.get(minute, {}))
            with_traffic += minute in cells and minute >= span[0]
            reached = minute + COARSE_S
            await asyncio.sleep(0)  # the rest of control has its turn after every minute
        if monotonic() > deadline:
            break
    in_force, proposed = (trial.incidents() for trial in trials)
    return DetectorReplay(
        settings=tuple(
            (_key(field), str(getattr(settings[0], field)), str(getattr(settings[1], field)))
            for field in settings[0].__struct_fields__
            if getattr(settings[0], field) != getattr(settings[1], field)
        ),
        since=span[0],
        until=float(reached),
        minutes=with_traffic,
        in_force=in_force,
        proposed=proposed,
        only_in_force=_without(in_force, proposed),
        only_proposed=_without(proposed, in_force),
        recorded=await _recorded(incidents, span[0], reached),
        notes=_notes(with_traffic, stopped=reached < end),
    )


def _key(field: str) -> str:
    """A setting as ``[detect]`` names it: ``z_p3`` → ``z.p3``, ``cooldown_s`` → ``cooldown``."""
    return field.replace("z_p", "z.p", 1).removesuffix("_s")


def _notes(with_traffic: int, *, stopped: bool) -> tuple[str, ...]:
    notes = [
        "Both sides run only the detectors that these settings steer: those over whole minutes.",
        "Hard failures are found within the running minute by others, which have no settings.",
        "Incidents are opened by the topology of today, and nothing is acted on.",
    ]
    if not with_traffic:
        notes.append("No minute of that time is stored.")
    if stopped:
        notes.append("It ended before its time was used up: what came later is not in it. Ask for a shorter time.")
    return tuple(notes)


def _without(some: Sequence[ReplayedIncident], others: Sequence[ReplayedIncident]) -> tuple[ReplayedIncident, ...]:
    """Those that have no counterpart: the same cause and signal at about the same time."""
    return tuple(
        one
        for one in some
        if not any(
            other.dedup_key == one.dedup_key
            and other.opened_at <= (one.closed_at or float("inf")) + _SAME_S
            and one.opened_at <= (other.closed_at or float("inf")) + _SAME_S
            for other in others
        )
    )


async def _recorded(incidents: OpenedIncidents, since: float, until: float) -> int:
    count, cursor = 0, ""
    for _ in range(_MOST_PAGES):
        page = await incidents.page(limit=500, cursor=cursor)
        count += sum(since <= one.opened_at < until for one in page.items)
        if page.next is None or (page.items and page.items[-1].opened_at < since):
            break
        cursor = page.next
    return count


def _laid_out(minute: int, cell: Cell) -> list[tuple[int, Cell]]:
    """A minute's sums over its five-second cells, as evenly as whole numbers go; together they are the minute."""
    parts: list[tuple[int, Cell]] = []
    for part in range(_PARTS):
        share: Cell = {}
        for key, tally in cell.items():
            piece = Tally(
                requests=_part(tally.requests, part),
                errors=_part(tally.errors, part),
                bytes_in=_part(tally.bytes_in, part),
                bytes_out=_part(tally.bytes_out, part),
                duration_us=_part(tally.duration_us, part),
                latency={index: count for index, whole in tally.latency.items() if (count := _part(whole, part))},
            )
            if piece.requests or piece.latency:
                share[key] = piece
        parts.append((minute + part * FINE_S, share))
    return parts


def _part(whole: int, part: int) -> int:
    return whole * (part + 1) // _PARTS - whole * part // _PARTS
