"""What the admin plane needs from the rest of control, as Protocols; gateway.app hands in the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.detect.own_parts import Symptom
    from gateway.domain.access import ApiKey
    from gateway.domain.audit import AuditEntry, ConfigDifference, ConfigRevision
    from gateway.domain.dead_letter import DeadLetter
    from gateway.domain.deploy import Deploy
    from gateway.domain.event import Agent, Event, EventFilter, Receipt
    from gateway.domain.identity import Actor, Session, User
    from gateway.domain.incident import ExternalAlert, Incident
    from gateway.domain.objectives import ObjectiveState
    from gateway.domain.outbox import Undelivered
    from gateway.domain.paging import Page, RequestFilter
    from gateway.domain.plan import Action
    from gateway.domain.policy import NotifyChannel
    from gateway.domain.replay import DetectorReplay, LimitReplay
    from gateway.domain.revocation import Revocation
    from gateway.domain.runbook import Match, Runbook
    from gateway.domain.silence import Maintenance, Silence
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.sources import Received
    from gateway.domain.stop import Stop
    from gateway.domain.traffic import BucketKey, RequestRecord, Tally
    from gateway.domain.window import Window
    from gateway.notify.message import Message
    from gateway.notify.slack_interactions import Pressed


class IncidentReader(Protocol):
    """Incidents, newest first."""

    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        """``state`` is an IncidentState, "open" for everything not CLOSED, or empty for all."""
        ...

    async def get(self, incident_id: str) -> Incident:
        """Raises NotFoundError."""
        ...

    async def of_action(self, action_id: str) -> Incident:
        """The incident an action belongs to. Raises NotFoundError."""
        ...


class Decisions(Protocol):
    """What a person may decide; implemented by the pipeline, so that there is one place that acts."""

    async def approve(self, action_id: str, actor: Actor, fingerprint: str = "") -> Action:
        """Run a PENDING action; with the fingerprint of what was shown, only if it is still exactly that.

        Raises NotFoundError, or ConflictError naming who was first.
        """
        ...

    async def reject(self, action_id: str, actor: Actor, reason: str) -> Action:
        """Decline a PENDING action. Raises NotFoundError or ConflictError."""
        ...

    async def acknowledge(self, incident_id: str, actor: Actor) -> Incident:
        """Take care of an open incident. Raises NotFoundError, or ConflictError naming who was first."""
        ...

    async def take_back(self, action_id: str, actor: Actor, reason: str) -> Action:
        """Take an action that is in force back at once. Raises NotFoundError or ConflictError."""
        ...

    async def close(self, incident_id: str, actor: Actor, reason: str) -> Incident:
        """Close by hand: pending actions lapse, running ones are taken back. Raises NotFoundError or ConflictError."""
        ...


class StopSwitch(Protocol):
    """Whether all actions are stopped, on every node."""

    @property
    def known(self) -> Stop:
        """As it was last seen."""
        ...

    async def look(self) -> Stop: ...

    async def turn(self, *, on: bool, by: str, why: str) -> Stop:
        """Turn it; also while the store is away."""
        ...


class RequestReader(Protocol):
    """Stored request records."""

    async def search(self, wanted: RequestFilter) -> Page[RequestRecord]:
        """Newest first."""
        ...

    async def get(self, request_id: str) -> RequestRecord:
        """Raises NotFoundError."""
        ...


class LiveRequests(Protocol):
    """Records as control reads them, for the live tail."""

    def subscribe(self) -> AsyncIterator[RequestRecord]:
        """Records from now on; a slow reader loses the oldest (bounded queue), never holds up control."""
        ...


class BucketReader(Protocol):
    """Stored minute buckets."""

    async def read(self, start: float, end: float, *, route: str = "") -> Sequence[tuple[BucketKey, Tally]]:
        """All rows of minutes in [start, end), nodes already added up."""
        ...


class Users(Protocol):
    """Dashboard users and their sessions."""

    async def count(self) -> int: ...
    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[User]: ...
    async def get(self, user_id: str) -> User: ...
    async def by_email(self, email: str) -> User | None: ...
    async def save(self, user: User) -> None: ...
    async def delete(self, user_id: str) -> None: ...
    async def open_session(self, session: Session) -> None: ...
    async def session(self, digest: bytes) -> tuple[Session, User] | None: ...
    async def close_session(self, digest: bytes) -> None: ...


class Keys(Protocol):
    """API keys of callers. Every change reaches the workers (a new snapshot within a second)."""

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ApiKey]: ...
    async def issue(self, key: ApiKey) -> None: ...
    async def adopt(self, keys: Sequence[ApiKey]) -> Sequence[ApiKey]: ...
    async def revoke(self, key_id: str) -> None: ...


class Revocations(Protocol):
    """Tokens and certificates that are refused before they expire. Every change reaches the workers within a second."""

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Revocation]: ...
    async def revoke(self, revocation: Revocation) -> None: ...
    async def lift(self, revoked_id: str) -> None: ...


class Silences(Protocol):
    """What people are not told of."""

    async def add(self, silence: Silence) -> None: ...
    async def end(self, silence_id: str) -> Silence: ...
    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Silence]: ...
    def planned(self) -> tuple[Maintenance, ...]: ...


class Runbooks(Protocol):
    """Runbooks of the folder and of the API."""

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Runbook]: ...
    async def get(self, runbook_id: str) -> Runbook: ...

    async def search(self, words: str) -> Sequence[Match]:
        """Those that hold any of the words, the best first."""
        ...

    async def add(self, runbook_id: str, text: str) -> Runbook:
        """Raises InvalidInputError with the line, or ConflictError where a file has that name."""
        ...

    async def delete(self, runbook_id: str) -> None:
        """Raises NotFoundError, or ConflictError for one out of a file."""
        ...


class EventLog(Protocol):
    """What programs report."""

    async def take(self, body: bytes, *, tenant: str) -> Receipt:
        """Keep the events of a body; ``tenant`` is the sender's own, empty for one who may report for any.

        Raises InvalidInputError where the body as a whole is wrong, TooManyAttemptsError, StoreUnavailableError.
        """
        ...

    async def page(self, wanted: EventFilter) -> Page[Event]:
        """Newest first."""
        ...

    async def agents(self, tenant: str | None = None) -> Sequence[Agent]:
        """Who reported something within a day, the latest first."""
        ...


class Alerts(Protocol):
    """Alerts of other monitoring."""

    async def receive(self, source: str, raw: bytes) -> Received:
        """Take in what a webhook sent.

        Raises NotFoundError where they are not taken, InvalidInputError with the field, StoreUnavailableError.
        """
        ...

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ExternalAlert]:
        """The latest heard of first."""
        ...


class DeadLetters(Protocol):
    """Bodies that could not be read."""

    @property
    def count(self) -> int:
        """How many are kept, as far as known without asking the store."""
        ...

    @property
    def newest(self) -> DeadLetter | None:
        """The latest of them."""
        ...

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[DeadLetter]: ...

    async def get(self, letter_id: str) -> DeadLetter:
        """Raises NotFoundError."""
        ...

    async def purge(self, letter_id: str = "") -> int:
        """Let go of one, or of all; returns how many. Raises NotFoundError for one that is not there."""
        ...


class Deploys(Protocol):
    """What was put into service elsewhere."""

    async def add(self, deploy: Deploy) -> bool:
        """Keep one; False where it was told before."""
        ...

    async def delete(self, deploy_id: str) -> Deploy:
        """Raises NotFoundError."""
        ...

    async def page(self, *, service: str = "", limit: int = 50, cursor: str = "") -> Page[Deploy]:
        """Newest first; of one service, or of all."""
        ...

    async def between(self, start: float, end: float) -> Sequence[Deploy]:
        """The latest of a stretch of time, newest first."""
        ...


class Audit(Protocol):
    """The trail of decisions."""

    async def write(self, entry: AuditEntry) -> None: ...
    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[AuditEntry]: ...


class Configuration(Protocol):
    """The configuration in force and its history."""

    def text(self) -> str:
        """The text in force."""
        ...

    def check(self, text: str) -> Sequence[str]:
        """Every problem as ``file:line:column: what; how to mend it``; empty when good."""
        ...

    async def difference(self, text: str) -> ConfigDifference:
        """What applying a text would change, or why it cannot be."""
        ...

    async def revision(self, number: int) -> ConfigRevision:
        """One that was in force. Raises NotFoundError."""
        ...

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]: ...

    async def rollback(self, number: int, actor: Actor, note: str = "") -> ConfigRevision:
        """Apply the text of an earlier revision. Raises NotFoundError, ConflictError, ConfigError."""
        ...

    async def apply(self, text: str, actor: Actor, note: str = "") -> ConfigRevision:
        """Validate, publish to every worker, record as a revision. Raises ConfigError."""
        ...


class SlackDesk(Protocol):
    """Takes presses of buttons in Slack."""

    def receive(self, timestamp: str, signature: str, body: bytes) -> Pressed | None:
        """What was pressed, if Slack says so now and for the first time.

        Raises NotFoundError, UnauthenticatedError or InvalidInputError.
        """
        ...

    async def act(self, pressed: Pressed, decisions: Decisions) -> None:
        """Do it, and tell whoever pressed why not. Never raises."""
        ...


class LiveNews(Protocol):
    """News of incidents as they happen."""

    def subscribe(self, after: str = "") -> AsyncIterator[Message]:
        """From now on, or from after the message of that key; a slow reader loses the oldest."""
        ...


class Notifiers(Protocol):
    """The channels that are told."""

    @property
    def configured(self) -> Sequence[NotifyChannel]: ...

    async def test(self, name: str = "") -> Sequence[Trial]:
        """Send a test message to one channel, or all. Raises NotFoundError."""
        ...

    async def undelivered(self, limit: int = 50) -> Sequence[Undelivered]:
        """What was given up or waits to be tried again, newest first."""
        ...


class Replays(Protocol):
    """What would have happened."""

    async def limit(self, route: str, limit: str, since_s: float, *, tenant: str = "") -> LimitReplay:
        """A proposed limit over a route's records. Raises InvalidInputError, ConflictError, StoreUnavailableError."""
        ...

    async def detector(self, changed: Mapping[str, str], since_s: float) -> DetectorReplay:
        """Changed keys of ``[detect]`` over stored minutes. Raises as :meth:`limit`."""
        ...


class Trial(Protocol):
    """What came of one test message; without ``error`` it arrived."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def remedy(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPorts:
    """Everything the admin plane is handed, in one bag."""

    incidents: IncidentReader
    decisions: Decisions
    stop: StopSwitch
    requests: RequestReader
    live: LiveRequests
    buckets: BucketReader
    users: Users
    keys: Keys
    revocations: Revocations
    audit: Audit
    events: EventLog
    program_token: Callable[[str], str]  # table of [sources] → the token programs show; empty: none may
    configuration: Configuration
    silences: Silences
    alerts: Alerts
    dead_letters: DeadLetters
    deploys: Deploys
    runbooks: Runbooks
    objectives: Callable[[], Sequence[ObjectiveState]]
    objective_report: Callable[[], str]  # Markdown
    window: Window
    snapshot: Callable[[], Snapshot]
    target_states: Callable[[], Mapping[tuple[str, str], str]]  # (upstream, target) → ok, ejected, trial, unhealthy
    not_ready: Callable[[], Sequence[str]]  # reasons, empty when ready
    troubles: Callable[[], Sequence[Symptom]]  # of this node's own parts
    metrics: Callable[[], bytes]  # the exposition of /metrics
    clock: Callable[[], float]  # seconds since the epoch
    slack: SlackDesk
    news: LiveNews
    notifiers: Notifiers
    replays: Replays
