"""In-memory ports of the admin plane, filled with a morning on which one target of payments began to fail.

``FakeAdmin()`` holds the ports and, beside them, the state a test looks at or changes: ``admin.users.rows``,
``admin.incidents.rows``, ``admin.audit.rows``, ``admin.clock.now``, ``admin.live.publish(record)``,
``admin.target_states``, ``admin.reasons``.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import msgspec

from gateway.admin.audited import audited
from gateway.admin.ports import AdminPorts
from gateway.control.alerts import Alerts
from gateway.control.dead_letters import DeadLetters
from gateway.control.live_news import LiveNews
from gateway.control.notifiers import Notifiers
from gateway.control.slack_desk import SlackDesk
from gateway.detect.burn_rate import Ledger, assess
from gateway.detect.own_parts import Symptom
from gateway.diagnose.runbooks import parse
from gateway.domain.access import ApiKey, AuthMode
from gateway.domain.audit import AuditEntry, ConfigDifference, ConfigRevision
from gateway.domain.diagnosis import Claim, Confidence, Diagnosis, Evidence, Hypothesis, Report
from gateway.domain.event import Agent
from gateway.domain.histogram import bin_of
from gateway.domain.hours import Hours
from gateway.domain.identity import Actor, Role, Session, User
from gateway.domain.incident import (
    Anomaly,
    ExternalAlert,
    Incident,
    IncidentState,
    Place,
    Severity,
    Signal,
    TimelineEntry,
)
from gateway.domain.limits import Limit, Scope, TenantPlan
from gateway.domain.objectives import Count, Objective, ObjectiveState
from gateway.domain.outbox import Undelivered
from gateway.domain.own_health import Part
from gateway.domain.paging import Page, RequestFilter
from gateway.domain.plan import Action, ActionKind, ActionState, Outcome, Risk
from gateway.domain.policy import NotifyChannel
from gateway.domain.revocation import Revocation
from gateway.domain.routing import Route
from gateway.domain.runbook import Match, Runbook
from gateway.domain.silence import Maintenance, Matcher, Silence
from gateway.domain.snapshot import Directive, DirectiveKind, Snapshot
from gateway.domain.sources import AlertSettings
from gateway.domain.stop import Stop
from gateway.domain.traffic import BucketKey, ErrorKind, RequestRecord, SeriesKey, Tally
from gateway.domain.upstreams import HealthCheck, Target, Upstream
from gateway.domain.window import Window
from gateway.errors import ConfigError, ConflictError, InvalidInputError, NotFoundError
from gateway.identity.passwords import Passwords
from gateway.ingest.event_intake import EventIntake
from gateway.notify.objective_report import daily_report
from tests.replay_fakes import FakeReplays

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.domain.dead_letter import DeadLetter
    from gateway.domain.deploy import Deploy
    from gateway.domain.event import Event, EventFilter
    from gateway.errors import DeliveryError
    from gateway.notify.message import Message

NOW = 1_795_230_245.0  # 2026-11-21 03:04:05 UTC
ONSET = NOW - 425.0
PASSWORD = "correct horse battery staple"
QUICK = Passwords(cost=4)  # bcrypt's least, so that tests do not wait for it

TARGETS = {
    "orders": ("127.0.0.1:9101", "127.0.0.1:9102"),
    "payments": ("127.0.0.1:9201", "127.0.0.1:9202"),
    "catalog": ("127.0.0.1:9301", "127.0.0.1:9302"),
}
BROKEN = TARGETS["payments"][1]
TENANTS = ("acme", "globex", "initech")
HOSTILE = "<script>alert(1)</script>"


class Clock:
    """Seconds since the epoch that stand still until a test moves them."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@lru_cache(4)
def story(now: float) -> tuple[Window, tuple[tuple[BucketKey, Tally], ...], tuple[RequestRecord, ...]]:
    """Window, buckets and records of one moment, made once for all tests: read them, do not add to them."""
    return some_window(now), tuple(some_buckets(now)), tuple(some_records(now))


@cache
def password_hash() -> str:
    return QUICK.hash(PASSWORD)


def some_users(now: float = NOW) -> list[User]:
    """Ana (admin), Otto (operator), Vera (viewer); Tina and Toni see only tenant acme; Dora is disabled."""

    def user(number: int, name: str, role: Role, tenant: str = "", *, disabled: bool = False) -> User:
        return User(
            id=f"u-{number}",
            email=f"{name}@example.org",
            role=role,
            password_hash=password_hash(),
            created_at=now - 86400 * number,
            tenant=tenant,
            disabled=disabled,
        )

    return [
        user(1, "ana", Role.ADMIN),
        user(2, "otto", Role.OPERATOR),
        user(3, "vera", Role.VIEWER),
        user(4, "tina", Role.VIEWER, "acme"),
        user(5, "toni", Role.ADMIN, "acme"),
        user(6, "dora", Role.ADMIN, disabled=True),
    ]


def some_keys(now: float = NOW) -> list[ApiKey]:
    return [
        ApiKey(
            digest=hashlib.sha256(f"key {tenant}".encode()).digest(),
            id=f"{index + 1:012x}",
            tenant=tenant,
            subject=f"{tenant}-backend",
            scopes=frozenset({"orders:read", "orders:write"}),
            expires_at=None if index else now + 30 * 86400,
        )
        for index, tenant in enumerate(TENANTS)
    ]


def some_objectives(now: float = NOW) -> list[ObjectiveState]:
    """Orders are well; the payments' budget is nearly spent and burns."""
    calm, burning = Ledger(30 * 86_400), Ledger(30 * 86_400)
    for back in range(1, 1441):
        minute = int(now) // 60 * 60 - back * 60
        calm.set_minute(minute, Count(0, 600))
        burning.set_minute(minute, Count(150 if back <= 7 else 0, 600))
    return [
        assess(Objective("orders-availability", route="orders"), calm, now),
        assess(Objective("payments-fast", upstream="payments", latency_s=0.3), burning, now),
    ]


def some_snapshot(now: float = NOW) -> Snapshot:
    def upstream(name: str, depends_on: tuple[str, ...] = ()) -> Upstream:
        targets = tuple(Target(name=at, host=at.split(":")[0], port=int(at.split(":")[1])) for at in TARGETS[name])
        return Upstream(name=name, targets=targets, health=HealthCheck(path="/healthz"), depends_on=depends_on)

    per_subject = Limit(name="orders-subject", rate=100.0, burst=200, scope=Scope.SUBJECT)
    return Snapshot(
        revision=7,
        created_at=now - 3600,
        routes=(
            Route(
                name="orders",
                path="/orders/*",
                upstream="orders",
                methods=frozenset({"GET", "POST"}),
                auth=AuthMode.JWT,
                scopes=frozenset({"orders:read"}),
                limits=(per_subject,),
            ),
            Route(name="payments", path="/payments/*", upstream="payments", auth=AuthMode.ANY),
            Route(name="catalog", path="/catalog/*", upstream="catalog"),
        ),
        upstreams=(upstream("orders", ("payments",)), upstream("payments"), upstream("catalog")),
        plans=(TenantPlan(name="free", limits=(Limit(name="free", rate=10.0, burst=20, scope=Scope.TENANT),)),),
        tenant_plans={"acme": "free"},
        keys=tuple(some_keys(now)),
        directives=(
            Directive(
                id="d-1",
                kind=DirectiveKind.EJECT_TARGET,
                upstream="payments",
                target=BROKEN,
                share=0.0,
                issued_at=now - 280,
                expires_at=now + 320,
                fence=3,
                source="incident",
                reason="38 % of its requests failed, against 0.4 % at its sibling",
                action_id="a-1",
            ),
        ),
        fence=3,
        open_incidents={"payments": "inc-1"},
    )


def _tally(requests: int, errors: int, p50_ms: float) -> Tally:
    """A plausible spread around the median: most near it, a few at four times as much."""
    near, middle, far = requests - requests // 4 - requests // 20, requests // 4, requests // 20
    latency: dict[int, int] = {}
    for count, times in ((near, 1.0), (middle, 2.0), (far, 4.0)):
        if count:
            index = bin_of(int(p50_ms * 1000 * times))
            latency[index] = latency.get(index, 0) + count
    return Tally(
        requests=requests,
        errors=errors,
        bytes_in=requests * 120,
        bytes_out=requests * 2400,
        duration_us=int(requests * p50_ms * 1400),
        latency=latency,
    )


def cell_at(at: float, seconds: int, now: float = NOW) -> dict[SeriesKey, Tally]:
    """The sums of ``seconds`` seconds from ``at``: steady traffic; from the onset until its ejection a target fails."""
    cell: dict[SeriesKey, Tally] = {}
    wave = 1.0 + 0.15 * math.sin(at / 240.0)
    failing = now - 425 <= at < now - 280
    for route, per_second, p50_ms in (("orders", 12.0, 18.0), ("payments", 6.0, 42.0), ("catalog", 20.0, 7.0)):
        for target in TARGETS[route]:
            broken = failing and target == BROKEN
            gone = at >= now - 280 and target == BROKEN
            for tenant, part in (("acme", 0.5), ("globex", 0.3), ("initech", 0.2)):
                count = 0 if gone else round(per_second / 2 * part * wave * seconds)
                failed = round(count * 0.38) if broken else 0
                for status, error, number in ((200, "", count - failed), (502, ErrorKind.UPSTREAM_TIMEOUT, failed)):
                    if number:
                        key = SeriesKey(route, route, target, tenant, "GET", status, str(error))
                        cell[key] = _tally(number, number if status >= 500 else 0, p50_ms * (6 if broken else 1))
    return cell


def some_window(now: float = NOW) -> Window:
    """One hour of minutes before, fifteen minutes of five-second cells up to now."""
    window = Window()
    fine_from = int(now - 900) // 60 * 60
    for minute in range(fine_from - 3600, fine_from, 60):
        window.add_minute(minute, cell_at(minute, 60, now))
    for at in range(fine_from, int(now) // 5 * 5, 5):
        window.add(at, cell_at(at, 5, now))
    return window


def some_buckets(now: float = NOW) -> list[tuple[BucketKey, Tally]]:
    rows: dict[BucketKey, Tally] = {}
    for minute in range(int(now - 3600) // 60 * 60, int(now) // 60 * 60, 60):
        for key, tally in cell_at(minute, 60, now).items():
            bucket = BucketKey(minute, key.route, key.upstream, key.target, key.tenant, key.status // 100)
            rows.setdefault(bucket, Tally()).add(tally)
    return sorted(rows.items())


def some_records(now: float = NOW) -> list[RequestRecord]:
    """Two hundred requests, newest first; every thirteenth failed at the broken target; one is hostile."""
    records = []
    for number in range(200):
        route = ("orders", "catalog", "payments", "catalog")[number % 4]
        failed = number % 13 == 5
        target = BROKEN if failed else TARGETS[route][number % 2]
        upstream = "payments" if failed else route
        wait, auth, limit, connect, stream = 40, 90, 210, 0 if number % 9 else 650, 300
        upstream_us = 1_000_000 if failed else 7_000 + 137 * number
        records.append(
            RequestRecord(
                id=f"01JD{number:022d}",
                completed_at=now - 1.7 * number,
                method="POST" if number % 5 == 0 else "GET",
                path=f"/{upstream}/{1000 + number}" if number != 3 else f"/catalog/{HOSTILE}",
                query="page=2" if number % 7 == 0 else "",
                status=502 if failed else 200,
                route=upstream,
                upstream=upstream,
                target=target,
                tenant=TENANTS[number % 3],
                subject=f"user-{number % 11}",
                client=f"203.0.113.{number % 200}",
                user_agent="shop/4.2 (iPhone)" if number != 3 else f"Mozilla {HOSTILE}",
                error=str(ErrorKind.UPSTREAM_TIMEOUT) if failed else "",
                bytes_in=0 if number % 5 else 512,
                bytes_out=180 if failed else 2400,
                duration_us=wait + auth + limit + connect + upstream_us + stream,
                wait_us=wait,
                auth_us=auth,
                limit_us=limit,
                connect_us=connect,
                upstream_us=upstream_us,
                stream_us=stream,
                attempts=1,
                trace_id=f"{number + 1:032x}",
                span_id=f"{number + 1:016x}",
                parent_id="",
            )
        )
    return records


def some_diagnosis(now: float = NOW) -> Diagnosis:
    series = "/api/v1/buckets?route=payments"
    return Diagnosis(
        at=now - 300,
        evidence=(
            Evidence(
                id="e1",
                kind="series",
                statement="Errors of upstream payments rose from 0.4 % to 19.2 % of requests within one minute.",
                values={"before": 0.004, "after": 0.192, "requests": 870},
                link=series,
            ),
            Evidence(
                id="e2",
                kind="comparison",
                statement=f"Target {BROKEN} failed 38.1 % of its requests; its sibling {TARGETS['payments'][0]} 0.4 %.",
                values={"target": 0.381, "sibling": 0.004, "z": 11.4},
                link="/api/v1/upstreams",
            ),
            Evidence(
                id="e3",
                kind="attribution",
                statement=f"Target {BROKEN} carries 98 % of the additional errors; no tenant or method stands out.",
                values={"share": 0.98},
            ),
            Evidence(
                id="e4",
                kind="topology",
                statement="Upstream orders calls payments and shows errors 10 seconds later.",
                values={"lag_s": 10},
            ),
        ),
        hypotheses=(
            Hypothesis(
                id="h1",
                statement=f"Target {BROKEN} of payments is failing.",
                upstream="payments",
                target=BROKEN,
                score=0.91,
                margin=0.84,
                evidence=("e1", "e2", "e3"),
            ),
            Hypothesis(
                id="h2",
                statement="Upstream orders is failing by itself.",
                upstream="orders",
                score=0.07,
                evidence=("e4",),
                ruled_out=True,
                why="It calls payments, and its errors began after those of payments.",
            ),
            Hypothesis(
                id="h3",
                statement="Tenant acme sends requests that fail.",
                tenant="acme",
                score=0.02,
                evidence=("e3",),
                ruled_out=True,
                why="Every tenant is affected in the same proportion.",
            ),
        ),
        report=Report(
            source="rules",
            title=f"One target of payments is failing: {BROKEN}",
            summary=f"Since 02:57 {BROKEN} fails 38 % of its requests while its sibling is well.",
            root_cause=f"Target {BROKEN} of upstream payments stopped answering in time.",
            inconclusive=False,
            confidence=Confidence.HIGH,
            confidence_score=0.91,
            affected=("route payments", "route orders"),
            claims=(
                Claim(text="The errors come from one target alone.", evidence=("e2", "e3")),
                Claim(text="Orders suffers because it calls payments.", evidence=("e4",)),
            ),
            steps=(f"Look at the log of {BROKEN}.", "Restart it.", "Let the trial requests prove it well."),
            duration_s=0.04,
        ),
    )


def some_actions(now: float = NOW) -> tuple[Action, ...]:
    def action(number: int, target: str, state: ActionState, risk: Risk, reason: str, **more: object) -> Action:
        whole = Action(
            id=f"a-{number}",
            incident_id="inc-1",
            kind=ActionKind.EJECT_TARGET,
            upstream="payments",
            target=target,
            ttl_s=600.0,
            risk=risk,
            risk_reason=reason,
            effect=f"No request goes to {target} for 10 minutes; a trial of 1 % follows.",
            undo="The target gets its share back at once.",
            success_signal="Errors of payments fall below 5 % within one minute.",
            state=state,
            created_at=now - 300,
            expires_at=now + 1500,
        )
        return msgspec.structs.replace(whole, **more)

    helped = Outcome(
        verdict="helped",
        before=0.192,
        after=0.003,
        requests_after=410,
        decided_at=now - 200,
        statement="Errors of payments fell from 19.2 % to 0.3 % of requests.",
    )
    done = action(
        1,
        BROKEN,
        ActionState.EXECUTED,
        Risk.SAFE,
        "One of two targets; the other is well and has room.",
        decided_by="sentinel",
        decided_at=now - 285,
        executed_at=now - 280,
        directive_id="d-1",
        outcome=helped,
    )
    asks = action(
        2,
        TARGETS["payments"][0],
        ActionState.PENDING,
        Risk.CRITICAL,
        "It would leave payments without any target.",
    )
    return done, asks


def some_incidents(now: float = NOW) -> list[Incident]:
    """inc-1 open (operator), inc-2 closed (tenant globex), inc-3 being analysed (tenant acme); newest first."""
    place = Place(upstream="payments", target=BROKEN)
    anomaly = Anomaly(
        detector="worse_than_siblings",
        signal=Signal.ERROR_RATE,
        place=place,
        severity=Severity.P1,
        observed=0.381,
        expected=0.004,
        score=11.4,
        requests=435,
        onset=now - 425,
        seen_at=now - 360,
        reason=f"38.1 % of the requests to {BROKEN} failed, 0.4 % to its sibling.",
    )

    def entry(before_s: float, kind: str, text: str, actor: str = "sentinel") -> TimelineEntry:
        return TimelineEntry(at=now - before_s, kind=kind, text=text, actor=actor)

    payments = Incident(
        id="inc-1",
        dedup_key=f"error_rate|payments|{BROKEN}",
        state=IncidentState.MITIGATING,
        severity=Severity.P1,
        signal=Signal.ERROR_RATE,
        place=place,
        title=f"38 % errors at payments, target {BROKEN}",
        opened_at=now - 360,
        onset=now - 425,
        updated_at=now - 200,
        version=5,
        last_anomaly_at=now - 285,
        anomalies=(anomaly,),
        diagnosis=some_diagnosis(now),
        actions=some_actions(now),
        timeline=(
            entry(360, "incident.opened", f"38.1 % of the requests to {BROKEN} failed."),
            entry(300, "diagnosis.made", f"Most likely: target {BROKEN} is failing (0.91)."),
            entry(285, "action.planned", f"Eject {BROKEN} for 10 minutes (SAFE)."),
            entry(280, "action.executed", f"{BROKEN} gets no more requests."),
            entry(200, "action.verified", "Errors of payments fell from 19.2 % to 0.3 %."),
        ),
    )
    catalog = Incident(
        id="inc-2",
        dedup_key="latency|catalog|globex",
        state=IncidentState.CLOSED,
        severity=Severity.P3,
        signal=Signal.LATENCY,
        place=Place(route="catalog", tenant="globex"),
        title="p95 of catalog at 240 ms for globex",
        opened_at=now - 7200,
        onset=now - 7260,
        updated_at=now - 5400,
        version=3,
        tenant="globex",
        closed_at=now - 5400,
        close_reason="p95 back at 31 ms for 10 minutes",
        timeline=(entry(7200, "incident.opened", "p95 240 ms."), entry(5400, "incident.closed", "Back to normal.")),
    )
    orders = msgspec.structs.replace(
        catalog,
        id="inc-3",
        dedup_key="traffic|orders|acme",
        state=IncidentState.ANALYZING,
        severity=Severity.P4,
        signal=Signal.TRAFFIC,
        place=Place(route="orders", tenant="acme"),
        title="Traffic of acme on orders fell by half",
        opened_at=now - 9000,
        onset=now - 9060,
        updated_at=now - 8900,
        tenant="acme",
        closed_at=None,
        close_reason="",
        timeline=(entry(9000, "incident.opened", "1.5 instead of 3.1 requests/s."),),
    )
    return [payments, catalog, orders]


def _page(items: Sequence[object], limit: int, cursor: str) -> Page:
    if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        raise InvalidInputError("this cursor is not one of ours", field="cursor")
    start = int(cursor) if cursor else 0
    end = start + limit
    return Page(items=tuple(items[start:end]), next=str(end) if end < len(items) else None)


class FakeIncidents:
    def __init__(self, now: float) -> None:
        self.rows = some_incidents(now)

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        kept = [
            row
            for row in self.rows
            if (not state or row.state == state or (state == "open" and row.state != IncidentState.CLOSED))
            and (not severity or row.severity == severity)
        ]
        return _page(kept, limit, cursor)

    async def get(self, incident_id: str) -> Incident:
        for row in self.rows:
            if row.id == incident_id:
                return row
        raise NotFoundError(f"there is no incident {incident_id}")

    async def of_action(self, action_id: str) -> Incident:
        for row in self.rows:
            if any(action.id == action_id for action in row.actions):
                return row
        raise NotFoundError(f"there is no action {action_id}")

    def put(self, changed: Incident) -> None:
        self.rows = [changed if row.id == changed.id else row for row in self.rows]


class FakeEvents:
    def __init__(self) -> None:
        self.rows: list[Event] = []
        self.failure: Exception | None = None

    async def add(self, new: Sequence[Event]) -> int:
        if self.failure is not None:
            raise self.failure
        known = {(row.tenant, row.agent_id, row.id) for row in self.rows}
        fresh = {(one.tenant, one.agent_id, one.id): one for one in new}
        self.rows += [one for key, one in fresh.items() if key not in known]
        return len(fresh.keys() - known)

    async def agents(self, since: float, *, tenant: str | None = None) -> Sequence[Agent]:
        found: dict[tuple[str, str], Agent] = {}
        for row in sorted(self.rows, key=lambda row: row.received_at):
            if tenant in {None, row.tenant} and row.received_at >= since:
                before = found.pop((row.agent_id, row.tenant), None)
                count = 1 + (before.events if before else 0)
                found[row.agent_id, row.tenant] = Agent(row.agent_id, row.tenant, count, row.received_at)
        return list(reversed(found.values()))

    async def page(self, wanted: EventFilter) -> Page[Event]:
        kept = [
            row
            for row in self.rows
            if row.agent_id == wanted.agent_id
            and wanted.tenant in {None, row.tenant}
            and (not wanted.kind or row.kind == wanted.kind)
        ]
        return _page(sorted(kept, key=lambda row: -row.at), wanted.limit, wanted.cursor)


CHANNELS = (
    NotifyChannel(name="team", kind="slack", url_env="SLACK_WEBHOOK_URL"),
    NotifyChannel(
        name="pager", kind="pagerduty", routing_key_env="PAGERDUTY_ROUTING_KEY", severities=(Severity.P1, Severity.P2)
    ),
)


class FakeChannel:
    """Takes every message, until a test hands it a failure."""

    draws_together = False

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.took: list[Message] = []
        self.failure: DeliveryError | None = None

    async def deliver(self, message: Message, now: float) -> None:
        del now
        if self.failure is not None:
            raise self.failure
        self.took.append(message)


class FakeOutbox:
    """One message the pager refused."""

    def __init__(self, now: float) -> None:
        self.rows = [
            Undelivered(
                key="incident:i-1:opened:1@pager",
                channel="pager",
                created_at=now - 400,
                attempts=1,
                given_up=True,
                error=f"events.pagerduty.com answered 400: {HOSTILE}",
            )
        ]

    async def undelivered(self, limit: int) -> Sequence[Undelivered]:
        return self.rows[:limit]


class FakeDecisions:
    def __init__(self, incidents: FakeIncidents, clock: Clock) -> None:
        self._incidents, self._clock = incidents, clock
        self.made: list[tuple[str, str, Actor]] = []

    async def approve(self, action_id: str, actor: Actor, fingerprint: str = "") -> Action:
        incident = await self._incidents.of_action(action_id)
        action = next(action for action in incident.actions if action.id == action_id)
        if fingerprint not in {"", action.fingerprint}:
            raise ConflictError(f"action {action_id} is not what was shown")
        return await self._decide("approve", action_id, actor, ActionState.APPROVED, "")

    async def reject(self, action_id: str, actor: Actor, reason: str) -> Action:
        return await self._decide("reject", action_id, actor, ActionState.REJECTED, reason)

    async def take_back(self, action_id: str, actor: Actor, reason: str) -> Action:
        incident = await self._incidents.of_action(action_id)
        action = next(action for action in incident.actions if action.id == action_id)
        self.made.append(("take_back", action_id, actor))
        return msgspec.structs.replace(action, state=ActionState.REVERTED, note=reason)

    async def acknowledge(self, incident_id: str, actor: Actor) -> Incident:
        incident = await self._incidents.get(incident_id)
        if incident.acknowledged_by:
            raise ConflictError(f"incident {incident_id} was acknowledged by {incident.acknowledged_by} already")
        taken = msgspec.structs.replace(incident, acknowledged_by=actor.name, acknowledged_at=self._clock())
        self._incidents.put(taken)
        self.made.append(("acknowledge", incident_id, actor))
        return taken

    async def close(self, incident_id: str, actor: Actor, reason: str) -> Incident:
        incident = (await self._incidents.get(incident_id)).moved_to(IncidentState.CLOSED)
        closed = msgspec.structs.replace(incident, closed_at=self._clock(), close_reason=reason)
        self._incidents.put(closed)
        self.made.append(("close", incident_id, actor))
        return closed

    async def _decide(self, verb: str, action_id: str, actor: Actor, state: ActionState, note: str) -> Action:
        incident = await self._incidents.of_action(action_id)
        action = next(action for action in incident.actions if action.id == action_id)
        decided = msgspec.structs.replace(
            action.moved_to(state), decided_by=actor.name, decided_at=self._clock(), note=note
        )
        kept = tuple(decided if other.id == action_id else other for other in incident.actions)
        self._incidents.put(msgspec.structs.replace(incident, actions=kept))
        self.made.append((verb, action_id, actor))
        return decided


class FakeRequests:
    def __init__(self, now: float) -> None:
        self.rows = list(story(now)[2])

    async def search(self, wanted: RequestFilter) -> Page[RequestRecord]:
        def fits(row: RequestRecord) -> bool:
            status = wanted.status in {0, row.status, row.status // 100}
            named = all(
                getattr(wanted, name) in {"", getattr(row, name)} for name in ("route", "tenant", "upstream", "target")
            )
            timed = row.completed_at >= wanted.since and (not wanted.until or row.completed_at < wanted.until)
            texts = (row.path, row.id, row.trace_id)
            return status and named and timed and any(wanted.text in text for text in texts)

        return _page([row for row in self.rows if fits(row)], wanted.limit, wanted.cursor)

    async def get(self, request_id: str) -> RequestRecord:
        for row in self.rows:
            if row.id == request_id:
                return row
        raise NotFoundError(f"there is no request {request_id}")


class FakeRunbooks:
    def __init__(self, now: float) -> None:
        self.kept = {"pool": Runbook("pool", "The pool is exhausted", ("payments",), body="Look.", updated_at=now)}

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Runbook]:
        return _page(tuple(self.kept.values()), limit, cursor)

    async def get(self, runbook_id: str) -> Runbook:
        if runbook_id not in self.kept:
            raise NotFoundError(f"there is no runbook {runbook_id!r}")
        return self.kept[runbook_id]

    async def search(self, words: str) -> Sequence[Match]:
        return [Match(one, 1.0, ("pool",)) for one in self.kept.values() if words in one.title]

    async def add(self, runbook_id: str, text: str) -> Runbook:
        self.kept[runbook_id] = parse(runbook_id, text, source="api", now=NOW)
        return self.kept[runbook_id]

    async def delete(self, runbook_id: str) -> None:
        await self.get(runbook_id)
        del self.kept[runbook_id]


class FakeAlertStore:
    """External alerts in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, ExternalAlert] = {}
        self.failure: Exception | None = None

    async def save(self, alerts: Sequence[ExternalAlert]) -> None:
        if self.failure is not None:
            raise self.failure
        self.rows |= {alert.fingerprint: alert for alert in alerts}

    async def known(self, since: float) -> Sequence[ExternalAlert]:
        if self.failure is not None:
            raise self.failure
        return [alert for alert in self.rows.values() if alert.ended_at is None or alert.ended_at > since]

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ExternalAlert]:
        return _page(sorted(self.rows.values(), key=lambda one: -one.heard_at), limit, cursor)

    async def purge(self, now: float) -> None:
        raise NotImplementedError


class FakeLetterStore:
    """Dead letters in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, DeadLetter] = {}
        self.failure: Exception | None = None

    async def add(self, letter: DeadLetter) -> None:
        if self.failure is not None:
            raise self.failure
        self.rows[letter.id] = letter

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[DeadLetter]:
        return _page(list(reversed(self.rows.values())), limit, cursor)

    async def get(self, letter_id: str) -> DeadLetter:
        if letter_id not in self.rows:
            raise NotFoundError(f"there is no dead letter {letter_id!r}")
        return self.rows[letter_id]

    async def summary(self) -> tuple[int, DeadLetter | None]:
        return len(self.rows), next(reversed(self.rows.values()), None)

    async def purge(self, letter_id: str = "") -> int:
        if letter_id:
            await self.get(letter_id)
        gone = [letter_id] if letter_id else list(self.rows)
        for key in gone:
            del self.rows[key]
        return len(gone)

    async def forget(self, now: float) -> None:
        raise NotImplementedError


class FakeDeploys:
    """Deploys in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Deploy] = {}

    async def add(self, deploy: Deploy) -> bool:
        return self.rows.setdefault(deploy.id, deploy) is deploy

    async def delete(self, deploy_id: str) -> Deploy:
        if deploy_id not in self.rows:
            raise NotFoundError(f"there is no deploy {deploy_id!r}")
        return self.rows.pop(deploy_id)

    async def page(self, *, service: str = "", limit: int = 50, cursor: str = "") -> Page[Deploy]:
        kept = [one for one in self.rows.values() if service in {"", one.service}]
        return _page(sorted(kept, key=lambda one: -one.at), limit, cursor)

    async def between(self, start: float, end: float) -> Sequence[Deploy]:
        return sorted((one for one in self.rows.values() if start <= one.at <= end), key=lambda one: -one.at)


class FakeLive:
    """``publish`` reaches whoever has subscribed; a slow reader loses the oldest."""

    def __init__(self) -> None:
        self.readers: list[asyncio.Queue[RequestRecord]] = []

    def publish(self, record: RequestRecord) -> None:
        for queue in self.readers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(record)

    async def subscribe(self) -> AsyncIterator[RequestRecord]:
        queue: asyncio.Queue[RequestRecord] = asyncio.Queue(100)
        self.readers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.readers.remove(queue)


class FakeBuckets:
    def __init__(self, now: float) -> None:
        self.rows = list(story(now)[1])

    async def read(self, start: float, end: float, *, route: str = "") -> Sequence[tuple[BucketKey, Tally]]:
        return [(key, tally) for key, tally in self.rows if start <= key.minute < end and route in {"", key.route}]


class FakeUsers:
    def __init__(self, now: float) -> None:
        self.rows = {user.id: user for user in some_users(now)}
        self.sessions: dict[bytes, Session] = {}

    async def count(self) -> int:
        return len(self.rows)

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[User]:
        return _page(list(self.rows.values()), limit, cursor)

    async def get(self, user_id: str) -> User:
        if user_id not in self.rows:
            raise NotFoundError(f"there is no user {user_id}")
        return self.rows[user_id]

    async def by_email(self, email: str) -> User | None:
        return next((user for user in self.rows.values() if user.email == email), None)

    async def save(self, user: User) -> None:
        if any(other.email == user.email and other.id != user.id for other in self.rows.values()):
            raise ConflictError(f"there is already a user {user.email}")
        self.rows[user.id] = user

    async def delete(self, user_id: str) -> None:
        await self.get(user_id)
        del self.rows[user_id]
        self.sessions = {digest: session for digest, session in self.sessions.items() if session.user_id != user_id}

    async def open_session(self, session: Session) -> None:
        self.sessions[session.digest] = session

    async def session(self, digest: bytes) -> tuple[Session, User] | None:
        session = self.sessions.get(digest)
        user = self.rows.get(session.user_id) if session else None
        return (session, user) if session and user else None

    async def close_session(self, digest: bytes) -> None:
        self.sessions.pop(digest, None)


class FakeKeys:
    def __init__(self, now: float) -> None:
        self.rows = {key.id: key for key in some_keys(now)}
        self.revoked: list[str] = []

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ApiKey]:
        return _page(list(self.rows.values()), limit, cursor)

    async def issue(self, key: ApiKey) -> None:
        self.rows[key.id] = key

    async def adopt(self, keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
        known = {key.digest for key in self.rows.values()}
        fresh = [key for key in keys if key.digest not in known]
        self.rows |= {key.id: key for key in fresh}
        return fresh

    async def revoke(self, key_id: str) -> None:
        if key_id not in self.rows:
            raise NotFoundError(f"there is no key {key_id}")
        del self.rows[key_id]
        self.revoked.append(key_id)


class FakeSilences:
    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.rows = {
            "000000000001": Silence(
                id="000000000001",
                matcher=Matcher(upstream="catalog", severities=(Severity.P3, Severity.P4)),
                created_at=now - 3600,
                starts_at=now - 3600,
                ends_at=now + 3600,
                who="user otto@example.org",
                why="reindexing <b>all</b>",
            )
        }
        self.maintenance = (Maintenance("nightly", Hours((0, 1, 2, 3, 4, 5, 6), 120, 210), Matcher(route="orders")),)

    async def add(self, silence: Silence) -> None:
        self.rows[silence.id] = silence

    async def end(self, silence_id: str) -> Silence:
        if silence_id not in self.rows or self.rows[silence_id].ends_at <= self.now:
            raise NotFoundError(f"there is no silence {silence_id!r} in force or to come")
        self.rows[silence_id] = msgspec.structs.replace(self.rows[silence_id], ends_at=self.now)
        return self.rows[silence_id]

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Silence]:
        return Page(tuple(reversed(self.rows.values()))[:limit], None)

    def planned(self) -> tuple[Maintenance, ...]:
        return self.maintenance


class FakeRevocations:
    def __init__(self, now: float) -> None:
        self.rows = {"000000000001": Revocation("000000000001", now - 60, now + 3600, "stolen laptop")}

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Revocation]:
        return _page(list(self.rows.values()), limit, cursor)

    async def revoke(self, revocation: Revocation) -> None:
        self.rows[revocation.id] = revocation

    async def lift(self, revoked_id: str) -> None:
        if self.rows.pop(revoked_id, None) is None:
            raise NotFoundError(f"{revoked_id!r} is not revoked")


class FakeStop:
    """The switch, in memory."""

    def __init__(self, clock):
        self.known = Stop()
        self._clock = clock

    async def look(self) -> Stop:
        return self.known

    async def turn(self, *, on: bool, by: str, why: str) -> Stop:
        self.known = Stop(on=on, by=by, at=self._clock(), why=why)
        return self.known


class FakeAudit:
    def __init__(self, now: float) -> None:
        self.rows = [
            AuditEntry(at=now - 280, actor="system sentinel", verb="action.executed", subject="action a-1"),
            AuditEntry(at=now - 3600, actor="cli root", verb="config.applied", subject="revision 7"),
        ]

    async def write(self, entry: AuditEntry) -> None:
        self.rows.insert(0, entry)

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[AuditEntry]:
        return _page(self.rows, limit, cursor)


CONFIG_TEXT = """[server]
port = 8000

[[upstreams]]
name = "payments"
targets = ["http://127.0.0.1:9201", "http://127.0.0.1:9202"]
"""


class FakeConfiguration:
    """Refuses any text with ``prot`` in it, as the real one would an unknown key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.revisions = [
            ConfigRevision(
                revision=7, at=clock() - 3600, actor="cli root", text=CONFIG_TEXT, note="more room for orders"
            ),
            ConfigRevision(revision=6, at=clock() - 90_000, actor="user ana@example.org", text="[server]\n"),
        ]

    def text(self) -> str:
        return self.revisions[0].text

    def check(self, text: str) -> Sequence[str]:
        if "prot" in text:
            return ["sentinel.toml:2:1: unknown key 'prot'; did you mean 'port'?"]
        return []

    async def difference(self, text: str) -> ConfigDifference:
        if problems := self.check(text):
            return ConfigDifference(problems=tuple(problems))
        changes = () if text == self.text() else ("server.port 8000 → (default)",)
        return ConfigDifference(changes=changes, restart=("server.port",) if changes else (), unified="-port = 8000")

    async def revision(self, number: int) -> ConfigRevision:
        found = next((one for one in self.revisions if one.revision == number), None)
        if found is None:
            raise NotFoundError(f"there is no configuration revision {number}")
        return found

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        return self.revisions[:limit]

    async def rollback(self, number: int, actor: Actor, note: str = "") -> ConfigRevision:
        return await self.apply((await self.revision(number)).text, actor, note)

    async def apply(self, text: str, actor: Actor, note: str = "") -> ConfigRevision:
        if problems := self.check(text):
            raise ConfigError("the configuration has 1 problem", problems=tuple(problems))
        made = ConfigRevision(
            revision=self.revisions[0].revision + 1,
            at=self._clock(),
            actor=f"{actor.kind} {actor.name}",
            text=text,
            note=note,
        )
        self.revisions.insert(0, made)
        return made


class FakeAdmin:
    """All fakes of one control, and the ports made of them. ``now`` moves the whole story to another time."""

    def __init__(self, now: float = NOW) -> None:
        self.clock = Clock(now)
        self.incidents = FakeIncidents(now)
        self.decisions = FakeDecisions(self.incidents, self.clock)
        self.requests = FakeRequests(now)
        self.live = FakeLive()
        self.buckets = FakeBuckets(now)
        self.users = FakeUsers(now)
        self.keys = FakeKeys(now)
        self.revocations = FakeRevocations(now)
        self.silences = FakeSilences(now)
        self.audit = FakeAudit(now)
        self.configuration = FakeConfiguration(self.clock)
        self.window = story(now)[0]
        self.snapshot = some_snapshot(now)
        self.target_states = {(name, target): "ok" for name, targets in TARGETS.items() for target in targets}
        self.target_states["payments", BROKEN] = "ejected"
        self.reasons: list[str] = []
        self.objectives = some_objectives(now)
        self.news = LiveNews()
        self.outbox = FakeOutbox(now)
        self.channels = {channel.name: FakeChannel(channel.name, channel.kind) for channel in CHANNELS}
        self.exposition = b"# HELP sentinel_build_info Always 1.\n"
        self.events = FakeEvents()
        self.program_tokens: dict[str, str] = {}
        self.alert_settings: AlertSettings | None = AlertSettings()
        self.alerts, self.letters, self.deploys = FakeAlertStore(), FakeLetterStore(), FakeDeploys()
        self.dead_letters = DeadLetters(self.letters)
        self.replays = FakeReplays()
        self.troubles: list[Symptom] = [
            Symptom(Part.REDIS, Severity.P3, "Our own limiter store does not answer", "limits are local")
        ]
        self.stop = FakeStop(self.clock)
        bare = AdminPorts(
            incidents=self.incidents,
            decisions=self.decisions,
            stop=self.stop,
            requests=self.requests,
            live=self.live,
            buckets=self.buckets,
            users=self.users,
            keys=self.keys,
            revocations=self.revocations,
            audit=self.audit,
            events=EventIntake(self.events, count=lambda _outcome, _amount: None, clock=self.clock),
            program_token=lambda source: self.program_tokens.get(source, ""),
            configuration=self.configuration,
            silences=self.silences,
            alerts=Alerts(
                self.alerts,
                self.dead_letters,
                settings=lambda: self.alert_settings,
                snapshot=lambda: self.snapshot,
                alone=True,
                count=lambda *_labels, **_amount: None,
                gauge=lambda _name, _values: None,
                clock=self.clock,
            ),
            dead_letters=self.dead_letters,
            deploys=self.deploys,
            runbooks=FakeRunbooks(now),
            objectives=lambda: self.objectives,
            objective_report=lambda: daily_report(self.objectives, self.clock()),
            window=self.window,
            snapshot=lambda: self.snapshot,
            target_states=lambda: self.target_states,
            not_ready=lambda: self.reasons,
            troubles=lambda: self.troubles,
            metrics=lambda: self.exposition,
            clock=self.clock,
            slack=SlackDesk((), {}, {}.get, self.incidents, self.users, self.clock),
            news=self.news,
            notifiers=Notifiers(CHANNELS, self.channels, self.outbox, self.clock),
            replays=self.replays,
        )
        self.ports = audited(bare)
