"""Replays that people ask for: one at a time, in bounded time and memory, beside everything else control does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from gateway.config import compile_routes
from gateway.config.document_routes import LimitEntry
from gateway.config.limit_notation import limit as read_limit
from gateway.config.limit_notation import written
from gateway.config.notation import NotationError, did_you_mean
from gateway.control.detector_replay import replayed_detection
from gateway.control.limit_replay import LimitTrial, Rule
from gateway.domain.access import AuthMode
from gateway.domain.limits import LimitMode, Quota, Scope
from gateway.domain.replay import Coverage, DetectorReplay, LimitReplay
from gateway.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.control.detector_replay import MinuteReader, OpenedIncidents
    from gateway.domain.policy import DetectSettings
    from gateway.domain.replay import Passed
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot

LONGEST_S = 20.0  # of work for one replay; what was reached by then is the answer
MOST_RECORDS = 2_000_000
MOST_SPAN_S = 31 * 86_400.0
_MINUTE_S = 60
_PART_S = 6 * 3600
_WHOLE = 0.999  # records per request counted; below it the gap is worth a word
_FALLS_BACK = frozenset({Scope.SUBJECT, Scope.KEY, Scope.TENANT})


class RecordPages(Protocol):
    """Recorded requests in the order in which they ended."""

    def pages(
        self, route: str, since: float, until: float, *, tenant: str = ""
    ) -> AsyncIterator[Sequence[tuple[float, Passed | None]]]:
        """Pages of (completed_at, the request or None where no limit was asked)."""
        ...


class Replays:
    """Runs what was asked for.

    Args:
        records: recorded requests.
        minutes: stored minute sums.
        incidents: what was really opened.
        snapshot: what is in force.
        retention_s: how long records are kept.
        detect_in_force: the detector settings in force.
        detect_with: those of the configuration in force with some keys (``z.p3``) changed; raises InvalidInputError.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        records: RecordPages,
        minutes: MinuteReader,
        incidents: OpenedIncidents,
        *,
        snapshot: Callable[[], Snapshot],
        retention_s: Callable[[], float],
        detect_in_force: Callable[[], DetectSettings],
        detect_with: Callable[[Mapping[str, str]], DetectSettings],
        clock: Callable[[], float],
    ) -> None:
        self._records = records
        self._minutes = minutes
        self._incidents = incidents
        self._snapshot = snapshot
        self._retention_s = retention_s
        self._detect_in_force = detect_in_force
        self._detect_with = detect_with
        self._clock = clock
        self._running = asyncio.Semaphore(1)

    async def limit(self, route: str, limit: str, since_s: float, *, tenant: str = "") -> LimitReplay:
        """What a limit would have done to a route's requests of the last ``since_s`` seconds.

        Raises:
            InvalidInputError: no such route, or the limit does not read.
            ConflictError: a replay is under way.
            StoreUnavailableError: there are no records to read now.
        """
        rule, found = _rule(limit, route), _route(self._snapshot(), route)
        _check(found, rule)
        now = self._clock()
        since = _since(now, since_s)
        trial = LimitTrial(rule, found)
        async with self._alone():
            first, reached, recorded, stopped = await self._feed(trial, route, (since, now), tenant)
            counted = await self._counted(route, (since, reached), tenant)
        coverage = Coverage(
            since=since,
            until=reached,
            first_at=first,
            recorded=recorded,
            counted=counted,
            notes=tuple(_notes(trial, rule, since, self._retention_s(), now, recorded, counted, stopped)),
        )
        shadow, enforce = lines(found, rule)
        return LimitReplay(
            route=route,
            limit=written(rule),
            window_s=trial.window_s,
            requests=trial.requests,
            rejected=trial.rejected,
            already_rejected=trial.already_rejected,
            callers=trial.callers,
            callers_rejected=trial.callers_rejected,
            top=trial.top(),
            bursts=trial.bursts(),
            burst_for_all=trial.burst_for_all(),
            coverage=coverage,
            shadow=shadow,
            enforce=enforce,
        )

    async def detector(self, changed: Mapping[str, str], since_s: float) -> DetectorReplay:
        """Which incidents detection would have opened with other settings. Raises as :meth:`limit`."""
        proposed, in_force = self._detect_with(changed), self._detect_in_force()
        now = self._clock()
        async with self._alone():
            return await replayed_detection(
                (in_force, proposed),
                (_since(now, since_s), now),
                self._snapshot(),
                self._minutes,
                self._incidents,
                deadline=time.monotonic() + LONGEST_S,
            )

    def _alone(self) -> asyncio.Semaphore:
        if self._running.locked():
            raise ConflictError("another replay is under way", remedy="Wait until it has ended, half a minute at most.")
        return self._running

    async def _feed(
        self, trial: LimitTrial, route: str, span: tuple[float, float], tenant: str
    ) -> tuple[float | None, float, int, str]:
        """First record, the time reached, records of whole minutes, and why reading stopped early."""
        begun, read, recorded = time.monotonic(), 0, 0
        first: float | None = None
        reached, whole = span[1], span[1] // _MINUTE_S * _MINUTE_S
        stopped = ""
        async for page in self._records.pages(route, *span, tenant=tenant):
            first = page[0][0] if first is None else first
            for ended_at, passed in page:
                recorded += ended_at < whole
                if passed is not None:
                    trial.feed(passed)
            read += len(page)
            if read >= MOST_RECORDS or time.monotonic() - begun > LONGEST_S:
                reached = page[-1][0]
                stopped = f"{read:,} records" if read >= MOST_RECORDS else f"{LONGEST_S:.0f} s of work"
                break
            await asyncio.sleep(0)  # the rest of control has its turn between two pages
        trial.finish()
        return first, reached, recorded, stopped

    async def _counted(self, route: str, span: tuple[float, float], tenant: str) -> int:
        """Requests in the minute sums of the whole minutes of the span, read some hours at a time."""
        start, end = int(span[0]) // _MINUTE_S * _MINUTE_S, int(span[1]) // _MINUTE_S * _MINUTE_S
        total = 0
        for part in range(start, end, _PART_S):
            rows = await self._minutes.read(part, min(part + _PART_S, end), route=route)
            total += sum(tally.requests for key, tally in rows if tenant in {"", key.tenant})
            await asyncio.sleep(0)
        return total


def lines(route: Route, rule: Rule) -> tuple[str, str]:
    """What stands in sentinel.toml to count what the limit would refuse, and to refuse it."""
    known: tuple[Rule, ...] = (*route.limits, *route.quotas, *route.concurrency)
    beside = [one for one in known if not (one.mode is LimitMode.SHADOW and _alike(one, rule))]
    others = [one for one in known if not _alike(one, rule)]
    proposed = f'{{ limit = "{written(rule)}", mode = "shadow" }}'
    return (
        f"limit = [{', '.join([*map(_entry, beside), proposed])}]",
        f"limit = [{', '.join([*map(_entry, others), _entry(rule)])}]",
    )


def _entry(one: Rule) -> str:
    text = f'"{written(one)}"'
    return text if one.mode is LimitMode.ENFORCE else f'{{ limit = {text}, mode = "shadow" }}'


def _alike(one: Rule, other: Rule) -> bool:
    """Whether a route may have only one of the two."""
    same = type(one) is type(other) and one.scope is other.scope
    return same and getattr(one, "window_s", getattr(one, "period", "")) == getattr(
        other, "window_s", getattr(other, "period", "")
    )


def _rule(text: str, route: str) -> Rule:
    try:
        made = compile_routes.limits(f"route.{route}", (LimitEntry(read_limit(text)),))
    except NotationError as error:
        raise InvalidInputError(str(error), field="limit", remedy=error.remedy) from error
    rules: tuple[Rule, ...] = (*made.rates, *made.quotas, *made.concurrency)
    return rules[0]


def _route(snapshot: Snapshot, name: str) -> Route:
    found = next((one for one in snapshot.routes if one.name == name), None)
    if found is None:
        remedy = did_you_mean(name, [one.name for one in snapshot.routes], otherwise="GET /api/v1/routes lists them")
        raise InvalidInputError(f"there is no route {name!r}", field="route", remedy=remedy)
    return found


def _check(route: Route, rule: Rule) -> None:
    if route.auth is AuthMode.NONE and rule.scope in _FALLS_BACK:
        raise InvalidInputError(
            f'route "{route.name}" has auth = "none", so it cannot count per {rule.scope}',
            field="limit",
            remedy='Count "per client" or "per route".',
        )


def _since(now: float, since_s: float) -> float:
    if not 0 < since_s <= MOST_SPAN_S:
        raise InvalidInputError("since is between a second and 31 days", field="since", remedy="Write such as 24h.")
    return (now - since_s) // _MINUTE_S * _MINUTE_S


def _notes(
    trial: LimitTrial,
    rule: Rule,
    since: float,
    retention_s: float,
    now: float,
    recorded: int,
    counted: int,
    stopped: str,
) -> list[str]:
    """What the answer cannot know."""
    notes = ["Callers that were refused might have asked again, or less: here they behave as they did."]
    if stopped:
        notes.append(f"It ended after {stopped}: what came later is not in it. Ask for a shorter time.")
    if since < now - retention_s:
        notes.append(f"Records are kept for {retention_s / 86_400:g} days; older requests are not in it.")
    if counted and recorded < _WHOLE * counted:
        share = f"{recorded:,} of {counted:,}"
        notes.append(f"{share} requests of that time stand in the records: the true numbers are higher.")
    if rule.scope is Scope.KEY:
        notes.append("Records hold no key: several keys of one subject count as one caller.")
    if isinstance(rule, Quota):
        notes.append(f"What was used of the first {rule.period} before that time is not known.")
    if trial.late:
        notes.append(f"{trial.late:,} requests took over a minute and were counted when they ended.")
    if trial.folded:
        notes.append(f"{trial.folded:,} requests came from callers beyond those that are told apart.")
    return notes
