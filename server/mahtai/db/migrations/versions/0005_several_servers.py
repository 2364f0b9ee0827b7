"""Servers that share the tables, and who has which job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that are unfinished now belong to nobody: the next server to look takes them."""
    op.create_table(
        "servers",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_servers"),
    )
    for column in (
        sa.Column("owner", sa.String(64)),
        sa.Column("claims", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("stage", sa.String(64)),
        sa.Column("fraction", sa.Float()),
        sa.Column("preview", sa.Integer()),
    ):
        op.add_column("inferences", column)
