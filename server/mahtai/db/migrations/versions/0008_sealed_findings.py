"""What results and labels say of a patient's volumes is text, so that it can be sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("inferences", "summary", True),
    ("label_versions", "parts", False),
    ("label_versions", "against_proposal", True),
    ("label_versions", "against_parent", True),
)


def upgrade() -> None:
    """Change the columns; what is in them stays as it is."""
    for table, column, nullable in _COLUMNS:
        if op.get_bind().dialect.name == "postgresql":
            op.alter_column(table, column, type_=sa.Text(), existing_type=sa.JSON(), postgresql_using=f"{column}::text")
        else:
            _change(table, column, nullable)


def _change(table: str, column: str, nullable: bool) -> None:
    """In SQLite, without making the table anew: other tables refer to its rows."""
    default = None if nullable else sa.text("'{}'")
    op.add_column(table, sa.Column("changed", sa.Text(), nullable=nullable, server_default=default))
    op.execute(f"UPDATE {table} SET changed = {column}")
    op.drop_column(table, column)
    op.alter_column(table, "changed", new_column_name=column)
