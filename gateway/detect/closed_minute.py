"""Detectors over whole minutes: slower to speak, but they see what creeps and what is small and lasting."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from gateway.detect.counts import count_surprise
from gateway.detect.places import Sums, Total, spoken
from gateway.detect.severity import by_failing, by_slowness, by_z, milder
from gateway.detect.shares import median, scale_of, surprise, z_of
from gateway.domain.incident import Anomaly, Place, Severity, Signal
from gateway.domain.window import COARSE_S

if TYPE_CHECKING:
    from gateway.detect.baseline import Baseline
    from gateway.domain.policy import DetectSettings
    from gateway.domain.window import Window

_IN_A_ROW = 2  # minutes that are far out


class OncePerMinute:
    """Speaks when a minute has closed, and only then."""

    def __init__(self, baseline: Baseline, settings: DetectSettings) -> None:
        self._baseline = baseline
        self._settings = settings
        self._done = -1

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Findings about the minute that closed since the last call; empty when none did."""
        self._baseline.advance(window, now)
        newest = next(reversed(self._baseline.minutes), -1)
        if newest <= self._done:
            return []
        self._done = newest
        return self._look(newest, now)

    def _look(self, newest: int, now: float) -> list[Anomaly]:
        raise NotImplementedError

    def _last(self, newest: int, minutes: int) -> list[tuple[int, Sums]]:
        first = newest - (minutes - 1) * COARSE_S
        known = self._baseline.minutes
        found = [(minute, known[minute]) for minute in takewhile(lambda minute: minute >= first, reversed(known))]
        return found[::-1]


class ErrorThreshold(OncePerMinute):
    """The share of errors is above the operator's ceiling, beyond doubt of sampling, in one minute or over five."""

    name = "threshold"
    # One in ten thousand minutes for a share exactly at the ceiling; below it the chance falls away quickly.
    _surprising = 4.0
    _firm = 1e6  # the ceiling is given, not measured

    def _look(self, newest: int, now: float) -> list[Anomaly]:
        found = {}
        for minutes in (5, 1):  # the single minute says more, so it overwrites
            sums: dict[Place, Total] = {}
            for _, part in self._last(newest, minutes):
                for place, total in part.items():
                    into = sums.setdefault(place, Total())
                    into.requests += total.requests
                    into.errors += total.errors
            ceiling = self._settings.error_share
            for place, total in sums.items():
                if total.requests < self._settings.min_requests or total.errors < ceiling * total.requests:
                    continue
                score = surprise(total.errors, total.requests, ceiling * self._firm, self._firm)
                if score >= self._surprising:
                    found[place] = self._anomaly(place, total, score, newest, minutes, now)
        return list(found.values())

    def _anomaly(self, place: Place, total: Total, score: float, newest: int, minutes: int, now: float) -> Anomaly:
        ceiling = self._settings.error_share
        return Anomaly(
            detector=self.name,
            signal=Signal.ERROR_RATE,
            place=place,
            severity=by_failing(total.error_share),
            observed=total.error_share,
            expected=ceiling,
            score=score,
            requests=total.requests,
            onset=float(newest - (minutes - 1) * COARSE_S),
            seen_at=now,
            reason=f"{total.error_share * 100:.1f} % of {total.requests} requests at {spoken(place)} failed within "
            f"{minutes} min; the ceiling is {ceiling * 100:g} %",
        )


class LatencyThreshold(OncePerMinute):
    """A route's p95 is above the operator's ceiling, in the last minute and the one before. Off without a ceiling."""

    name = "threshold"
    _minutes = 2

    def _look(self, newest: int, now: float) -> list[Anomaly]:
        ceiling_s = self._settings.latency_p95_s
        last = self._last(newest, self._minutes)
        if ceiling_s is None or len(last) < self._minutes:
            return []
        return [
            self._anomaly(place, total, ceiling_s * 1e6, newest, now)
            for place, total in last[-1][1].items()
            if place.route and all(self._above(sums.get(place), ceiling_s * 1e6) for _, sums in last)
        ]

    def _above(self, total: Total | None, ceiling_us: float) -> bool:
        if total is None or total.requests < self._settings.min_requests:
            return False
        return total.p95_us > ceiling_us

    def _anomaly(self, place: Place, total: Total, ceiling_us: float, newest: int, now: float) -> Anomaly:
        observed = total.p95_us
        return Anomaly(
            detector=self.name,
            signal=Signal.LATENCY,
            place=place,
            severity=Severity.P2 if observed > 2 * ceiling_us else Severity.P3,
            observed=observed,
            expected=ceiling_us,
            score=observed / ceiling_us,
            requests=total.requests,
            onset=float(newest - COARSE_S),
            seen_at=now,
            reason=f"p95 at {spoken(place)} was {observed / 1000:.0f} ms for two minutes; "
            f"the ceiling is {ceiling_us / 1000:.0f} ms",
        )


def _pooled(totals: list[Total], scores: list[float]) -> float:
    out = [total for total, z in zip(totals, scores, strict=True) if z > 0]
    return sum(total.errors for total in out) / max(1, sum(total.requests for total in out))


class RobustZ(OncePerMinute):
    """Error share, p95 and traffic against the median of the last hour's minutes, in units of their usual spread.

    A z-score of a sparse error share means nothing (one error in an hour of none is "infinitely" unusual), so error
    shares are judged by the beta-binomial tail and that is turned into a z. A single minute with z = 2 comes once in
    40; so a finding wants most of the last minutes (``fire_minutes`` of ``fire_of``), or two in a row that are far out,
    and an effect that matters.
    """

    name = "robust_z"
    _far = 2.0  # times z_p1, in two minutes in a row
    _slower, _slower_us = 2.0, 20_000.0
    _more_errors, _times_errors = 0.01, 2.0
    _less_traffic, _more_traffic = 0.4, 2.5
    _fewest_traffic = 10.0  # requests in a usual minute, before a change of traffic says anything

    def _look(self, newest: int, now: float) -> list[Anomaly]:
        recent = self._last(newest, max(self._settings.fire_of, _IN_A_ROW))
        first = recent[0][0]
        before = [sums for minute, sums in self._baseline.minutes.items() if minute < first]
        if len(before) < self._settings.min_points or len(recent) < max(self._settings.fire_of, _IN_A_ROW):
            return []
        places = {place for _, sums in recent for place in sums} | {place for sums in before for place in sums}
        found: list[Anomaly | None] = []
        for place in sorted(places, key=str):
            now_and_then = [sums.get(place) or Total() for _, sums in recent]
            usual = self._baseline.usual_minutes(place, first)
            if len(usual) < self._settings.min_points:
                continue
            found += [
                self._errors(place, now_and_then, usual, first, now),
                self._latency(place, now_and_then, usual, first, now),
            ]
            if place.route:
                found.append(self._traffic(place, now_and_then, usual, first, now))
        return [anomaly for anomaly in found if anomaly is not None]

    def _lasting_z(self, scores: list[float]) -> float | None:
        """The z to report if it lasts: the median of the minutes that are out; None when it may be chance."""
        out = [z for z in scores[-self._settings.fire_of :] if z >= self._settings.z_p4]
        far = self._far * self._settings.z_p1
        if len(out) >= self._settings.fire_minutes and scores[-1] in out:
            return median(out)
        return min(scores[-_IN_A_ROW:]) if min(scores[-_IN_A_ROW:]) >= far else None

    def _onset(self, scores: list[float], first: int) -> float:
        index = next((index for index, z in enumerate(scores) if z >= self._settings.z_p4), 0)
        return float(first + index * COARSE_S)

    def _errors(self, place: Place, recent: list[Total], usual: list[Total], first: int, now: float) -> Anomaly | None:
        last = recent[-1]
        if not last.errors or last.error_share <= self._more_errors:
            return None
        bad, seen = sum(total.errors for total in usual), sum(total.requests for total in usual)
        if seen < self._settings.min_requests:
            return None
        expected = bad / seen
        scores = [
            z_of(surprise(total.errors, total.requests, bad, seen))
            if total.error_share > max(expected + self._more_errors, expected * self._times_errors)
            else 0.0
            for total in recent
        ]
        z = self._lasting_z(scores)
        severity = by_z(z, self._settings) if z is not None else None
        if z is None or severity is None:
            return None
        return self._anomaly(
            Signal.ERROR_RATE,
            place,
            # Over all the minutes that are out: one of them alone jumps about.
            milder(severity, by_failing(_pooled(recent, scores) - expected)),
            (last.error_share, expected, z),
            last.requests,
            (self._onset(scores, first), now),
            f"{last.error_share * 100:.1f} % of {last.requests} requests at {spoken(place)} failed in the last minute; "
            f"usual is {expected * 100:.2f} % (z = {z:.1f})",
        )

    def _latency(self, place: Place, recent: list[Total], usual: list[Total], first: int, now: float) -> Anomaly | None:
        if recent[-1].p95_us <= self._slower_us:
            return None
        enough = self._settings.min_requests
        # Nearly all were asked for in an earlier minute; the property costs more than what it reads.
        p95s = [total.known_p95_us or total.p95_us for total in usual if total.requests >= enough]
        if len(p95s) < self._settings.min_points:
            return None
        centre = median(p95s)
        floor = max(centre * self._slower, centre + self._slower_us)
        if recent[-1].p95_us <= floor:
            return None  # whatever lasts goes on in the newest minute
        scale = max(scale_of(p95s, centre), 0.1 * centre, 5_000.0)
        scores = [
            (total.p95_us - centre) / scale
            if total.requests >= self._settings.min_requests and total.p95_us > floor
            else 0.0
            for total in recent
        ]
        z = self._lasting_z(scores)
        severity = by_z(z, self._settings) if z is not None else None
        if z is None or severity is None:
            return None
        observed = recent[-1].p95_us
        return self._anomaly(
            Signal.LATENCY,
            place,
            milder(severity, by_slowness(1.0 if observed > 3 * centre else 0.1)),
            (observed, centre, z),
            recent[-1].requests,
            (self._onset(scores, first), now),
            f"p95 at {spoken(place)} was {observed / 1000:.0f} ms in the last minute; "
            f"usual is {centre / 1000:.0f} ms (z = {z:.1f})",
        )

    def _traffic(self, place: Place, recent: list[Total], usual: list[Total], first: int, now: float) -> Anomaly | None:
        counts = [float(total.requests) for total in usual]
        centre = median(counts)
        if centre < self._fewest_traffic:
            return None
        if self._less_traffic * centre < recent[-1].requests < self._more_traffic * centre:
            return None  # whatever lasts goes on in the newest minute
        variance = max(scale_of(counts, centre), 0.05 * centre) ** 2
        scores = [
            z_of(count_surprise(total.requests, centre, variance))
            if not self._less_traffic * centre < total.requests < self._more_traffic * centre
            else 0.0
            for total in recent
        ]
        z = self._lasting_z(scores)
        severity = by_z(z, self._settings) if z is not None else None
        if z is None or severity is None:
            return None
        observed = recent[-1].requests
        word = "fell" if observed < centre else "rose"
        return self._anomaly(
            Signal.TRAFFIC,
            place,
            # Fewer or more callers hurt nobody by themselves: never louder than P3.
            milder(severity, Severity.P3),
            (observed / COARSE_S, centre / COARSE_S, z),
            observed,
            (self._onset(scores, first), now),
            f"traffic at {spoken(place)} {word} to {observed} requests in the last minute; "
            f"usual is {centre:.0f} (z = {z:.1f})",
        )

    def _anomaly(
        self,
        signal: Signal,
        place: Place,
        severity: Severity,
        measured: tuple[float, float, float],
        requests: int,
        times: tuple[float, float],
        reason: str,
    ) -> Anomaly:
        observed, expected, score = measured
        return Anomaly(
            detector=self.name,
            signal=signal,
            place=place,
            severity=severity,
            observed=observed,
            expected=expected,
            score=score,
            requests=requests,
            onset=times[0],
            seen_at=times[1],
            reason=reason,
        )
