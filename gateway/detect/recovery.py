"""When an incident is over: nobody is hurt any more, shown by enough traffic or by a long quiet."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import msgspec

from gateway.detect.places import spoken
from gateway.detect.unlike_itself import UnlikeItself
from gateway.domain.histogram import above, quantile
from gateway.domain.incident import AlertSource, Place, Signal
from gateway.domain.traffic import forwarded
from gateway.domain.window import COARSE_S, FINE_S

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from gateway.domain.incident import Anomaly, Incident
    from gateway.domain.traffic import SeriesKey, Tally
    from gateway.domain.window import Window

_CLEAR_S = 60.0
_UNCLEAR = 12  # one in so many bins may be unclear, none of the last two
_ENOUGH = 10  # requests in that time; fewer is quiet
QUIET_S = 300.0  # quiet, or thin and clear, for so long is over as well: nobody is hurt where nobody calls
_BEFORE_S = 1800.0
_SPARE_SHARE = 0.02  # above the usual share that still counts as clear
CALM_S = 600.0  # what comes and goes must stay away for so long
_SILENT_S = 150.0
OURS_SILENT_S = 28.0
_SETTLED_S = 2.0  # the running bin may still grow


class Recovery(msgspec.Struct, frozen=True):
    """Whether it is over, and the sentence that says why or why not."""

    over: bool
    why: str


def recovered(
    incident: Incident,
    window: Window,
    now: float,
    *,
    clear_s: float = _CLEAR_S,
    set_aside: AbstractSet[tuple[str, str]] = frozenset(),
) -> Recovery:
    """Whether every place where the incident showed has been clear for long enough.

    Args:
        incident: an open incident.
        window: recent traffic.
        now: seconds since the epoch.
        clear_s: how long it must have been clear; at most ten minutes.
        set_aside: (upstream, target) pairs taken out on purpose: they are not judged, those who call are.
    """
    if incident.flapping and now - incident.last_anomaly_at < CALM_S:
        return Recovery(over=False, why=f"it flaps: it must be calm for {CALM_S / 60:.0f} min")
    judged = {
        (anomaly.place, anomaly.signal): anomaly
        for anomaly in incident.anomalies
        if (anomaly.place.upstream, anomaly.place.target) not in set_aside
        # A budget goes on burning by its windows after the fault: it holds open what it opened, and nothing else.
        and (anomaly.signal is not Signal.BUDGET or incident.signal is Signal.BUDGET)
    }
    for anomaly in judged.values():
        if (trouble := _still(anomaly, incident, window, now, bins_of(clear_s))) is not None:
            return Recovery(over=False, why=trouble)
    if not judged and set_aside:
        judged_upstreams = {Place(upstream=upstream) for upstream, _ in set_aside}
        for place in sorted(judged_upstreams, key=str):
            if _share(window, place, now, clear_s) > _SPARE_SHARE:
                return Recovery(over=False, why=f"{spoken(place)} still fails")
    if judged and all(anomaly.signal is Signal.ALERT for anomaly in judged.values()):
        return Recovery(over=True, why="every alert that told of it is over")
    if incident.signal is Signal.SELF:
        return Recovery(over=True, why="nothing was seen of it for half a minute")
    return Recovery(over=True, why=f"clear for {bins_of(clear_s) * FINE_S} s at every place where it showed")


def bins_of(clear_s: float) -> int:
    """How many five-second bins are judged."""
    return max(1, ceil(clear_s / FINE_S))


def _still(anomaly: Anomaly, incident: Incident, window: Window, now: float, wanted: int) -> str | None:
    """Why the anomaly is not over, or None."""
    where = spoken(anomaly.place)
    end = now - _SETTLED_S
    if anomaly.signal in {Signal.TRAFFIC, Signal.BUDGET, Signal.ALERT, Signal.SELF}:
        return _still_otherwise(anomaly, incident, window, now)
    inside = _inside(anomaly.place)
    start = end // FINE_S * FINE_S - wanted * FINE_S
    if start < incident.onset:
        return f"{where}: less than {wanted * FINE_S} s since it began"
    bins = [tally for _, tally in window.series(start, end, where=inside)][-wanted:]
    before = _before(window, incident.onset, inside)
    if sum(tally.requests for tally in bins) < _ENOUGH:
        calm = _clear(window.total(now - QUIET_S, now, where=inside), anomaly, before)
        return None if calm and now - incident.onset > QUIET_S else f"{where}: too little traffic to tell"
    clear = [_clear(tally, anomaly, before) for tally in bins]
    if sum(clear) >= wanted - wanted // _UNCLEAR and all(clear[-2:]):
        return None
    return f"{where}: {sum(clear)} of the last {len(clear)} five-second bins are clear"


def _still_otherwise(anomaly: Anomaly, incident: Incident, window: Window, now: float) -> str | None:
    """As :func:`_still`, for what no share of failing or slow requests shows."""
    where = spoken(anomaly.place)
    if anomaly.signal is Signal.TRAFFIC:
        return _still_traffic(anomaly, window, now - _SETTLED_S)
    if anomaly.signal is Signal.BUDGET:
        # Spoken of every minute while it burns too fast; two minutes of silence and it does not any more.
        return f"{where}: its error budget still burns too fast" if now - anomaly.seen_at < _SILENT_S else None
    if anomaly.signal is Signal.SELF:
        # Spoken of with every look that sees it, each five seconds; half a minute of silence and it is well.
        return f"{where} is still in trouble" if now - anomaly.seen_at < OURS_SILENT_S else None
    fires = any(alert.ended_at is None and alert.place == anomaly.place for alert in incident.alerts)
    return f"{where}: {AlertSource(anomaly.detector).spoken} still says so" if fires else None


def _clear(tally: Tally, anomaly: Anomaly, before: Tally) -> bool:
    if anomaly.signal in {Signal.ERROR_RATE, Signal.SATURATION}:
        allowed = max(before.error_share * 2, before.error_share + _SPARE_SHARE)
        # One error in a thin bin is no sign; the share over the minute is watched by the other bins.
        return tally.errors <= max(1.0, allowed * tally.requests)
    # What crept for hours was slow before its onset as well: only the days before say what is usual.
    crept = anomaly.detector == UnlikeItself.name
    usual_us = anomaly.expected if crept else quantile(before.latency, 0.95) or anomaly.expected
    limit_us = max(usual_us * 2, usual_us + 20_000)
    return above(tally.latency, limit_us) <= max(1.0, 0.1 * tally.requests)


def _still_traffic(anomaly: Anomaly, window: Window, end: float) -> str | None:
    last = window.total(end - COARSE_S, end, where=_inside(anomaly.place)).requests / COARSE_S
    if 0.5 * anomaly.expected <= last <= 2 * anomaly.expected:
        return None
    return f"{spoken(anomaly.place)}: {last:.1f} requests/s, usual is {anomaly.expected:.1f}"


def _before(window: Window, onset: float, inside: _Inside) -> Tally:
    """Minutes that had ended before it began."""
    return window.total(onset - _BEFORE_S, onset - COARSE_S, where=inside, minutes=True)


def _share(window: Window, place: Place, now: float, clear_s: float) -> float:
    return window.total(now - clear_s, now, where=_inside(place)).error_share


class _Inside:
    """Whether a series lies at a place and was forwarded."""

    def __init__(self, place: Place) -> None:
        self._wanted = tuple(
            (index, value) for index, value in enumerate((place.route, place.upstream, place.target)) if value
        )

    def __call__(self, key: SeriesKey) -> bool:
        return forwarded(key) and all(key[index] == value for index, value in self._wanted)


def _inside(place: Place) -> _Inside:
    return _Inside(place)
