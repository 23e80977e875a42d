"""Runbooks and their full-text index: FTS5 on SQLite, tsvector on PostgreSQL.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add table and index; the index stands apart, because each database has its own kind."""
    op.create_table(
        "runbooks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False, server_default=""),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("document", sa.Text, nullable=False, server_default=""),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE runbooks_search USING fts5"
            "(id UNINDEXED, title, about, body, tokenize = 'porter unicode61')"
        )
    else:
        op.execute("CREATE TABLE runbooks_search (id text PRIMARY KEY, words tsvector NOT NULL)")
        op.execute("CREATE INDEX ix_runbooks_search_words ON runbooks_search USING gin (words)")


def downgrade() -> None:
    """Runbooks of the API are lost; those of files come back with the next start."""
    op.execute("DROP TABLE runbooks_search")
    op.drop_table("runbooks")
