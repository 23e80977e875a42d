"""Silences that people make.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("created_at", "starts_at", "ends_at")),
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("who", "why", "matcher")),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])


def downgrade() -> None:
    """Every silence is lost: people are told again."""
    op.drop_table("silences")
