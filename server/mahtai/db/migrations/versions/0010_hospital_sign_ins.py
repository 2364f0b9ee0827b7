"""When somebody last came from the hospital's own sign-in, so that their tokens end some time after they have left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; until now it was their last session that told."""
    op.add_column("accounts", sa.Column("hospital_at", sa.DateTime(timezone=True)))
    op.execute(
        "UPDATE accounts SET hospital_at = COALESCE("
        "(SELECT MAX(sessions.created_at) FROM sessions WHERE sessions.account = accounts.id), created_at) "
        "WHERE subject IS NOT NULL"
    )
