"""Alerts of other monitoring, bodies that could not be read, and deploys.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "external_alerts",
        sa.Column("fingerprint", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("heard_at", "ended_at")),
        *_texts("document"),
    )
    op.create_index("ix_external_alerts_heard_at_fingerprint", "external_alerts", ["heard_at", "fingerprint"])
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        *_texts("source", "field", "reason"),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        *_texts("body"),
    )
    op.create_index("ix_dead_letters_at_id", "dead_letters", ["at", "id"])
    op.create_table(
        "deploys",
        sa.Column("id", sa.Text, primary_key=True),
        *_texts("service", "version"),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("at", "created_at")),
        *_texts("url", "actor"),
    )
    op.create_index("ix_deploys_at_id", "deploys", ["at", "id"])


def downgrade() -> None:
    """What others told is lost; alerts that still fire are told again by their monitoring."""
    for name in ("deploys", "dead_letters", "external_alerts"):
        op.drop_table(name)
