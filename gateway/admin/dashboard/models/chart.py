"""The incident's one chart: traffic around it with onset, changes and actions as marks on the same line of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.admin.dashboard import wording
from gateway.admin.dashboard.models.changes import deploy_in_words
from gateway.domain.histogram import quantile
from gateway.domain.incident import IncidentState, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.domain.audit import ConfigRevision
    from gateway.domain.deploy import Deploy
    from gateway.domain.incident import Incident, Place
    from gateway.domain.traffic import BucketKey, SeriesKey, Tally

BEFORE_S = 600.0  # enough of the quiet time to see what usual was
AFTER_S = 300.0  # after the close, to see that it stayed well
LONGEST_S = 6 * 3600.0  # a chart of an incident that is never closed does not grow for ever
MAX_MARKS = 12
MIN_USUAL = 5  # points before the onset; fewer draw no band
_LETTERS = "ABCDEFGHIJKL"


class Span(NamedTuple):
    """From when to when a chart shows, in seconds since the epoch."""

    start: float
    end: float


class Line(msgspec.Struct, frozen=True):
    """One line: ``look`` is a class of the style sheet, ``unit`` one of "/s", "%", "ms"."""

    name: str
    look: str
    unit: str
    values: tuple[float | None, ...]


class Mark(msgspec.Struct, frozen=True):
    """A vertical mark: its letter in the chart, its words in the list below it."""

    at: float
    letter: str
    words: str
    link: str = ""


class Chart(msgspec.Struct, frozen=True):
    """Everything the browser draws; the same figures stand in a table for who has no JavaScript.

    A point stands in the middle of the time it sums, so that a rise does not seem to come before its cause.
    """

    at: tuple[int, ...]
    step_s: int
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    usual: tuple[float, float] | None = None  # between which the first line stayed before the onset


def span(incident: Incident, now: float) -> Span:
    """The stretch of time around an incident worth looking at."""
    end = min(now, incident.closed_at + AFTER_S) if incident.closed_at else now
    return Span(start=incident.onset - BEFORE_S, end=min(end, incident.onset + LONGEST_S))


def surroundings(place: Place) -> Place:
    """Where callers feel an incident: the whole upstream of a target, since its traffic moves to the siblings."""
    return msgspec.structs.replace(place, target="") if place.upstream else place


def at_place(place: Place, tenant: str = "") -> Callable[[SeriesKey | BucketKey], bool]:
    """Whether a series belongs to a place; the status is left out, because a share needs all answers.

    Args:
        place: where the incident shows.
        tenant: restricts to what a user bound to one tenant may see; empty restricts nothing.
    """
    wanted = [(name, value) for name in ("route", "upstream", "target", "tenant") if (value := getattr(place, name))]
    if tenant:
        wanted.append(("tenant", tenant))

    def inside(key: SeriesKey | BucketKey) -> bool:
        return all(getattr(key, name) == value for name, value in wanted)

    return inside


def chart(
    incident: Incident,
    series: Sequence[tuple[int, Tally]],
    step_s: int,
    revisions: Iterable[ConfigRevision],
    now: float,
    deploys: Iterable[Deploy] = (),
) -> Chart:
    """The chart of ``incident`` over ``series`` (one tally per ``step_s`` seconds, in order of time)."""
    shown = span(incident, now)
    if series:
        shown = shown._replace(start=max(shown.start, series[0][0] + step_s // 2))
    lines = _lines(incident.signal, [tally for _, tally in series], step_s)
    before = [value for (at, _), value in zip(series, lines[0].values, strict=True) if at + step_s <= incident.onset]
    return Chart(
        at=tuple(at + step_s // 2 for at, _ in series),
        step_s=step_s,
        lines=lines,
        marks=marks(incident, revisions, shown, deploys),
        usual=usual(before),
    )


def usual(before: Sequence[float | None]) -> tuple[float, float] | None:
    """The band that held nine of ten points before the onset; None when too few say anything."""
    known = sorted(value for value in before if value is not None)
    if len(known) < MIN_USUAL:
        return None
    edge = len(known) // 20
    return known[edge], known[-1 - edge]


def _lines(signal: Signal, tallies: Sequence[Tally], step_s: int) -> tuple[Line, ...]:
    """Signals that can share one axis honestly: failed requests beside all requests, or one line by itself."""
    requests = tuple(round(tally.requests / step_s, 3) for tally in tallies)
    if signal is Signal.LATENCY:
        p95 = tuple(_ms(quantile(tally.latency, 0.95)) for tally in tallies)
        return (Line("p95", "main", "ms", p95),)
    if signal is Signal.TRAFFIC:
        return (Line("requests", "main", "/s", requests),)
    failed = tuple(round(tally.errors / step_s, 3) for tally in tallies)
    return (Line("failed", "errors", "/s", failed), Line("all requests", "requests", "/s", requests))


def _ms(duration_us: float | None) -> float | None:
    return None if duration_us is None else round(duration_us / 1000, 2)


def marks(
    incident: Incident, revisions: Iterable[ConfigRevision], shown: Span, deploys: Iterable[Deploy] = ()
) -> tuple[Mark, ...]:
    """Onset, detection, changes and actions inside the span, lettered in order of time."""
    found: list[tuple[float, str, str]] = [
        (incident.onset, "began", ""),
        (incident.opened_at, "noticed", "#timeline"),
    ]
    for revision in revisions:
        link = f"/dashboard/configuration?revision={revision.revision}"
        found.append((revision.at, f"configuration revision {revision.revision}", link))
    found += [(one.at, f"deploy: {wording.shown(deploy_in_words(one))}", "") for one in deploys]
    for action in incident.actions:
        name = f"{action.kind.replace('_', ' ')} {action.target or action.object}"
        if action.executed_at is not None:
            found.append((action.executed_at, name, f"#{action.id}"))
        if action.ended_at is not None:
            found.append((action.ended_at, f"{name}: ended", f"#{action.id}"))
    if incident.state is IncidentState.CLOSED and incident.closed_at is not None:
        found.append((incident.closed_at, "closed", ""))
    inside = sorted(mark for mark in found if shown.start <= mark[0] <= shown.end)[:MAX_MARKS]
    return tuple(
        Mark(at=at, letter=letter, words=words, link=link)
        for letter, (at, words, link) in zip(_LETTERS, inside, strict=False)
    )
