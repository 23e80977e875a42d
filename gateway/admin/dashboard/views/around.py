"""Traffic around an incident, from the nearest place that still has it: memory by seconds, by minutes, or the store."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from gateway.admin.dashboard.models import chart
from gateway.admin.dashboard.models.overview import grouped, last_whole_cell
from gateway.domain.traffic import Tally
from gateway.domain.window import COARSE_S, FINE_S, starts
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.ports import AdminPorts
    from gateway.domain.identity import Actor
    from gateway.domain.incident import Incident
    from gateway.domain.window import Window

FINE_KEPT_S = 900  # how far back the window keeps five-second cells
_NEARLY_ALL = 0.95  # the rest may have come in between two readings
_SHORT_S = 300  # a stretch up to this long is drawn cell by cell, a longer one by three cells a point
_CELLS_PER_POINT = 3


class Traffic(NamedTuple):
    """One tally per ``step_s``; ``note`` says what is missing, if anything is."""

    series: Sequence[tuple[int, Tally]]
    step_s: int
    note: str = ""


def knows_seconds(window: Window, start: float, end: float, now: float) -> bool:
    """Whether the five-second cells of the window hold this stretch too.

    They do not reach back as far as its minutes do, and after a restart only the minutes are read back.
    """
    if start - chart.BEFORE_S / 2 < now - FINE_KEPT_S:
        return False
    first, last = ceil(start / COARSE_S) * COARSE_S, end // COARSE_S * COARSE_S
    by_minutes = window.total(first, last, minutes=True).requests
    return window.total(first, last).requests >= by_minutes * _NEARLY_ALL


async def around(ports: AdminPorts, incident: Incident, actor: Actor, now: float) -> Traffic:
    """The stretch :func:`chart.span` asks for, as fine as it is still known."""
    span = chart.span(incident, now)
    where = chart.at_place(chart.surroundings(incident.place), actor.tenant)
    window = ports.window
    begun = window.started_at
    if begun is not None and begun <= incident.onset and knows_seconds(window, incident.onset, span.end, now):
        start = max(span.start, now - FINE_KEPT_S, begun)  # no line of zeros from before there was anything to see
        end = min(span.end, last_whole_cell(now))
        seconds = list(window.series(start, end, where=where))
        per_point = 1 if end - start <= _SHORT_S else _CELLS_PER_POINT
        whole = len(seconds) - len(seconds) % per_point  # half a point would look like a drop
        return Traffic(grouped(seconds[:whole], per_point), FINE_S * per_point)
    whole_minutes_end = min(span.end, now // COARSE_S * COARSE_S)
    try:
        rows = await ports.buckets.read(span.start, whole_minutes_end, route=incident.place.route)
    except StoreUnavailableError as error:
        cells = window.series(span.start, whole_minutes_end, where=where, minutes=True)
        return Traffic(list(cells), COARSE_S, f"{error}; shown from memory")
    minutes = {minute: Tally() for minute in starts(span.start, whole_minutes_end, COARSE_S)}
    for key, tally in rows:
        if key.minute in minutes and where(key):
            minutes[key.minute].add(tally)
    if not any(tally.requests for tally in minutes.values()):
        return Traffic((), COARSE_S)
    return Traffic(sorted(minutes.items()), COARSE_S)
