"""The first schema: traffic, incidents, people and the books control keeps.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text(name: str) -> sa.Column[str]:
    """Text that is never NULL."""
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def time(name: str) -> sa.Column[float]:
    """Seconds since the epoch."""
    return sa.Column(name, sa.Double, nullable=False)


def count(name: str) -> sa.Column[int]:
    """A whole number that may grow large."""
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    """From an empty database."""
    traffic()
    incidents()
    people()
    books()


def traffic() -> None:
    """What requests leave behind."""
    op.create_table(
        "requests",
        sa.Column("number", SERIAL, sa.Identity(always=False), primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        time("completed_at"),
        *(text(name) for name in ("method", "path", "query")),
        sa.Column("status", sa.Integer, nullable=False),
        *(text(name) for name in ("route", "upstream", "target", "tenant_id", "subject", "client", "user_agent")),
        text("error"),
        *(count(name) for name in ("bytes_in", "bytes_out", "duration_us")),
        *(count(name) for name in ("wait_us", "auth_us", "limit_us", "connect_us", "upstream_us", "stream_us")),
        sa.Column("attempts", sa.Integer, nullable=False),
        *(text(name) for name in ("trace_id", "span_id", "parent_id")),
    )
    op.create_index("ix_requests_id", "requests", ["id"])
    op.create_index("ix_requests_completed_at", "requests", ["completed_at"])
    op.create_index("ix_requests_tenant_id_completed_at", "requests", ["tenant_id", "completed_at"])
    op.create_table(
        "buckets",
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("node", "route", "upstream", "target", "tenant_id")),
        sa.Column("status_class", sa.Integer, primary_key=True, autoincrement=False),
        *(count(name) for name in ("requests", "errors", "bytes_in", "bytes_out", "duration_us")),
        sa.Column("latency", sa.LargeBinary, nullable=False),
        count("revision"),
    )
    op.create_table(
        "spool_positions",
        sa.Column("stream", sa.Text, primary_key=True),
        text("node"),
        text("segment"),
        count("position"),
        count("sequence"),
        time("updated_at"),
    )


def incidents() -> None:
    """Incidents and all that follows from them."""
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text, primary_key=True),
        *(text(name) for name in ("tenant_id", "dedup_key", "state", "severity")),
        time("opened_at"),
        count("version"),
        text("document"),
    )
    op.create_index("ix_incidents_opened_at_id", "incidents", ["opened_at", "id"])
    op.create_index("ix_incidents_state", "incidents", ["state"])
    op.create_table(
        "actions",
        sa.Column("id", sa.Text, primary_key=True),
        *(text(name) for name in ("incident_id", "tenant_id", "state")),
        sa.Column("stage", sa.Integer, nullable=False),
        time("updated_at"),
    )
    op.create_index("ix_actions_incident_id", "actions", ["incident_id"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        text("tenant_id"),
        sa.Column("dedup_key", sa.Text, nullable=False),
        *(text(name) for name in ("channel", "payload", "state")),
        *(time(name) for name in ("created_at", "next_at", "ended_at")),
        sa.Column("attempts", sa.Integer, nullable=False),
        text("error"),
        sa.UniqueConstraint("dedup_key", name="uq_outbox_dedup_key"),
    )
    op.create_index("ix_outbox_state_next_at", "outbox", ["state", "next_at"])
    op.create_table(
        "directives",
        sa.Column("id", sa.Text, primary_key=True),
        *(text(name) for name in ("tenant_id", "action_id")),
        count("fence"),
        time("expires_at"),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
        text("document"),
    )
    op.create_index("ix_directives_expires_at", "directives", ["expires_at"])


def people() -> None:
    """Who signs in, and who calls."""
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        text("tenant_id"),
        sa.Column("email", sa.Text, nullable=False),
        *(text(name) for name in ("role", "password_hash")),
        time("created_at"),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        *(text(name) for name in ("tenant_id", "user_id")),
        *(time(name) for name in ("created_at", "expires_at")),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        text("tenant_id"),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        *(text(name) for name in ("subject", "scopes")),
        sa.Column("expires_at", sa.Double),
        *(time(name) for name in ("created_at", "revoked_at")),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index("ix_api_keys_created_at_id", "api_keys", ["created_at", "id"])
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        *(text(name) for name in ("name", "plan")),
        time("created_at"),
    )


def books() -> None:
    """What control notes for itself."""
    op.create_table(
        "audit",
        sa.Column("number", SERIAL, sa.Identity(always=False), primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        text("tenant_id"),
        time("at"),
        *(text(name) for name in ("actor", "verb", "subject", "detail")),
        sa.UniqueConstraint("id", name="uq_audit_id"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_table(
        "config_revisions",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        time("at"),
        *(text(name) for name in ("actor", "text", "note")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        text("holder"),
        count("fence"),
        time("expires_at"),
    )


def downgrade() -> None:
    """Back to an empty database."""
    for table in (
        "leases",
        "config_revisions",
        "audit",
        "tenants",
        "api_keys",
        "sessions",
        "users",
        "directives",
        "outbox",
        "actions",
        "incidents",
        "spool_positions",
        "buckets",
        "requests",
    ):
        op.drop_table(table)
