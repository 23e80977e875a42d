"""Detectors over the minute that is still running: five-second bins, an answer within seconds of the fault.

Each asks the same three questions: is the share bad enough to matter (effect), is it too surprising to be chance
(:func:`gateway.detect.shares.surprise`), and is it still surprising without its worst bin, so that no single unlucky
or badly cut bin opens an incident.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.detect.places import Sums, Total, spoken
from gateway.detect.screen import FEWEST_BEFORE, slow_limit_us
from gateway.detect.severity import by_failing, by_slowness
from gateway.detect.shares import surprise
from gateway.domain.incident import Anomaly, Place, Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.detect.baseline import Baseline
    from gateway.domain.window import Window

# A pass every 5 s over some twenty places makes 2.4 million overlapping looks a week; one in a hundred million by
# chance leaves room for traffic that is more uneven than the model.
_SURPRISING = 8.0
# When the share alone is already outrageous, less surprise is asked for.
_HARD_SURPRISING = 6.0

# Ten to fifteen seconds for what is obvious, then half a minute and a minute so that thin traffic can speak too.
_SPANS = (3, 6, 12)
# What is left without the worst bin: one in a thousand.
_REST_SURPRISING = 3.0
_THIN_BIN = 2  # a bin of so few requests, all good, does not end a run of bad ones

_COARSE = 0.1  # from here on a share is told in whole percent


class _Finding(NamedTuple):
    """Bad requests at a place in a span, whatever "bad" means there."""

    bad: int
    total: int
    rest_bad: int  # without the worst bin
    rest_total: int
    onset: float
    bad_since: int  # since the onset
    total_since: int

    @property
    def share(self) -> float:
        return self.bad_since / self.total_since

    def surprising(self, bad_before: int, total_before: int, least: float) -> float | None:
        """The surprise, if it reaches ``least`` and does not hang on a single bin; else None."""
        score = surprise(self.bad, self.total, bad_before, total_before)
        if score < least or surprise(self.rest_bad, self.rest_total, bad_before, total_before) < _REST_SURPRISING:
            return None
        return score


def _count_errors(total: Total) -> int:
    return total.errors


class _SlowCount:
    """Counts requests slower than twice the usual p95."""

    def __init__(self, usual: Total) -> None:
        self.usual_p95_us = usual.p95_us
        self.limit_us = slow_limit_us(self.usual_p95_us)

    def __call__(self, total: Total) -> int:
        return total.above(self.limit_us)


class _Bins:
    """The last minute of one place, as bad-of-total per bin."""

    def __init__(self, bins: list[tuple[int, Sums]], place: Place, count: _SlowCount | None = None) -> None:
        bad = count or _count_errors
        self._bins = [
            (at, bad(total), total.requests)
            for at, sums in bins
            if (total := sums.get(place)) is not None and total.requests
        ]
        self._starts = [at for at, _ in bins]

    def spans(self) -> Iterator[_Finding]:
        """For each span that holds anything bad, and does not end well: what it holds."""
        for span in _SPANS:
            since = self._starts[-span:][0] if self._starts else 0
            inside = [row for row in self._bins if row[0] >= since]
            bad, total = sum(row[1] for row in inside), sum(row[2] for row in inside)
            if not bad:
                continue
            worst = max(inside, key=lambda row: (row[1], -row[2]))
            onset = self._onset(bad / total)
            if onset is None:
                continue
            after = [row for row in self._bins if row[0] >= onset]
            yield _Finding(
                bad,
                total,
                bad - worst[1],
                total - worst[2],
                onset,
                sum(row[1] for row in after),
                sum(row[2] for row in after),
            )

    def _onset(self, share: float) -> float | None:
        """The start of the unbroken run of bad bins that leads up to now; None when it is over.

        One good bin at the end may be luck, or the running one; two are not.
        """
        onset: float | None = None
        for back, (at, bad, total) in enumerate(reversed(self._bins)):
            if bad < 0.3 * share * total and total > _THIN_BIN:
                if back:
                    break
            elif bad:
                onset = float(at)
        return onset


def _hurt(bad: float, place: Place, finding: _Finding, baseline: Baseline) -> float:
    """Share of the whole service's requests since the onset that ``bad`` are."""
    if not place.target:
        return bad / finding.total_since
    service = Place(upstream=place.upstream)
    whole = sum(sums[service].requests for at, sums in baseline.bins if at >= finding.onset and service in sums)
    return bad / max(whole, finding.total_since)


def _excess(found: _Finding, expected: float) -> float:
    return max(0.0, found.bad_since - found.total_since * expected)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share < _COARSE else f"{share * 100:.0f} %"


class HardFailure:
    """Most requests at a place fail. Needs no baseline; where there is one, it must contradict it."""

    name = "hard_failure"
    _share = 0.5
    _fewest = 5  # errors
    _fewest_blind = 8  # errors without any past to compare with
    _fewest_before = 20  # requests that make a past

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Places that mostly fail in the last seconds."""
        self._baseline.advance(window, now)
        failing = self._baseline.screen.failing
        if not failing:
            return []
        places = [place for place in self._baseline.recent_places() if place in failing]
        return [found for place in places if (found := self._look(place, now)) is not None]

    def _look(self, place: Place, now: float) -> Anomaly | None:
        usual = self._baseline.usual(place)
        known = usual.requests >= self._fewest_before
        for found in _Bins(self._baseline.bins, place).spans():
            if found.bad < self._share * found.total:
                continue
            if known:
                score = found.surprising(usual.errors, usual.requests, _HARD_SURPRISING)
            else:
                score = float(found.bad) if found.bad >= self._fewest_blind and found.rest_bad else None
            if score is None or found.bad < self._fewest:
                continue
            return Anomaly(
                detector=self.name,
                signal=Signal.ERROR_RATE,
                place=place,
                severity=by_failing(_hurt(_excess(found, usual.error_share), place, found, self._baseline)),
                observed=found.share,
                expected=usual.error_share,
                score=score,
                requests=found.total_since,
                onset=found.onset,
                seen_at=now,
                reason=f"{_percent(found.share)} of {found.total_since} requests at {spoken(place)} fail",
            )
        return None


class _Compared:
    """What both comparisons do: more failures at a place than what it is compared with allows for."""

    name: str
    _more: float  # share of errors above what is expected
    _times = 3.0

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline

    def _errors(self, place: Place, beside: Total, now: float, compared: str) -> Anomaly | None:
        """``beside`` is what the place is compared with; ``compared`` ends the reason in words."""
        expected = beside.error_share
        for found in _Bins(self._baseline.bins, place).spans():
            score = found.surprising(beside.errors, beside.requests, _SURPRISING)
            if score is None or found.bad < found.total * max(expected + self._more, expected * self._times):
                continue
            return Anomaly(
                detector=self.name,
                signal=Signal.ERROR_RATE,
                place=place,
                severity=by_failing(_hurt(_excess(found, expected), place, found, self._baseline)),
                observed=found.share,
                expected=expected,
                score=score,
                requests=found.total_since,
                onset=found.onset,
                seen_at=now,
                reason=f"{_percent(found.share)} of {found.total_since} requests at {spoken(place)} fail; {compared}",
            )
        return None


class WorseThanBefore(_Compared):
    """A place fails, or is slow, far beyond its own last ten minutes."""

    name = "worse_than_before"
    _more = 0.05
    _slow_share = 0.25

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Places that broke with their own past."""
        self._baseline.advance(window, now)
        failing, slow = self._baseline.screen.failing, self._baseline.screen.slow
        if not (failing or slow):
            return []
        found: list[Anomaly | None] = []
        for place in self._baseline.recent_places():
            if place not in failing and place not in slow:
                continue
            usual = self._baseline.usual(place)
            if usual.requests < FEWEST_BEFORE:
                continue
            if place in failing:
                found.append(self._errors(place, usual, now, f"usual is {_percent(usual.error_share)}"))
            if place in slow:
                found.append(self._latency(place, usual, now))
        return [anomaly for anomaly in found if anomaly is not None]

    def _latency(self, place: Place, usual: Total, now: float) -> Anomaly | None:
        count = _SlowCount(usual)
        slow_before = count(usual)
        for found in _Bins(self._baseline.bins, place, count).spans():
            score = found.surprising(slow_before, usual.requests, _SURPRISING)
            if score is not None and found.bad >= self._slow_share * found.total:
                return _slow(self.name, place, self._baseline, found, score, count, "usual", now)
        return None


class WorseThanSiblings(_Compared):
    """A target fails, or is slow, far beyond the other targets of its upstream. Needs no past."""

    name = "worse_than_siblings"
    _more = 0.1
    _slow_share = 0.25
    _fewest_beside = 20  # requests at the siblings in the last minute
    _own_change = 4.0  # a target that was always slower (another zone) is no news

    def examine(self, window: Window, now: float) -> list[Anomaly]:
        """Targets that stand out among their siblings."""
        self._baseline.advance(window, now)
        worth = self._baseline.screen.beside_siblings()
        if not worth:
            return []
        sums = self._baseline.last(_SPANS[-1])
        found: list[Anomaly | None] = []
        for place in [place for place in sums if place in worth]:
            beside = Total()
            for other, total in sums.items():
                if other.upstream == place.upstream and other.target not in {"", place.target}:
                    beside.add(total)
            if beside.requests >= self._fewest_beside:
                found += [
                    self._errors(
                        place, beside, now, f"its siblings fail {_percent(beside.error_share)} of {beside.requests}"
                    ),
                    self._latency(place, beside, now),
                ]
        return [anomaly for anomaly in found if anomaly is not None]

    def _latency(self, place: Place, beside: Total, now: float) -> Anomaly | None:
        count = _SlowCount(beside)
        slow_beside = count(beside)
        own = self._baseline.usual(place)
        slow_before = count(own)
        for found in _Bins(self._baseline.bins, place, count).spans():
            score = found.surprising(slow_beside, beside.requests, _SURPRISING)
            if score is None or found.bad < self._slow_share * found.total:
                continue
            if own.requests and surprise(found.bad, found.total, slow_before, own.requests) < self._own_change:
                continue
            return _slow(self.name, place, self._baseline, found, score, count, "its siblings'", now)
        return None


def _slow(
    detector: str,
    place: Place,
    baseline: Baseline,
    found: _Finding,
    score: float,
    count: _SlowCount,
    whose: str,
    now: float,
) -> Anomaly:
    """The finding that a place is slow."""
    since = Total()
    for at, sums in baseline.bins:
        if at >= found.onset and place in sums:
            since.add(sums[place])
    observed = since.p95_us
    return Anomaly(
        detector=detector,
        signal=Signal.LATENCY,
        place=place,
        severity=by_slowness(_hurt(found.bad_since, place, found, baseline)),
        observed=observed,
        expected=count.usual_p95_us,
        score=score,
        requests=found.total_since,
        onset=found.onset,
        seen_at=now,
        reason=f"p95 at {spoken(place)} is {observed / 1000:.0f} ms, {whose} is {count.usual_p95_us / 1000:.0f} ms; "
        f"{found.bad_since} of {found.total_since} requests are far slower than that",
    )
