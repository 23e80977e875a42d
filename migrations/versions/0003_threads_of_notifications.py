"""Threads of notifications: what an incident is called where it is told, and the order of what is told of it.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and the order of the outbox; what waits already is in no thread."""
    op.create_table(
        "notification_threads",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("incident_id", sa.Text, primary_key=True),
        sa.Column("reference", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_notification_threads_created_at", "notification_threads", ["created_at"])
    op.add_column("outbox", sa.Column("thread", sa.Text, nullable=False, server_default=""))
    op.add_column("outbox", sa.Column("due_at", sa.Double, nullable=False, server_default="0"))
    op.create_index("ix_outbox_channel_thread", "outbox", ["channel", "thread"])


def downgrade() -> None:
    """Incidents that go on begin new threads after the next upgrade."""
    op.drop_index("ix_outbox_channel_thread", "outbox")
    op.drop_column("outbox", "due_at")
    op.drop_column("outbox", "thread")
    op.drop_table("notification_threads")
