"""Readers' jobs go before unattended ones; a job may ask for everything to be done anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All jobs so far were readers'."""
    op.add_column("inferences", sa.Column("rank", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("inferences", sa.Column("anew", sa.Boolean, nullable=False, server_default=sa.false()))
