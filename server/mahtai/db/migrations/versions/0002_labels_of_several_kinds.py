"""Label versions keep segmentations or landmarks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name the columns after what they hold now; all labels so far are segmentations."""
    # SQLite and PostgreSQL rename in place; Alembic would copy the table on SQLite
    op.execute("ALTER TABLE label_versions RENAME COLUMN segmentation TO content")
    op.execute("ALTER TABLE label_versions RENAME COLUMN segments TO parts")
    op.add_column(
        "label_versions", sa.Column("kind", sa.String(16), nullable=False, server_default=sa.text("'segmentation'"))
    )
