"""What the API shows: JSON shapes of domain values, with times as RFC 3339 UTC.

A change here is a change of the public interface; that is why they are not the domain values themselves.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec

from gateway.domain.diagnosis import Claim, Confidence, Evidence, Hypothesis
from gateway.domain.identity import Role
from gateway.domain.incident import AlertSource, IncidentState, Place, Severity, Signal
from gateway.domain.plan import ActionKind, ActionState, Risk

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.paging import Page

Time = Annotated[datetime, msgspec.Meta(tz=True)]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list; ``next`` is the cursor of the page after, or null."""

    items: tuple[T, ...]
    next: str | None = None


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One finished request. Durations are microseconds; path, query and user_agent are the caller's own words."""

    id: str
    completed_at: Time
    method: str
    path: str
    query: str
    status: int
    route: str
    upstream: str
    target: str
    tenant: str
    subject: str
    client: str
    user_agent: str
    error: str
    bytes_in: int
    bytes_out: int
    duration_us: int
    wait_us: int
    auth_us: int
    limit_us: int
    connect_us: int
    upstream_us: int
    stream_us: int
    attempts: int
    trace_id: str
    span_id: str
    parent_id: str


class OutcomeShape(msgspec.Struct, frozen=True, kw_only=True):
    """What traffic said about an action; shares are errors per request."""

    verdict: str
    before: float
    after: float
    requests_after: int
    decided_at: Time
    statement: str


class ActionShape(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the plan, with its exact effect and how it is undone."""

    id: str
    incident_id: str
    kind: ActionKind
    upstream: str
    target: str
    ttl_s: float
    risk: Risk
    risk_reason: str
    effect: str
    undo: str
    success_signal: str
    state: ActionState
    created_at: Time
    expires_at: Time
    tenant: str
    decided_by: str
    decided_at: Time | None
    executed_at: Time | None
    ended_at: Time | None
    note: str
    outcome: OutcomeShape | None
    fingerprint: str
    route: str
    caller: str
    amount: float
    by_plan: tuple[tuple[str, float], ...]
    command: str
    revision: int
    dry: bool


class TimelineShape(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an incident's story."""

    at: Time
    kind: str
    text: str
    actor: str


class ReportShape(msgspec.Struct, frozen=True, kw_only=True):
    """The root-cause report; every claim names its evidence."""

    source: str
    title: str
    summary: str
    root_cause: str
    inconclusive: bool
    confidence: Confidence
    confidence_score: float
    affected: tuple[str, ...]
    claims: tuple[Claim, ...]
    steps: tuple[str, ...]
    suggested_actions: tuple[str, ...]
    fallback_reason: str
    dropped_claims: int
    model: str
    tokens_in: int
    tokens_out: int
    cost_usd: str
    duration_s: float
    questions: tuple[str, ...]
    refutation: str
    cached: bool


class DiagnosisShape(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the cause."""

    at: Time
    evidence: tuple[Evidence, ...]
    hypotheses: tuple[Hypothesis, ...]
    report: ReportShape


class AnomalyShape(msgspec.Struct, frozen=True, kw_only=True):
    """One detector's finding."""

    detector: str
    signal: Signal
    place: Place
    severity: Severity
    observed: float
    expected: float
    score: float
    requests: int
    onset: Time
    seen_at: Time
    reason: str


class AlertWordsShape(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert says: its sender's own words."""

    name: str
    summary: str
    description: str
    link: str
    labels: tuple[tuple[str, str], ...]


class AlertShape(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of other monitoring. It fires while ``ended_at`` is null; not ``resolved``: it fell silent."""

    fingerprint: str
    source: AlertSource
    severity: Severity
    place: Place
    starts_at: Time
    received_at: Time
    heard_at: Time
    words: AlertWordsShape
    ended_at: Time | None
    resolved: bool
    set_aside: bool


class IncidentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as lists show it."""

    id: str
    state: IncidentState
    severity: Severity
    signal: Signal
    place: Place
    title: str
    opened_at: Time
    onset: Time
    updated_at: Time
    tenant: str
    closed_at: Time | None
    close_reason: str
    acknowledged_by: str
    acknowledged_at: Time | None


class IncidentShape(IncidentRow, frozen=True, kw_only=True):
    """An incident whole. ``untold`` says why people are not told of it; empty: they are."""

    version: int
    anomalies: tuple[AnomalyShape, ...]
    diagnosis: DiagnosisShape | None
    actions: tuple[ActionShape, ...]
    timeline: tuple[TimelineShape, ...]
    untold: str
    related: tuple[str, ...]
    flapping: bool
    alerts: tuple[AlertShape, ...]


class UserShape(msgspec.Struct, frozen=True, kw_only=True):
    """A dashboard user, without the password hash."""

    id: str
    email: str
    role: Role
    created_at: Time
    tenant: str
    disabled: bool


class KeyShape(msgspec.Struct, frozen=True, kw_only=True):
    """An API key of a caller; ``id`` is the public part of ``sk_<id>_<secret>``."""

    id: str
    tenant: str
    subject: str
    scopes: tuple[str, ...]
    expires_at: Time | None


class AuditShape(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trail of decisions."""

    at: Time
    actor: str
    verb: str
    subject: str
    tenant: str
    detail: dict[str, str]


class RevisionShape(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration that was in force."""

    revision: int
    at: Time
    actor: str
    note: str
    text: str


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in a list, and how much of it."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


def shown(value: Any, shape: type[S]) -> S:
    """A domain value in its API shape: same field names, epoch seconds become RFC 3339 times."""
    return msgspec.convert(value, shape, strict=False, from_attributes=True)


def listing(page: Page[Any], shape: type[S], *, show: Callable[[Any], S] | None = None) -> Listing[S]:
    """A page of domain values in their API shape."""
    return Listing(items=tuple(show(item) if show else shown(item, shape) for item in page.items), next=page.next)


def time_of(seconds: float) -> datetime:
    """Epoch seconds as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds_of(moment: datetime | None, *, default: float = 0.0) -> float:
    """An aware datetime as epoch seconds."""
    return default if moment is None else moment.timestamp()
