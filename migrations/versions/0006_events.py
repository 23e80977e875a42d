"""The event log: what programs report.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "events",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            primary_key=True,
        ),
        sa.Column("id", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("tenant_id", "agent_id", "kind")),
        sa.Column("severity", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("at", "received_at")),
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("message", "fields", "trace_id")),
        sa.UniqueConstraint("tenant_id", "agent_id", "id", name="uq_events_tenant_id"),
    )
    op.create_index("ix_events_agent_id_at", "events", ["agent_id", "at"])
    op.create_index("ix_events_received_at", "events", ["received_at"])


def downgrade() -> None:
    """Every event is lost."""
    op.drop_table("events")
