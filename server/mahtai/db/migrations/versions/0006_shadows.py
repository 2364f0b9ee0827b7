"""Runs of a model's version on trial beside what readers ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "shadows",
        sa.Column("inference_id", sa.String(36), nullable=False),
        sa.Column("beside_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("agreement", sa.JSON()),
        sa.Column("reader", sa.JSON()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["inference_id"], ["inferences.id"], name="fk_shadows_inference_id"),
        sa.ForeignKeyConstraint(["beside_id"], ["inferences.id"], name="fk_shadows_beside_id"),
        sa.PrimaryKeyConstraint("inference_id", "beside_id", name="pk_shadows"),
    )
    op.create_index("ix_shadows_sha256", "shadows", ["sha256"])
