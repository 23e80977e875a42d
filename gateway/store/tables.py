"""Every table, once, for SQLite and PostgreSQL; migrations/ is held against it by a test.

Times are seconds since the epoch as double precision, as everywhere in the domain. Values with a shape of their own
(incidents, entries) stand whole in ``document`` as JSON; the columns beside it are what is searched and guarded by.
What belongs to a tenant carries ``tenant_id``: empty means it concerns the operator.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only in a column of exactly this type; PostgreSQL wants room for years of traffic.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


# Request ids come from callers and may repeat, so rows have a number of their own.
requests = Table(
    "requests",
    metadata,
    Column("number", _Serial, Identity(always=False), primary_key=True),
    Column("id", Text, nullable=False),
    _time("completed_at"),
    *(_text(name) for name in ("method", "path", "query")),
    Column("status", Integer, nullable=False),
    *(_text(name) for name in ("route", "upstream", "target", "tenant_id", "subject", "client", "user_agent", "error")),
    *(Column(name, BigInteger, nullable=False) for name in ("bytes_in", "bytes_out", "duration_us")),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("wait_us", "auth_us", "limit_us", "connect_us", "upstream_us", "stream_us")
    ),
    Column("attempts", Integer, nullable=False),
    *(_text(name) for name in ("trace_id", "span_id", "parent_id")),
    Index("ix_requests_id", "id"),
    Index("ix_requests_completed_at", "completed_at"),
    Index("ix_requests_tenant_id_completed_at", "tenant_id", "completed_at"),
)

buckets = Table(
    "buckets",
    metadata,
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("node", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("upstream", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("tenant_id", Text, primary_key=True),
    Column("status_class", Integer, primary_key=True, autoincrement=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("requests", "errors", "bytes_in", "bytes_out", "duration_us")
    ),
    Column("latency", LargeBinary, nullable=False),  # domain.histogram.to_bytes
    Column("revision", BigInteger, nullable=False),  # rises each time a shipment adds to the row
)

spool_positions = Table(
    "spool_positions",
    metadata,
    Column("stream", Text, primary_key=True),
    _text("node"),
    _text("segment"),
    Column("position", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    _time("updated_at"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    _text("tenant_id"),
    _text("dedup_key"),
    _text("state"),
    _text("severity"),
    _time("opened_at"),
    Column("version", BigInteger, nullable=False),
    _text("document"),
    Index("ix_incidents_opened_at_id", "opened_at", "id"),
    Index("ix_incidents_state", "state"),
)

# One row per action beside the incident's document: a decision is one conditional update here, so it happens once.
actions = Table(
    "actions",
    metadata,
    Column("id", Text, primary_key=True),
    _text("incident_id"),
    _text("tenant_id"),
    _text("state"),
    Column("stage", Integer, nullable=False),  # how far along its life; never falls
    _time("updated_at"),
    Index("ix_actions_incident_id", "incident_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    _text("tenant_id"),
    Column("dedup_key", Text, nullable=False),
    _text("channel"),
    _text("payload"),
    _text("state"),  # waiting, delivered, given_up
    _time("created_at"),
    _time("next_at"),
    _time("ended_at"),  # 0 while it waits
    Column("attempts", Integer, nullable=False),
    _text("error"),
    _text("thread"),  # within a channel, what stands in one thread is delivered in order; empty: in none
    Column("due_at", Double, nullable=False, server_default="0"),  # the first moment it might go out
    UniqueConstraint("dedup_key"),
    Index("ix_outbox_state_next_at", "state", "next_at"),
    Index("ix_outbox_channel_thread", "channel", "thread"),
)

notification_threads = Table(
    "notification_threads",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("incident_id", Text, primary_key=True),
    _text("reference"),  # in the channel's own words: of Slack, the ts of the first message
    _time("created_at"),
    Index("ix_notification_threads_created_at", "created_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", _Serial, Identity(always=False), primary_key=True),
    Column("id", Text, nullable=False),  # made by the writer, so that carrying a line over twice keeps one
    _text("tenant_id"),
    _time("at"),
    _text("actor"),
    _text("verb"),
    _text("subject"),
    _text("detail"),
    UniqueConstraint("id"),
    Index("ix_audit_at", "at"),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    _text("tenant_id"),
    Column("email", Text, nullable=False),  # in lower case
    _text("role"),
    _text("password_hash"),
    _time("created_at"),
    Column("disabled", Boolean, nullable=False),
    UniqueConstraint("email"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    _text("tenant_id"),
    _text("user_id"),
    _time("created_at"),
    _time("expires_at"),
    Index("ix_sessions_user_id", "user_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _text("tenant_id"),
    Column("digest", LargeBinary, nullable=False),
    _text("subject"),
    _text("scopes"),  # JSON list
    Column("expires_at", Double),
    _time("created_at"),
    _time("revoked_at"),  # 0 while it is good
    UniqueConstraint("digest"),
    Index("ix_api_keys_created_at_id", "created_at", "id"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    _text("name"),
    _text("plan"),
    _time("created_at"),
)

config_revisions = Table(
    "config_revisions",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    _time("at"),
    _text("actor"),
    _text("text"),
    _text("note"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Text, primary_key=True),
    _time("created_at"),
    _time("expires_at"),
    _text("reason"),
    Index("ix_revocations_expires_at", "expires_at"),
)

# Concern every tenant: who may keep what quiet is asked where they are made.
silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    *(_time(name) for name in ("created_at", "starts_at", "ends_at")),
    *(_text(name) for name in ("who", "why", "matcher")),
    Index("ix_silences_ends_at", "ends_at"),
)

# Of the operator, for every tenant's incidents. The full-text index beside it, runbooks_search, is each database's own.
runbooks = Table(
    "runbooks",
    metadata,
    Column("id", Text, primary_key=True),
    _text("source"),  # "file" or "api"
    _time("updated_at"),
    _text("document"),
)

# What programs report; agents choose the ids, so they are unique only among an agent's own.
events = Table(
    "events",
    metadata,
    Column("number", _Serial, Identity(always=False), primary_key=True),
    Column("id", Text, nullable=False),
    *(_text(name) for name in ("tenant_id", "agent_id", "kind")),
    Column("severity", Integer, nullable=False),  # domain.event.RANK
    *(_time(name) for name in ("at", "received_at")),
    *(_text(name) for name in ("message", "fields", "trace_id")),
    UniqueConstraint("tenant_id", "agent_id", "id"),
    Index("ix_events_agent_id_at", "agent_id", "at"),
    Index("ix_events_received_at", "received_at"),
)

# The next three concern every tenant: monitoring and deploys know nothing of ours.
external_alerts = Table(
    "external_alerts",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    _time("heard_at"),
    _time("ended_at"),  # 0 while it fires
    _text("document"),
    Index("ix_external_alerts_heard_at_fingerprint", "heard_at", "fingerprint"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Text, primary_key=True),
    _time("at"),
    *(_text(name) for name in ("source", "field", "reason")),
    Column("size_bytes", BigInteger, nullable=False),
    _text("body"),
    Index("ix_dead_letters_at_id", "at", "id"),
)

deploys = Table(
    "deploys",
    metadata,
    Column("id", Text, primary_key=True),
    *(_text(name) for name in ("service", "version")),
    *(_time(name) for name in ("at", "created_at")),
    *(_text(name) for name in ("url", "actor")),
    Index("ix_deploys_at_id", "at", "id"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    _text("holder"),
    Column("fence", BigInteger, nullable=False),  # rises with every change of holder, never falls
    _time("expires_at"),
)

directives = Table(
    "directives",
    metadata,
    Column("id", Text, primary_key=True),
    _text("tenant_id"),
    _text("action_id"),
    Column("fence", BigInteger, nullable=False),
    _time("expires_at"),
    Column("withdrawn", Boolean, nullable=False),
    _text("document"),
    Index("ix_directives_expires_at", "expires_at"),
)

# What concerns every node at once; there is one: whether actions are stopped.
switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("on", Boolean, nullable=False),
    _text("by"),
    _time("at"),
    _text("why"),
)

# What the detectors learned of each route and upstream over days; an empty name is "any", as in a Place.
detector_states = Table(
    "detector_states",
    metadata,
    Column("route", Text, primary_key=True),
    Column("upstream", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    _time("at"),
    Column("state", LargeBinary, nullable=False),  # detect.watched_state.to_bytes
)
