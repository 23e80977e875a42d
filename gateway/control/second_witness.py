"""Elasticsearch as a second witness: its figures raise alerts, its logs are evidence, its runbooks are found.

It is asked beside everything else: while it is away or slow, an incident is opened and explained without it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.control.found_elsewhere import FoundElsewhere
from gateway.control.runbook_index import take_over
from gateway.detect.others_figures import OthersFigures
from gateway.diagnose.other_logs import of_figures, of_lines
from gateway.domain.incident import Signal
from gateway.domain.paging import RequestFilter
from gateway.domain.topology import Topology
from gateway.errors import OutwardError, SentinelError, StoreUnavailableError
from gateway.ingest import elasticsearch_queries as queries
from gateway.ingest.elasticsearch import Elasticsearch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.control.found_elsewhere import AlertDesk
    from gateway.control.runbook_index import RunbookStore
    from gateway.detect.held import Held
    from gateway.diagnose.other_logs import Told
    from gateway.domain.diagnosis import Diagnosis
    from gateway.domain.incident import Incident
    from gateway.domain.other_logs import LogLine
    from gateway.domain.paging import Page
    from gateway.domain.policy import DetectSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.sources import ElasticsearchSettings
    from gateway.domain.traffic import RequestRecord
    from gateway.ingest.elasticsearch import Exchange

SETTLE_S = 30.0  # Elasticsearch shows documents a refresh after they arrive, and shippers hold them for seconds
ASK_S = 2.0  # a report does not wait longer for log lines
AGAIN_S = 30.0  # an incident's lines are asked for again no sooner
REST_S = 60.0  # after a failure, reports do without it for so long
RUNBOOKS_S = 600.0
LOST_S = 1800.0  # without an answer, until what it said last counts no more
IDLE_S = 5.0
_BEFORE_S = 1800.0
_MOST_INCIDENTS = 64
_MOST_SAMPLES = 50
_FAILED_CLASS = 5

_log = logs.get("control")


class Samples(Protocol):
    """Stored request records."""

    async def search(self, wanted: RequestFilter) -> Page[RequestRecord]:
        """Newest first."""
        ...


class SecondWitness:
    """Asks Elasticsearch.

    Args:
        exchange: carries requests.
        settings: by the configuration in force; None: nothing is asked.
        secret: the value of an environment variable.
        alerts: learns what is wrong.
        runbooks: learn what stands in its index.
        samples: failed requests, for their traces.
        snapshot: what workers run on, for the names of upstreams.
        detect: settings of detection.
        held: what is in trouble and must not be learned.
        leading: whether this control leads: only then is anything asked regularly.
        count: told the outcome of each round for sentinel_elasticsearch_rounds_total: ok, failed.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        settings: Callable[[], ElasticsearchSettings | None],
        secret: Callable[[str], str | None],
        alerts: AlertDesk,
        runbooks: RunbookStore,
        samples: Samples,
        snapshot: Callable[[], Snapshot],
        detect: Callable[[], DetectSettings],
        held: Callable[[], Held],
        leading: Callable[[], bool],
        count: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._secret = secret
        self._found = FoundElsewhere(alerts)
        self._runbooks = runbooks
        self._samples = samples
        self._snapshot = snapshot
        self._leading = leading
        self._count = count
        self._clock = clock
        self._detect = detect
        self._held = held
        self._judged_by = detect()
        self._figures = OthersFigures(self._judged_by, SETTLE_S, held)
        self._answered_at = clock()
        self._runbooks_at = 0.0
        self._rest_until = 0.0
        self._trouble: dict[str, str] = {}  # what is asked → why it is not answered
        self._lines: OrderedDict[str, tuple[float, list[Told]]] = OrderedDict()

    async def run(self) -> None:
        """A round every ``poll``, until cancelled."""
        while True:
            settings = self._settings()
            try:
                if self._leading():
                    await self.once(settings)
            except Exception:  # noqa: BLE001 - a task border: the next round must come whatever this one met
                _log.exception("elasticsearch.crashed")
            await asyncio.sleep(settings.poll_s if settings is not None and self._leading() else IDLE_S)

    async def once(self, settings: ElasticsearchSettings | None) -> None:
        """One round: figures, and now and then runbooks; where nothing is asked any more, what was said is over."""
        now = self._clock()
        if settings is None or not settings.metrics_index:
            await self._try("alerts", self._found.end_all(now))
        if settings is None:
            return
        asked = await self._try("figures", self._poll(settings, now)) if settings.metrics_index else True
        if settings.runbook_index and now >= self._runbooks_at + RUNBOOKS_S:
            asked = await self._try("runbooks", self._take_over(settings, now)) and asked
        self._count("ok" if asked else "failed")
        if asked:
            self._answered_at = now
        elif now - self._answered_at > LOST_S:
            await self._try("alerts", self._found.end_all(now))

    async def heard(self, incident: Incident, diagnosis: Diagnosis) -> Sequence[Told]:
        """What it says about an incident; never fails, and takes no longer than two seconds."""
        settings = self._settings()
        if settings is None or incident.signal is Signal.SELF:
            return ()
        topology = Topology.of(self._snapshot())
        leading = diagnosis.leading
        service = (leading.upstream if leading else "") or topology.upstream_at(incident.place)
        now = self._clock()
        told = of_figures(
            service,
            self._figures.of(service, incident.onset - _BEFORE_S, incident.onset - 60),
            self._figures.of(service, incident.onset // 60 * 60, now),
        )
        return (*told, *(await self._said(settings, incident, service, topology, now)))

    async def _said(
        self, settings: ElasticsearchSettings, incident: Incident, service: str, topology: Topology, now: float
    ) -> list[Told]:
        """Log lines about it, asked for again only after a while."""
        at, told = self._lines.get(incident.id, (0.0, []))
        if not settings.log_index or now < max(at + AGAIN_S, self._rest_until):
            return told
        try:
            async with asyncio.timeout(ASK_S):
                traces = await self._traces(incident, service)
                found = await self._read_lines(settings, incident, {service} - {""}, traces)
        except (SentinelError, TimeoutError) as error:
            self._rest_until = now + REST_S
            self._note("logs", str(error) or f"no answer within {ASK_S:g} s")
            return told
        self._note("logs", "")
        told = of_lines(found, traces, frozenset(topology.targets))
        self._lines[incident.id] = (now, told)
        self._lines.move_to_end(incident.id)
        while len(self._lines) > _MOST_INCIDENTS:
            self._lines.popitem(last=False)
        return told

    async def _traces(self, incident: Incident, service: str) -> frozenset[str]:
        """Traces of requests that failed there since it began."""
        wanted = RequestFilter(upstream=service, status=_FAILED_CLASS, since=incident.onset - 60, limit=_MOST_SAMPLES)
        try:
            page = await self._samples.search(wanted)
        except StoreUnavailableError:
            return frozenset()
        return frozenset(record.trace_id for record in page.items if record.trace_id)

    async def _read_lines(
        self, settings: ElasticsearchSettings, incident: Incident, services: set[str], traces: frozenset[str]
    ) -> list[LogLine]:
        if not services and not traces:
            return []
        start, end = incident.onset - settings.window_s, incident.onset + settings.window_s
        asked = queries.lines(settings, services, traces, start, end)
        hits = await self._client(settings).documents(settings.log_index, asked, most=settings.max_events)
        return [line for hit in hits if (line := queries.read_line(hit, settings)) is not None]

    def _client(self, settings: ElasticsearchSettings) -> Elasticsearch:
        url = self._secret(settings.url_env)
        if not url:
            raise OutwardError(f"the environment variable {settings.url_env} is not set", retryable=False)
        key = self._secret(settings.api_key_env) or "" if settings.api_key_env else ""
        return Elasticsearch(self._exchange, url, api_key=key)

    # Figures.

    async def _poll(self, settings: ElasticsearchSettings, now: float) -> None:
        asked = queries.figures(settings.fields, (now - settings.lookback_s) // 60 * 60, now)
        answer = await self._client(settings).search(settings.metrics_index, asked)
        if (judged_by := self._detect()) != self._judged_by:  # a new configuration: what is usual is learned anew
            self._judged_by, self._figures = judged_by, OthersFigures(judged_by, SETTLE_S, self._held)
        self._figures.take(queries.read_figures(answer, settings), now)
        found = self._figures.examine(now)
        if found is not None:
            await self._found.judge(found, Topology.of(self._snapshot()).targets, now)

    async def _take_over(self, settings: ElasticsearchSettings, now: float) -> None:
        await take_over(self._client(settings), settings.runbook_index, self._runbooks, now)
        self._runbooks_at = now

    async def _try(self, what: str, step: Awaitable[None]) -> bool:
        try:
            await step
        except SentinelError as error:
            self._note(what, f"{error}; {error.remedy}" if error.remedy else str(error))
            return False
        self._note(what, "")
        return True

    def _note(self, what: str, why: str) -> None:
        """Log a trouble once, when it begins or changes, and its end."""
        before = self._trouble.get(what, "")
        if why and why != before:
            _log.warning("elasticsearch.away", asked=what, reason=why)
        elif before and not why:
            _log.info("elasticsearch.back", asked=what)
        self._trouble[what] = why
